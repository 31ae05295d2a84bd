"""What a program run is: read from words, checked before anything runs, and its identity.

In the command stand `{seed}`, `{run}` (the run's folder, for what the program writes), `{steps}`
(`steps=`), `{python}` (the Python that altgrad runs in), `{args}` (where arguments of an arm go;
else they are put at the end) and openings of one's own, `{lr:0.01}`, which a word `lr=0.1` fills.
`{{name}}` is a `{name}` for the program. The command is no shell's: `bash -c '…'` is, if it must.
"""

import hashlib
import json
import re
import shlex
import shutil
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from altgrad.programs.metric import Metric
from altgrad.programs.patches import Patch, read_patch
from altgrad.settings import ConfigError, nearest, require

KEYS = {
    "program": "the command",
    "cwd": "the folder it runs in, or rather a copy of it",
    "metric": "where the number is: 'val loss ([0-9.]+)', or log.jsonl:val_loss",
    "step": "where its step is, likewise",
    "seed_by": "how the seed reaches it: env:NAME or torch; not with {seed} in the command",
    "steps": "what {steps} stands for",
    "timeout": "seconds after which a run is lost",
    "patch": "none, or idea.diff, or a.diff+b.diff",
    "link": "what is linked into the copy instead of copied: data,weights",
    "leave_out": "what the copy lacks: out,*.ckpt",
}
"""Words of a program -> what they say."""

NEVER_SPLIT = tuple(key for key in KEYS if key not in ("cwd", "patch"))
"""Words whose commas are their own; said twice, they are an axis all the same."""

OWN = ("seed", "run", "steps", "python", "args")
PLACE = re.compile(r"\{\{(?P<plain>\w+)\}\}|\{(?P<name>[A-Za-z_]\w*)(?::(?P<default>[^{}]*))?\}")
OPERATORS = {"|", "||", "&&", "&", ";", ">", ">>", "<", "2>&1", "2>"}
SEEDING = re.compile(r"torch|env:[A-Za-z_]\w*")


def is_program(settings: dict[str, Any]) -> bool:
    """Whether settings, out of a run's `config.yaml`, are those of a program."""
    return isinstance(settings.get("program"), str)


def key_of_word(word: str) -> str:
    """`lr=0.1` -> `lr`, `--lr=0.1` and `--lr 0.1` -> `--lr`."""
    return re.split(r"[=\s]", word, maxsplit=1)[0]


@dataclass(frozen=True)
class Program:
    """One arm's program. args: as typed, `--lr=0.1`. fill: opening -> what stands there."""

    command: str
    cwd: str
    metric: Metric
    seed_by: str = ""
    steps: int | None = None
    timeout_s: float | None = None
    patches: tuple[Patch, ...] = ()
    args: tuple[str, ...] = ()
    fill: dict[str, str] = field(default_factory=dict)
    link: tuple[str, ...] = ()
    leave_out: tuple[str, ...] = ()

    def argv(self, *, seed: int, run: str) -> list[str]:
        """The command's words with everything filled in."""
        known = {"seed": str(seed), "run": run, "steps": str(self.steps), "python": sys.executable}
        extra = [part for word in self.args for part in shlex.split(word)]
        tokens = shlex.split(self.command)
        tokens = tokens if "{args}" in tokens else [*tokens, "{args}"]
        made: list[str] = []
        for token in tokens:
            made += extra if token == "{args}" else [self._filled(token, known)]
        return made

    def _filled(self, token: str, known: dict[str, str]) -> str:
        def put(found: re.Match[str]) -> str:
            name = found["name"]
            if name is None:
                return f"{{{found['plain']}}}"
            return known.get(name) or self.fill.get(name, found["default"] or "")

        return PLACE.sub(put, token)

    @property
    def places(self) -> dict[str, str | None]:
        """Names in the command's braces -> what stands there unless it is filled."""
        return {m["name"]: m["default"] for m in PLACE.finditer(self.command) if m["name"]}

    def check(self) -> None:
        """Refuse what would fail in every run. Raises ConfigError, in one line."""
        self._check_command()
        self._check_places()
        self._check_seed()
        self.metric.check()
        require(
            self.timeout_s is None or self.timeout_s > 0,
            f"timeout={self.timeout_s} must be above 0 seconds.",
        )
        require(Path(self.cwd).is_dir(), f"cwd={self.cwd}: there is no such folder.")
        self.executable()

    def _check_command(self) -> None:
        try:
            tokens = shlex.split(self.command)
        except ValueError as error:
            raise ConfigError(f"program={self.command!r} cannot be read: {error}.") from None
        require(bool(tokens), "program= needs a command, such as 'python train.py'.")
        found = [token for token in tokens if token in OPERATORS]
        require(
            not found,
            f"program={self.command!r}: {' '.join(found)} is for a shell, and there is none; write "
            "bash -c '…', or leave it out: the output is kept anyway.",
        )

    def _check_places(self) -> None:
        places = self.places
        for name, default in places.items():
            known = name in OWN or name in self.fill or default is not None
            require(
                known,
                f"program=: nobody knows {{{name}}}; there are "
                f"{', '.join(f'{{{own}}}' for own in OWN)}, and {{{name}:VALUE}} makes one of your "
                f"own.{nearest(name, OWN)}",
            )
        for name in self.fill:
            require(
                name in places and name not in OWN,
                f"{name}={self.fill[name]}: the command has no {{{name}:…}}, and it is no setting "
                f"of a program ({', '.join(KEYS)}); an argument is typed as the program knows it, "
                f"--{name}={self.fill[name]}.{nearest(name, KEYS)}",
            )
        require(
            "steps" not in places or self.steps is not None,
            "the command has {steps}: say how many, steps=500.",
        )
        require(
            "steps" in places or self.steps is None,
            f"steps={self.steps} is read by nobody: the command has no {{steps}}.",
        )

    def _check_seed(self) -> None:
        placed = "seed" in self.places
        require(
            placed or bool(self.seed_by),
            "nothing gives the program its seed, so all runs of an arm would be one: put {seed} "
            "into the command, or write seed_by=env:NAME (a variable that it reads), or "
            "seed_by=torch (what it seeds torch, random and numpy with is shifted).",
        )
        require(
            not (placed and self.seed_by),
            f"seed_by={self.seed_by} and {{seed}} in the command: one of them is enough.",
        )
        require(
            not self.seed_by or bool(SEEDING.fullmatch(self.seed_by)),
            f"seed_by={self.seed_by!r} must be env:NAME or torch.",
        )

    def executable(self) -> str:
        """The file that is run. Raises ConfigError where there is none."""
        name = self.argv(seed=0, run="")[0]
        local = Path(self.cwd) / name
        found = str(local) if "/" in name and local.is_file() else shutil.which(name)
        if found is None:
            hint = " ({python} is the Python that altgrad runs in)" if "python" in name else ""
            raise ConfigError(f"program={self.command!r}: there is no command {name!r}{hint}.")
        return found


