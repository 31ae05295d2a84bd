"""Numbers for JSON, which has no NaN and no infinity."""

import math
from typing import Any


def finite(value: Any) -> float | None:
    """A number, or None."""
    return value if isinstance(value, int | float) and math.isfinite(value) else None
