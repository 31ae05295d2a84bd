"""A small evaluation bundle in the published layout, and a small model to ask."""

import json
from types import SimpleNamespace

import pytest
import torch

from altgrad.data.tokenizers import ByteTokenizer
from altgrad.model import GPT, GPTConfig

YAML = """\
icl_tasks:
- label: openbook_qa
  dataset_uri: commonsense_reasoning/openbook_qa.jsonl
  num_fewshot: [2]
  icl_task_type: multiple_choice
  continuation_delimiter: "\\nAnswer: "
- label: winograd
  dataset_uri: language_understanding/winograd_wsc.jsonl
  num_fewshot: [0]
  icl_task_type: schema
- label: jeopardy
  dataset_uri: world_knowledge/jeopardy_all.jsonl
  num_fewshot: [1]
  icl_task_type: language_modeling
- label: squad
  dataset_uri: reading_comprehension/squad.jsonl
  num_fewshot: [10]
  icl_task_type: language_modeling
"""
BASELINES = """\
Eval Task,Task Category,Task Type,#shots,#datapoints,Random baseline,Centered Metric?,Description
openbook_qa,commonsense,multiple choice,0,500,25,,"x, y"
winograd,language,schema,0,273,50,,x
jeopardy,knowledge,language modeling,10,2117,0,,x
squad,reading,language modeling,10,10570,0,,x
"""


def items(kind: str, count: int = 12) -> list[dict]:
    if kind == "choice":
        return [
            {
                "query": f"TaskExample: how many legs have {i} animals that walk upright?",
                "choices": [f"{2 * i}", f"{2 * i + 1} and a half", "none", "many, many"],
                "gold": i % 4,
            }
            for i in range(count)
        ]
    if kind == "schema":
        return [
            {
                "context_options": [f"The cup {i} fell since the cup", f"The cup {i} fell as it"],
                "continuation": "was wet.",
                "gold": i % 2,
            }
            for i in range(count)
        ]
    return [{"context": f"The word after {i} is ", "continuation": "a"} for i in range(count)]


@pytest.fixture
def bundle_dir(tmp_path):
    root = tmp_path / "bundle"
    files = {
        "commonsense_reasoning/openbook_qa": "choice",
        "language_understanding/winograd_wsc": "schema",
        "world_knowledge/jeopardy_all": "modeling",
    }
    for name, kind in files.items():
        path = root / "eval_data" / f"{name}.jsonl"
        path.parent.mkdir(parents=True)
        path.write_text("".join(json.dumps(item) + "\n" for item in items(kind)))
    (root / "core.yaml").write_text(YAML)
    (root / "eval_meta_data.csv").write_text(BASELINES)
    return root


def small_model(**changes) -> GPT:
    """A model over bytes with weights far from zero, so that every choice differs."""
    config = {"n_layer": 2, "n_head": 2, "n_embd": 32, "block_size": 256, "vocab_size": 256}
    model = GPT(GPTConfig(**config | changes), torch.Generator().manual_seed(3)).eval()
    noise = torch.Generator().manual_seed(5)  # of each model's own: no test depends on another
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.3 * torch.randn(parameter.shape, generator=noise))
    return model


@pytest.fixture
def tokenizer():
    """Bytes, with byte 0 as the token that starts a text."""
    bytes_ = ByteTokenizer()
    return SimpleNamespace(
        encode=bytes_.encode,
        encode_array=bytes_.encode_array,
        decode=bytes_.decode,
        vocab_size=256,
        end_of_text=0,
    )
