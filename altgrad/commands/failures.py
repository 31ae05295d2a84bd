"""What reaches a person when a command fails: one line and an exit code, decided here alone.

    2    the person can mend it: a word, a setting, a place, a file that is damaged or not ours
    1    the machine failed (the disk is full, read-only or broken; no memory), or altgrad did:
         a mistake of ours shows its traceback, and asks to be reported
    130  interrupted

Files that may be damaged are checked where they are read, and refused there as a `ValueError` that
names them; a `KeyError` that arrives here is a mistake of ours. `ALTGRAD_TRACEBACK=1` shows all.
"""

import errno
import os
import sys
import traceback

from altgrad.runs import MACHINE_ERRORS, causes_of
from altgrad.runs.printable import printable

MACHINE_FAILED = 1
USER_MISTAKE = 2

PLACE = "choose another place, or change its owner or permissions"
ELSEWHERE = {errno.EACCES: PLACE, errno.EPERM: PLACE}

EXTRAS = {
    "track": ("wandb", "tensorboard", "trackio"),
    "report": ("altair", "vl_convert"),
    "sweep": ("optuna",),
    "cluster": ("ray", "submitit"),
    "hf": ("pyarrow", "tokenizers", "zstandard", "huggingface_hub"),
    "eval": ("lm_eval",),
    "lightning": ("lightning",),
    "lora": ("peft", "bitsandbytes", "torchao"),
    "serve": ("starlette", "uvicorn"),
}
"""Extra of `pip install 'altgrad[…]'` -> the modules it brings."""

REPORT = (
    "altgrad: this is not an error that altgrad expects. If it comes from a part of your own, the "
    "lines above say where; otherwise please report them, with the command, as a bug."
)


def tell(error: Exception) -> int:
    """Say on stderr what happened; returns the exit code."""
    line = one_line(error)
    if line is None or os.environ.get("ALTGRAD_TRACEBACK"):
        traceback.print_exception(error)
    said = REPORT if line is None else "altgrad: " + " ".join(printable(line).split())
    print(said, file=sys.stderr)
    return MACHINE_FAILED if line is None else exit_code(error)


def one_line(error: Exception) -> str | None:
    """What a person should read, or None for a mistake of ours."""
    if isinstance(error, OSError):
        return _of_system(error)
    if isinstance(error, ValueError):
        return str(error)
    if isinstance(error, ModuleNotFoundError):
        return _of_import(error)
    if _out_of_memory(error):
        return (
            "not enough memory; a smaller model (model.n_embd, model.n_layer) or batch "
            "(data.batch_size, with accumulation to make up for it) needs less"
        )
    return None


def exit_code(error: BaseException) -> int:
    """The machine's failure stays one when it was put into other words on its way."""
    chain = list(causes_of(error))
    broken = any(isinstance(e, OSError) and e.errno in MACHINE_ERRORS for e in chain)
    return MACHINE_FAILED if broken or any(map(_out_of_memory, chain)) else USER_MISTAKE


def _of_system(error: OSError) -> str:
    if error.errno is None:
        return str(error)
    names = [os.fsdecode(f) for f in (error.filename, error.filename2) if _is_name(f)]
    files = ", ".join(dict.fromkeys(names))
    advice = MACHINE_ERRORS.get(error.errno) or ELSEWHERE.get(error.errno)
    told = f"{files or 'what was to be written'}: {os.strerror(error.errno)}"
    return f"{told}; {advice}." if advice else f"{told}."


def _is_name(file: object) -> bool:
    return isinstance(file, str | bytes | os.PathLike)


def _of_import(error: ModuleNotFoundError) -> str | None:
    package = (error.name or "").partition(".")[0]
    extra = next((e for e, modules in EXTRAS.items() if package in modules), None)
    return f"this needs {package}: pip install 'altgrad[{extra}]'." if extra else None


def _out_of_memory(error: BaseException) -> bool:
    """Also torch's, which has a kind of its own on a GPU and only words on a CPU."""
    torch_says = type(error).__name__ == "OutOfMemoryError" or "can't allocate memory" in str(error)
    return isinstance(error, MemoryError) or (isinstance(error, RuntimeError) and torch_says)
