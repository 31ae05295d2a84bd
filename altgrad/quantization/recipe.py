"""What is computed in which number format."""

from dataclasses import dataclass


@dataclass
class PrecisionConfig:
    """Settings `precision.*`.

    compute: arithmetic of the whole run, in Lightning Fabric's words: `32-true`, `bf16-mixed`,
        `bf16-true`, `16-mixed`; `auto` is `bf16-mixed` where the machine has bf16 instructions,
        `32-true` elsewhere.
    """

    compute: str = "32-true"
