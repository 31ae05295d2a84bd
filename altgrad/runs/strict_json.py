"""JSON that every program reads: it has no NaN and no infinity, so those become null."""

import json
import math
from typing import Any


def plain(content: Any) -> Any:
    """A nest of dicts and lists; what is not finite becomes null."""
    if isinstance(content, dict):
        return {str(k): plain(v) for k, v in content.items()}
    if isinstance(content, list | tuple):
        return [plain(v) for v in content]
    return None if isinstance(content, float) and not math.isfinite(content) else content


def json_text(content: Any, **how: Any) -> str:
    """`json.dumps` of `plain(content)`."""
    return json.dumps(plain(content), allow_nan=False, **how)
