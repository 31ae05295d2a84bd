"""A stand-in for Slurm's commands on one machine, which pre-empts: `sbatch`, `srun`, `sacct`, …

Made into a folder of commands by `install(folder)`. A job is a shell script run in the background,
its state one file. `preempt(folder, job, how)` has it pre-empted as clusters do:

    signal   SIGUSR2; the job asks for `scontrol requeue` itself
    term     SIGTERM first, then SIGUSR2
    kill     SIGKILL at once, and Slurm queues it again (PreemptMode=REQUEUE)
    cancel   SIGTERM, SIGKILL, and nobody queues it again (PreemptMode=CANCEL)
"""

import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

POLL_S = 0.05
COMMANDS = ("sbatch", "srun", "sacct", "scontrol", "scancel")
SIGNALS = {
    "signal": [signal.SIGUSR2],
    "term": [signal.SIGTERM, signal.SIGUSR2],
    "kill": [signal.SIGKILL],
    "cancel": [signal.SIGTERM, signal.SIGKILL],
}
GRACE_S = 1.0
"""Between two signals: as long as a step of a tiny run and its save take."""


def install(folder: Path) -> None:
    folder.mkdir()
    for command in COMMANDS:
        script = folder / command
        script.write_text(f'#!/bin/sh\nexec {sys.executable} {__file__} {command} "$@"\n')
        script.chmod(0o755)


def preempt(folder: Path, job: str, how: str) -> None:
    (folder / f"{job}.preempt").write_text(how)


def jobs(folder: Path) -> dict[str, str]:
    """Job -> its state."""
    return {path.stem: path.read_text() for path in sorted(folder.glob("*.state"))}


def starts(folder: Path, job: str) -> int:
    return len((folder / f"{job}.starts").read_text())


# -- the commands ---------------------------------------------------------------------------------


def sbatch(folder: Path, script: str) -> None:
    job = str(100 + len(jobs(folder)))
    (folder / f"{job}.state").write_text("PENDING")
    (folder / f"{job}.sh").write_text(Path(script).read_text())
    # Its output would keep the pipe of whoever submits open.
    quiet = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL}
    subprocess.Popen(
        [sys.executable, __file__, "controller", str(folder), job],
        start_new_session=True,
        stderr=subprocess.DEVNULL,
        **quiet,
    )
    print(f"Submitted batch job {job}")


def controller(folder: Path, job: str) -> None:
    """One job's life: started as often as it is queued again."""
    while True:
        state = _once(folder, job)
        (folder / f"{job}.state").write_text(state)
        if state != "REQUEUED":
            return


def _once(folder: Path, job: str) -> str:
    with (folder / f"{job}.starts").open("a") as file:
        file.write(".")
    (folder / f"{job}.state").write_text("RUNNING")
    process = subprocess.Popen(
        ["bash", str(folder / f"{job}.sh")],
        env={**os.environ, "SLURM_JOB_ID": job, "SLURM_NTASKS": "1"},
        start_new_session=True,
    )
    wish, requeue = folder / f"{job}.preempt", folder / f"{job}.requeue"
    how = ""
    while process.poll() is None:
        if wish.exists():
            how = wish.read_text()
            wish.unlink()
            _signal(int((folder / f"{job}.step").read_text()), process, SIGNALS[how])
        time.sleep(POLL_S)
    if requeue.exists() or how == "kill":
        requeue.unlink(missing_ok=True)
        return "REQUEUED"
    if how == "cancel":
        return "PREEMPTED"
    return "FAILED" if process.returncode else "COMPLETED"


def _signal(step: int, job: subprocess.Popen, signals: list[signal.Signals]) -> None:
    """To what `srun` started alone; SIGKILL ends the whole job."""
    for number, which in enumerate(signals):
        time.sleep(GRACE_S if number else 0)
        with suppress(ProcessLookupError):
            if which == signal.SIGKILL:
                os.killpg(job.pid, which)
            else:
                os.kill(step, which)


def srun(*words: str) -> None:
    """`srun --unbuffered --output FILE --error FILE COMMAND…`"""
    rest = [word for word in words if word != "--unbuffered"]
    files = {rest[0]: rest[1], rest[2]: rest[3]}
    names = {
        k: v.replace("%j", os.environ["SLURM_JOB_ID"]).replace("%t", "0") for k, v in files.items()
    }
    for stream, name in ((1, names["--output"]), (2, names["--error"])):
        handle = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        os.dup2(handle, stream)
    job = Path(os.environ["SLURM_STAND_IN"], f"{os.environ['SLURM_JOB_ID']}.step")
    job.write_text(str(os.getpid()))
    os.execvp(rest[4], rest[4:])


def sacct(folder: Path) -> None:
    print("JobID|State|NodeList")
    for job, state in jobs(folder).items():
        print(f"{job}|{state}|here")


def scontrol(folder: Path, what: str, job: str) -> None:
    assert what == "requeue"
    (folder / f"{job}.requeue").touch()


def main() -> None:
    command, *words = sys.argv[1:]
    if command == "controller":
        controller(Path(words[0]), words[1])
    elif command == "srun":
        srun(*words)
    else:
        folder = Path(os.environ["SLURM_STAND_IN"])
        if command == "sbatch":
            sbatch(folder, words[-1])
        elif command == "sacct":
            sacct(folder)
        elif command == "scontrol":
            scontrol(folder, *words)
        else:
            preempt(folder, words[0], "cancel")


if __name__ == "__main__":
    main()
