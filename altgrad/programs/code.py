"""altgrad's own runs with a patched altgrad, or with patched parts of one's own.

A patch whose paths begin with `altgrad/` changes a copy of altgrad; another one changes a copy of
the repository that the person works in. Everything that such a run needs is done by a Python
started in those copies (`call`). What is measured stays: a patch of altgrad may change the rooms in
`FREE` and nothing else, whatever a patch's headers say, since the copies are compared file by file.
"""

import json
import os
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from altgrad.programs.patches import Patch
from altgrad.programs.process import call_and_forward
from altgrad.programs.source import Tree, read_source
from altgrad.settings import ConfigError, require

FREE = ("altgrad/model/", "altgrad/quantization/", "altgrad/optim/", "altgrad/training/step.py")
"""What of altgrad a patch may change: the network, the numbers, how weights move. The rest says
what is measured, and on what."""

PACKAGE = Path(__file__).resolve().parents[1]


@dataclass(frozen=True)
class PatchedCode:
    """Folders that stand first on Python's path, and the one the call is made in (empty: the
    caller's own). Plain values: they travel with a task."""

    path: tuple[str, ...]
    cwd: str = ""

    def to_dict(self) -> dict[str, Any]:
        return {"path": list(self.path), "cwd": self.cwd}


def is_own(patch: Patch) -> bool:
    """Whether it changes altgrad itself."""
    return any(
        line.startswith(
            ("+++ b/altgrad/", "--- a/altgrad/", "+++ altgrad/", "diff --git a/altgrad/")
        )
        for line in patch.text.splitlines()
    )


def patched_code(patches: Sequence[Patch], runs: str | Path) -> tuple[PatchedCode, list[Tree]]:
    """Copies with the patches applied, held until each of the trees is released.

    Raises:
        ConfigError: one does not apply, or changes what is measured, naming the file.
    """
    own = [patch for patch in patches if is_own(patch)]
    others = [patch for patch in patches if not is_own(patch)]
    trees: list[Tree] = []
    try:
        if own:
            source = read_source(PACKAGE.parent, runs=runs, only=PACKAGE.name)
            trees.append(Tree(source, own, runs).hold())
            refuse_measuring(trees[0])
        if others:
            trees.append(Tree(read_source(Path.cwd(), runs=runs), others, runs).hold())
            _refuse_altgrad(trees[-1])
    except BaseException:
        for tree in trees:
            tree.release()
        raise
    here = str(trees[-1].folder) if others else ""
    return PatchedCode(tuple(str(t.folder) for t in reversed(trees)), here), trees


def refuse_measuring(tree: Tree) -> None:
    """Raises ConfigError for a tree of altgrad in which more than `FREE` was changed."""
    for file in tree.changed():
        require(
            file.startswith(FREE) and file.endswith((".py", ".cpp")),
            f"the patch changes {file}, which is part of the measuring; it may change "
            f"{', '.join(FREE)}.",
        )


def _refuse_altgrad(tree: Tree) -> None:
    """A repository of one's own must not bring another altgrad, or its start-up files, along."""
    tops = ("altgrad", "sitecustomize.py", "usercustomize.py", "torch", "numpy")
    for file in tree.changed():
        parts = Path(file).parts
        require(
            not {p.removesuffix(".py") for p in parts} & {t.removesuffix(".py") for t in tops},
            f"the patch changes {file}, which would stand in for what measures.",
        )


def call(code: PatchedCode, target: str, *arguments: Any, cwd: str = ".") -> Any:
    """`target`, `altgrad.room.file:function`, called in the patched code by a Python of its own.

    arguments, and what it returns: as JSON can hold them. SIGINT and SIGTERM are handed on.

    Raises:
        ConfigError: what it raised, in a line.
    """
    with tempfile.TemporaryDirectory() as folder:
        asked, answer = Path(folder) / "asked.json", Path(folder) / "answer.json"
        asked.write_text(json.dumps(list(arguments)))
        path = [*code.path, *(os.path.abspath(p) for p in sys.path if p)]
        status = call_and_forward(
            # -P: the folder it is called in must not stand before the patched one
            [sys.executable, "-P", "-c", _answering(target), str(asked), str(answer)],
            environment={**os.environ, "PYTHONPATH": os.pathsep.join(dict.fromkeys(path))},
            cwd=code.cwd or cwd,
        )
        if not answer.is_file():
            raise ConfigError(f"the patched code's process ended with status {status}.")
        said = json.loads(answer.read_text())
    if "error" in said:
        raise ConfigError(said["error"])
    return said["result"]


def _answering(target: str) -> str:
    """The other side of `call`; what the patched code raises while it is imported is told, too."""
    module, _, name = target.partition(":")
    return (
        "import sys\nfrom altgrad.programs.code import answer_by\n"
        f"def asked(*given):\n    from {module} import {name}\n    return {name}(*given)\n"
        "answer_by(asked, *sys.argv[1:])"
    )


def answer_by(target: Callable[..., Any], asked_file: str, answer_file: str) -> None:
    """Write what `target` gives, or raises, in a line."""
    try:
        said = {"result": target(*json.loads(Path(asked_file).read_text()))}
    except Exception as error:
        said = {"error": f"{type(error).__name__}: {' '.join(str(error).split())}"[:500]}
    Path(answer_file).write_text(json.dumps(said))