def read_program(
    words: Sequence[str], *, primary: str, patches: Sequence[Patch] | None = None
) -> Program:
    """The program that an arm's words make, checked.

    primary: what the metric's number is logged as. patches: instead of those the words name.

    Raises:
        ConfigError: in one line, with the cure.
    """
    said = {key_of_word(w): w.partition("=")[2] for w in words if not w.startswith("-")}
    for needed in ("program", "metric"):
        require(bool(said.get(needed)), f"a program needs {needed}=, {KEYS[needed]}.")
    own = {key: said.pop(key) for key in KEYS if key in said}
    made = Program(
        command=own["program"],
        cwd=str(Path(own.get("cwd", ".")).expanduser()),
        metric=Metric(own["metric"], primary, own.get("step", "")),
        seed_by=own.get("seed_by", ""),
        steps=_whole(own.get("steps"), "steps"),
        timeout_s=_seconds(own.get("timeout")),
        patches=tuple(read_patches(own.get("patch", "none")) if patches is None else patches),
        args=tuple(w for w in words if w.startswith("-")),
        fill=said,
        link=_listed(own.get("link", "")),
        leave_out=_listed(own.get("leave_out", "")),
    )
    made.check()
    return made


def read_patches(text: str) -> list[Patch]:
    """`none`, or files joined by `+`. Raises ConfigError where one is no patch."""
    return [] if text in ("", "none") else [read_patch(file) for file in text.split("+")]


def _listed(text: str) -> tuple[str, ...]:
    return tuple(part.strip().strip("/") for part in text.split(",") if part.strip())


def _whole(text: str | None, name: str) -> int | None:
    if text is None:
        return None
    require(text.isdigit() and int(text) > 0, f"{name}={text} must be a whole number above 0.")
    return int(text)


def _seconds(text: str | None) -> float | None:
    if text is None:
        return None
    with suppress(ValueError):
        return float(text)
    raise ConfigError(f"timeout={text!r} must be a number of seconds.")


@dataclass(frozen=True)
class ProgramRun:
    """A run that is wanted: what `config.yaml` says of it.

    version: hash of all files it runs on, patches included. tree: where those lie set apart; below:
    the folder in it that the program runs in. code: what its Python and libraries are.
    """

    program: Program
    seed: int
    version: str
    tree: str
    below: str = ""
    code: dict[str, str] = field(default_factory=dict)
    device: str = "cpu"
    """It places itself: `jobs=` says how many run at a time."""
    max_steps: int = 0
    """Its steps are its own matter."""

    def to_dict(self) -> dict[str, Any]:
        p = self.program
        return {
            "program": p.command,
            "cwd": str(Path(p.cwd).absolute()),
            "patches": {patch.sha: patch.name for patch in p.patches},
            "args": list(p.args),
            "fill": dict(p.fill),
            "metric": p.metric.text,
            "name": p.metric.name,
            "step": p.metric.step,
            "seed_by": p.seed_by,
            "steps": p.steps,
            "timeout_s": p.timeout_s,
            "link": list(p.link),
            "leave_out": list(p.leave_out),
            "seed": self.seed,
            "version": self.version,
            "code": self.code,
            "executable": p.executable(),
            "patch": "".join(patch.text for patch in p.patches),
            "tree": self.tree,
            "below": self.below,
            "max_steps": self.max_steps,
        }

    @property
    def key(self) -> str:
        """The identity, 12 characters: where the folder lies, and what patches are called, is not
        part of it; what is in them is (`version`)."""
        apart = ("cwd", "tree", "executable", "patch", "patches", "link", "leave_out")
        kept = {k: v for k, v in self.to_dict().items() if k not in apart}
        return hashlib.sha256(json.dumps(kept, sort_keys=True).encode()).hexdigest()[:12]
