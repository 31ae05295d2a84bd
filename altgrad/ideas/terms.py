"""What a ledger is begun with, and what stays fixed until its end."""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import yaml

from altgrad.compare.budget import UNITS
from altgrad.compare.question import Tuning, full_name
from altgrad.ideas.discovery import GUARANTEES
from altgrad.settings import ConfigError, coerce, from_dict, hints, require, require_choice
from altgrad.trust import said_by

ALPHA = {"fdr": 0.1, "fwer": 0.05}
"""Guarantee -> share of false findings, or chance of any, over the whole ledger."""

LOWER_IS_BETTER = ("val_loss", "val_perplexity", "val_bits_per_byte")


@dataclass(frozen=True)
class Terms:
    """Words of `altgrad ideas new` that are no setting of the runs.

    base: words of the baseline. delta: smallest gain that matters; None = the smallest that eight
    pairs can see. budget: what idea and champion spend equally. hours: of run time, for everything;
    None = no end. guarantee: over all reckonings. heldout: share of the validation tokens that only
    reckonings read; 0 = none. memory_gb: above it an idea crashes. reckon_at: provisional changes
    after which `run` reckons. tune: `optim.lr:0.5,1,2` has nominated ideas, and the champion beside
    them, tuned over these factors of their own value. primary, last: the outcome, as in `altgrad
    compare`.
    """

    base: list[str] = field(default_factory=list)
    delta: float | None = None
    budget: str = "tokens"
    hours: float | None = None
    guarantee: str = "fdr"
    heldout: float = 0.25
    memory_gb: float | None = None
    reckon_at: int = 20
    tune: str = ""
    primary: str = "val_loss"
    last: int = 1

    def check(self) -> None:
        """Raises ConfigError for terms that no ledger can have."""
        require_choice(self.budget, UNITS, "budget")
        require_choice(self.guarantee, GUARANTEES, "guarantee")
        if self.of_programs:
            self._check_program()
        else:
            require_choice(self.primary, LOWER_IS_BETTER, "primary")
        require(self.delta is None or self.delta > 0, f"delta={self.delta} must be above 0.")
        require(self.hours is None or self.hours > 0, f"hours={self.hours} must be above 0.")
        require(0 <= self.heldout < 1, f"heldout={self.heldout} must be from 0 to below 1.")
        require(self.reckon_at >= 1, f"reckon_at={self.reckon_at} must be at least 1.")
        require(self.last >= 1, f"last={self.last} must be at least 1.")
        self.tuning()

    @property
    def of_programs(self) -> bool:
        """Whether the baseline is somebody's program."""
        return any(word.startswith("program=") for word in self.base)

    def _check_program(self) -> None:
        require(
            self.heldout in (0, Terms.heldout),
            "heldout= cuts altgrad's own validation data; a program's are its own: leave it out.",
        )
        require(
            self.budget == "tokens" and not self.tune and self.memory_gb is None,
            "budget=, tune= and memory_gb= are not known of a program: leave them out.",
        )
        patches = [word for word in self.base if word.startswith("patch=")]
        require(
            not patches,
            f"{''.join(patches)}: the baseline is the folder as it is; a patch is an idea "
            "(altgrad ideas try NAME --patch FILE).",
        )

    def tuning(self) -> Tuning | None:
        """What `tune` says; None = nothing is tuned.

        Raises:
            ConfigError: no optimiser's setting with its factors, 1 among them.
        """
        if not self.tune:
            return None
        setting, _, text = self.tune.partition(":")
        factors = [_number(f) for f in text.split(",")]
        require(
            full_name(setting).startswith("optim.")
            and len(factors) > 1
            and 1.0 in factors
            and min(factors) > 0,
            f"tune={self.tune} must be a number of the optimiser, and factors above 0 of its own "
            "value, 1 among them: tune=optim.lr:0.5,1,2.",
        )
        return Tuning(full_name(setting), factors=factors)

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def read_terms(words: Sequence[str]) -> Terms:
    """From typed words: a file with such terms first, if there is one; what is no term is a word
    of the baseline.

    Raises:
        ConfigError: an unreadable file, an unknown key, a value that cannot be.
    """
    values: dict[str, Any] = {}
    program = any(word.startswith("program=") for word in words)
    for word in words:
        key, equals, text = word.partition("=")
        if word.startswith("-"):
            values["base"] = [*values.get("base", []), word]
        elif not equals:
            require(not values, f"{word}: the file comes first, settings after it.")
            values = _read_file(Path(word))
        elif key in hints(Terms) and key != "base":
            values[key] = _read(text, hints(Terms)[key], key)
        else:
            name = key if program else full_name(key)
            values["base"] = [*values.get("base", []), f"{name}={text}"]
    terms = from_dict(Terms, values)
    if terms.of_programs:
        terms = replace(terms, heldout=0 if terms.heldout == Terms.heldout else terms.heldout)
    terms.check()
    return terms


def _number(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        return 0.0
    return value if 0 < value < float("inf") else 0.0


def _read_file(path: Path) -> dict[str, Any]:
    try:
        content = said_by(path, yaml.safe_load(path.read_text(encoding="utf-8")))
    except (OSError, yaml.YAMLError) as error:
        raise ConfigError(f"{path} is neither KEY=VALUE nor a readable file: {error}") from None
    require(
        isinstance(content, dict), f"{path} has no keys; it may have {', '.join(hints(Terms))}."
    )
    from_dict(Terms, content)
    return dict(content)


def _read(text: str, kind: Any, name: str) -> Any:
    value = text if kind is str else yaml.safe_load(text)
    if isinstance(value, str) and kind is not str:  # YAML takes `1e-3` for a text
        with suppress(ValueError):
            value = float(value)
    return coerce(value, kind, name)
