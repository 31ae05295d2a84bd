"""Where runs are executed, and how many at a time; none of it changes a result.

`launch` has the settings, `sweep` brings every wanted run to its end, `worker` makes one run in a
process of its own; `local`, `ray` and `slurm` start workers, a file a launcher.
"""

from altgrad.compare.launching.launch import Launch, Task, take_launch_words
from altgrad.compare.launching.local import server
from altgrad.compare.launching.sweep import LAUNCHERS, Report, Wanted, as_task, complete

__all__ = [
    "LAUNCHERS",
    "Launch",
    "Report",
    "Task",
    "Wanted",
    "as_task",
    "complete",
    "server",
    "take_launch_words",
]
