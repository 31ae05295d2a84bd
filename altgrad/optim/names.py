"""A name in a config becomes an entry of a table, or code from outside (`package.module:thing`)."""

import difflib
from collections.abc import Mapping
from typing import Any

from altgrad.outside import load_outside


def lookup(table: Mapping[str, Any], name: str, setting: str) -> Any:
    """`table[name]`, or the object that `package.module:thing` names.

    Raises ValueError for an unknown name (with the nearest match) and for outside code that
    cannot be imported. `setting` is the full name of the setting, for the message.
    """
    if ":" in name:
        return load_outside(name, setting=setting)
    if name in table:
        return table[name]
    close = difflib.get_close_matches(name, table, n=1)
    hint = f"; did you mean {close[0]!r}?" if close else ""
    raise ValueError(f"{setting}={name!r} is not one of {', '.join(sorted(table))}{hint}")
