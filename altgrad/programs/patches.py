"""Patches: read, named by their content, applied to a folder that is nobody's, refused in a line.

`git apply` does the work (it needs no repository, and applies all of a patch or nothing).
"""

import hashlib
import re
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from altgrad.settings import ConfigError, require


@dataclass(frozen=True)
class Patch:
    """name: for people. text: the whole diff."""

    name: str
    text: str

    @property
    def sha(self) -> str:
        """12 characters of its content's hash."""
        return hashlib.sha256(self.text.encode("utf-8", "surrogateescape")).hexdigest()[:12]


def read_patch(path: str | Path) -> Patch:
    """Raises ConfigError where there is no patch."""
    path = Path(path)
    try:
        text = path.read_bytes().decode("utf-8", "surrogateescape")
    except OSError as error:
        raise ConfigError(f"patch={path}: {error.strerror or error}.") from None
    changes = re.search(r"^(@@ |diff --git |GIT binary patch|rename from )", text, re.MULTILINE)
    require(bool(changes), f"patch={path} holds no change: write it with `git diff > {path}`.")
    return Patch(path.name, text)


def apply(patches: Sequence[Patch], root: Path, below: str = "") -> None:
    """All of them, one after the other, to the files in `root`.

    below: folder in `root` that a patch's paths may start from instead (`git diff --relative`).

    Raises:
        ConfigError: naming the patch, and the file and line where it does not fit.
    """
    for number, patch in enumerate(patches):
        said = _apply(patch, root, "")
        if said and below:
            said = said if _apply(patch, root, below) else ""
        if said:
            after = f" after {', '.join(p.name for p in patches[:number])}" if number else ""
            raise ConfigError(f"patch={patch.name} does not apply{after}: {_first_error(said)}")


def applies_to(patches: Sequence[Patch], root: Path, below: str = "") -> str:
    """Why they do not apply, in a line; empty if they do. Leaves `root` as it is only where all of
    them fail: ask of a folder that is nobody's."""
    try:
        apply(patches, root, below)
    except ConfigError as error:
        return str(error)
    return ""


def _apply(patch: Patch, root: Path, below: str) -> str:
    """What git says against it."""
    inside = [f"--directory={below}"] if below else []
    # Outside of any repository: git would skip, in silence, what lies outside the one it finds.
    environment = {"GIT_CEILING_DIRECTORIES": str(root.resolve().parent), "GIT_DIR": "/dev/null"}
    text = patch.text if patch.text.endswith("\n") else patch.text + "\n"
    done = subprocess.run(
        [git(), "apply", "--whitespace=nowarn", *inside, "-"],
        cwd=root,
        input=text.encode("utf-8", "surrogateescape"),
        capture_output=True,
        env={**_quiet(), **environment},
    )
    return done.stderr.decode(errors="replace") if done.returncode else ""


def _first_error(said: str) -> str:
    """`train.py:12: patch does not apply` out of what git says; the line is the hunk's."""
    errors = [line.removeprefix("error: ") for line in said.splitlines() if line.strip()]
    place = next((e for e in errors if e.startswith("patch failed: ")), "")
    if place:
        file, _, line = place.removeprefix("patch failed: ").rpartition(":")
        return f"{file}: its hunk at line {line} does not fit the file"
    return errors[0] if errors else "git does not say why"


def git() -> str:
    """Raises ConfigError where there is no git."""
    found = shutil.which("git")
    if found is None:
        raise ConfigError("patches and worktrees need git; install it.")
    return found


def _quiet() -> dict[str, str]:
    """English, and none of the person's own settings."""
    import os

    kept = {k: v for k, v in os.environ.items() if not k.startswith("GIT_")}
    return {**kept, "LC_ALL": "C", "GIT_CONFIG_NOSYSTEM": "1"}
