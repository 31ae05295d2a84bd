"""Patches as ideas: their texts lie in the ledger's folder, a word in an idea names one by hash.

`patch.b79bcd6e1551=idea.diff` is such a word. A champion of many ideas is the patches of all of
them, applied in their order. Taking one back is applying the others; where they do not apply
without it, they depend on it.
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from altgrad import trust
from altgrad.ideas.idea import Idea
from altgrad.ideas.ledger import FILE
from altgrad.programs import Patch, read_patch
from altgrad.runs import write_atomically
from altgrad.settings import require

FOLDER = "patches"
KEY = "patch."


def with_patch(idea: Idea, path: str | Path) -> Idea:
    """The idea with a patch of code beside its words.

    Raises:
        ValueError: no patch, or a file named it and the person never did.
    """
    patch = read_patch(path)
    _accept(f"patch={path}", str(Path(path).resolve().parent))
    return replace(idea, patch=patch)


def keep(idea: Idea, ledger: Path) -> Idea:
    """The idea with its patch in the ledger's folder, and a word for it."""
    if idea.patch is None:
        return idea
    place = _place(ledger, idea.patch.sha)
    place.parent.mkdir(parents=True, exist_ok=True)
    if not place.is_file():
        write_atomically(place, idea.patch.text)
    trust.allow([f"patch={idea.patch.sha}"])
    _accept(f"patch={idea.patch.sha}", str(ledger.resolve()))
    word = f"{KEY}{idea.patch.sha}={idea.patch.name}"
    return replace(idea, words=(*idea.words, word), patch=None)


def _place(ledger: Path, sha: str) -> Path:
    return ledger / FOLDER / f"{sha}.diff"


def _accept(name: str, folder: str) -> None:
    value = name.partition("=")[2]
    trust.require(name, setting="patch", folders=[folder], runs=f"the code that {value} changes")


def without_patches(words: Sequence[str]) -> list[str]:
    return [word for word in words if not word.startswith(KEY)]


def patches_of(words: Sequence[str], ledger: Path | None) -> list[Patch]:
    """The patches that words name, in their order.

    Raises:
        ValueError: one is not in the ledger's folder or is not what was kept there, or this ledger
            comes from somewhere else and nobody here has said that it may be run.
    """
    found = []
    for key, _, name in (w.partition("=") for w in words if w.startswith(KEY)):
        sha = key.removeprefix(KEY)
        place = _place(ledger or Path(), sha)
        require(
            ledger is not None and place.is_file(),
            f"{key}={name}: the ledger has no such patch; give its file: --patch {name}",
        )
        patch = Patch(name, read_patch(place).text)
        require(patch.sha == sha, f"{place} is not the patch that was kept there.")
        trust.said_by(place.parents[1] / FILE, f"patch={sha}")
        _accept(f"patch={sha}", str(place.parents[1].resolve()))
        found.append(patch)
    return found
