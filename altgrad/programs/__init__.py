"""Other people's programs as runs: a command, a folder, a patch, and a number out of what it says.

`program` reads the words and fills the command, `source` hashes the folder and sets its state apart
(a git worktree, or a copy), `patches` applies changes of code there, `process` runs the command and
takes its whole process group along when it is stopped, `metric` finds the numbers, `run` writes an
ordinary run folder of it all. `startup/` is put on the program's path where a script has no option
for its seed. `code` does the same for altgrad's own runs with a patched altgrad. Loads no torch.
"""

from altgrad.programs.code import PatchedCode, call, patched_code
from altgrad.programs.patches import Patch, applies_to, read_patch
from altgrad.programs.program import (
    KEYS,
    NEVER_SPLIT,
    Program,
    ProgramRun,
    is_program,
    key_of_word,
    read_program,
)
from altgrad.programs.run import run_program, versions_of
from altgrad.programs.source import Source, Tree, read_source

__all__ = [
    "KEYS",
    "NEVER_SPLIT",
    "Patch",
    "PatchedCode",
    "Program",
    "ProgramRun",
    "Source",
    "Tree",
    "applies_to",
    "call",
    "is_program",
    "key_of_word",
    "patched_code",
    "read_patch",
    "read_program",
    "read_source",
    "run_program",
    "versions_of",
]
