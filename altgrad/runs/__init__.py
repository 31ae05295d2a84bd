"""A run on disk, read without torch: its folder, its lines, what it says about itself.

`folder` knows where everything lies and who may write, `lines` reads and writes JSON lines that
survive a kill (`metrics_record` says whether they are whole), `metric_catalogue` says what each
number means, `layers` makes tables of them, `reading` reads the small files, `disk` flushes and
renames, `summary` makes a row of a table out of a folder, `history` and `code_version` say whether
two runs could be the same run, `environment` what machine made it, `view`, `watch` and `plots` show
it to a person (`printable`: no escapes reach a terminal). Whoever only looks at runs needs nothing
from `training`.
"""

from altgrad.runs.code_version import accept_code, changed_sources, code_versions, keep_sources
from altgrad.runs.disk import MACHINE_ERRORS, PIECE_BYTES, Disk, causes_of
from altgrad.runs.folder import (
    LAYOUT_VERSION,
    FileLock,
    FolderLostError,
    RunFolder,
    find_runs,
    is_inside,
    is_locked,
    lock_holder,
    new_run_path,
    resolve_run,
    run_status,
    said_status,
    what_is_lost,
    write_atomically,
)
from altgrad.runs.history import (
    GIVEN,
    Changes,
    alterations,
    code_changes,
    last_weights,
    read_initial,
)
from altgrad.runs.layers import AGGREGATES, OVER_TIME, LayerTable, layer_table, short_name
from altgrad.runs.lines import (
    LineLog,
    Metrics,
    json_line,
    metrics_in,
    read_events,
    read_jsonl,
    read_metrics,
)
from altgrad.runs.metric_catalogue import metric_rows
from altgrad.runs.metrics_record import Record, record_of, what_is_missing
from altgrad.runs.reading import SettingsReader, read_json, read_yaml
from altgrad.runs.strict_json import json_text, plain
from altgrad.runs.summary import (
    checkpoint_folder,
    costs_of,
    describe_precision,
    noting,
    read_settings,
    summarise_run,
    tokens_per_step,
)

__all__ = [
    "AGGREGATES",
    "GIVEN",
    "LAYOUT_VERSION",
    "MACHINE_ERRORS",
    "OVER_TIME",
    "PIECE_BYTES",
    "Changes",
    "Disk",
    "FileLock",
    "FolderLostError",
    "LayerTable",
    "LineLog",
    "Metrics",
    "Record",
    "RunFolder",
    "SettingsReader",
    "accept_code",
    "alterations",
    "causes_of",
    "changed_sources",
    "checkpoint_folder",
    "code_changes",
    "code_versions",
    "costs_of",
    "describe_precision",
    "find_runs",
    "is_inside",
    "is_locked",
    "json_line",
    "json_text",
    "keep_sources",
    "last_weights",
    "layer_table",
    "lock_holder",
    "metric_rows",
    "metrics_in",
    "new_run_path",
    "noting",
    "plain",
    "read_events",
    "read_initial",
    "read_json",
    "read_jsonl",
    "read_metrics",
    "read_settings",
    "read_yaml",
    "record_of",
    "resolve_run",
    "run_status",
    "said_status",
    "short_name",
    "summarise_run",
    "tokens_per_step",
    "what_is_lost",
    "what_is_missing",
    "write_atomically",
]
