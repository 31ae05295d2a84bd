"""Values for JSON, which has no NaN and no infinity."""

import math
from typing import Any


def plain(content: Any) -> Any:
    """A nest of dicts and lists; what is not finite becomes null."""
    if isinstance(content, dict):
        return {str(k): plain(v) for k, v in content.items()}
    if isinstance(content, list | tuple):
        return [plain(v) for v in content]
    return None if isinstance(content, float) and not math.isfinite(content) else content


def finite(value: Any) -> float | None:
    """A number, or None."""
    return value if isinstance(value, int | float) and math.isfinite(value) else None
