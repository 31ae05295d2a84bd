"""No file and no answer holds NaN or Infinity, which are no JSON: one helper writes what may be."""

import ast
from pathlib import Path

import altgrad
from altgrad.runs import json_text

HOUSE = Path(altgrad.__file__).parent
NEVER_FLOATS = "names, hashes, counts, paths, words"
READ_BY_PYTHON = "altgrad's own notes, read back by it alone: there infinity is a value"
PLAIN = {
    "programs/source.py": NEVER_FLOATS,
    "programs/program.py": NEVER_FLOATS,
    "programs/code.py": READ_BY_PYTHON,
    "training/checkpoints/tensor_file.py": NEVER_FLOATS,
    "training/checkpoints/files.py": READ_BY_PYTHON,
    "training/checkpoints/manifest.py": READ_BY_PYTHON,
    "training/recording/weight_hashes.py": NEVER_FLOATS,
    "compare/launching/storage.py": NEVER_FLOATS,
    "compare/between.py": "words as they are typed",
    "compare/regroup.py": "a key, never written",
    "compare/record.py": "keys and digests, never written; the record itself refuses",
    "compare/report/tables.py": "a cell for people",
    "compare/report/charts.py": NEVER_FLOATS,
    "compare/identity.py": "a digest, never written",
    "trust.py": NEVER_FLOATS,
    "data/partial.py": NEVER_FLOATS,
    "data/train_tokenizer.py": NEVER_FLOATS,
    "data/metadata.py": NEVER_FLOATS,
    "data/readers.py": NEVER_FLOATS,
    "data/tokenizers.py": "whether it can be written",
    "data/prepare.py": "a digest, never written",
    "data/download/extract.py": "published documents, as they are",
    "data/download/hub.py": "a published manifest, as it is",
    "ideas/queue.py": "a key, never written",
    "learn/workshop.py": NEVER_FLOATS,
    "learn/planting.py": NEVER_FLOATS,
    "runs/lines.py": "metrics.jsonl: which of them a loss has become is a finding",
    "runs/folder.py": "a digest, never written",
    "studio/card.py": "a value for people",
    "interchange/tokenizer.py": NEVER_FLOATS,
    "interchange/requests.py": "words of a refusal",
    "interchange/export.py": "settings that were read from a file and checked",
    "interchange/config_json.py": "words of a refusal",
    "interchange/importing.py": NEVER_FLOATS,
    "interchange/serve.py": "words of a refusal",
    "commands/ci.py": NEVER_FLOATS,
}
"""File -> why its plain `json.dumps` writes no number that could be other than finite."""


def writes_plainly(path: Path) -> bool:
    calls = (n for n in ast.walk(ast.parse(path.read_text())) if isinstance(n, ast.Call))
    return any(
        ast.unparse(call.func) in ("json.dumps", "json.dump")
        and not any(k.arg == "allow_nan" for k in call.keywords)
        for call in calls
    )


def test_json_is_written_by_the_helper_or_for_a_reason_that_is_given():
    plainly = {p.relative_to(HOUSE).as_posix() for p in HOUSE.rglob("*.py") if writes_plainly(p)}
    assert plainly == set(PLAIN)


def test_what_is_not_finite_is_null():
    content = {"a": [float("nan"), (1.5, float("-inf"))], 2: float("inf"), "text": "NaN"}
    assert json_text(content) == '{"a": [null, [1.5, null]], "2": null, "text": "NaN"}'
