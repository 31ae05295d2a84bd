"""lm-eval's harness and our own path give the same numbers for the same examples."""

import json
import math

import pytest
import torch

lm_eval = pytest.importorskip("lm_eval", reason="lm-eval is not installed (extra `eval`)")

from altgrad.evaluate.bundle import Bundle  # noqa: E402
from altgrad.evaluate.core import evaluate_tasks  # noqa: E402
from altgrad.evaluate.harness import continued, language_model, loglikelihoods, run_harness  # noqa: E402
from tests.evaluate.conftest import small_model  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore")


def zero_shot(bundle_dir) -> Bundle:
    text = (bundle_dir / "core.yaml").read_text().replace("[2]", "[0]")
    (bundle_dir / "core.yaml").write_text(text.replace("\\nAnswer: ", " "))
    return Bundle(bundle_dir)


def task_over(path) -> dict:
    """The configuration of a multiple-choice task over a local file."""
    return {
        "task": "local_choices",
        "dataset_path": "json",
        "dataset_kwargs": {"data_files": {"validation": str(path)}},
        "validation_split": "validation",
        "output_type": "multiple_choice",
        "doc_to_text": "query",
        "doc_to_target": "gold",
        "doc_to_choice": "choices",
        "target_delimiter": " ",
        "num_fewshot": 0,
        "metric_list": [{"metric": "acc"}, {"metric": "acc_norm"}],
    }


def test_both_paths_agree_on_a_multiple_choice_task(bundle_dir, tokenizer, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "datasets"))
    bundle, model = zero_shot(bundle_dir), small_model()
    path = bundle_dir / "eval_data" / "commonsense_reasoning" / "openbook_qa.jsonl"
    theirs = run_harness(model, tokenizer, [task_over(path)])["local_choices"]
    # The choices of one question begin alike: CORE scores what they do not share, lm-eval all.
    (ours,) = evaluate_tasks(model, tokenizer, bundle, [bundle.tasks["openbook_qa"]])
    assert 0 < ours.acc < 1
    assert theirs["acc,none"] == pytest.approx(ours.acc)
    assert theirs["acc_norm,none"] == pytest.approx(ours.acc_norm)


def test_a_log_likelihood_is_that_of_the_definition(tokenizer):
    model = small_model()
    context, continuation = tokenizer.encode("The cup"), tokenizer.encode(" was wet.")
    ((found, _),) = loglikelihoods(model, [(context, continuation)], begin=[0])
    ids = [0, *context, *continuation]
    with torch.no_grad():
        logs = model(torch.tensor([ids[:-1]]))[0][0].double().log_softmax(-1)
    n = len(continuation)
    expected = sum(float(logs[-n + i, continuation[i]]) for i in range(n))
    assert found == pytest.approx(expected, abs=1e-4)


def test_rolling_gives_every_token_once(tokenizer):
    from lm_eval.api.instance import Instance

    model = small_model(block_size=16)
    text = "A text that is longer than the model can read at once."
    request = Instance("loglikelihood_rolling", {}, (text,), 0)
    (found,) = language_model(model, tokenizer).loglikelihood_rolling([request])
    assert math.isfinite(found)
    ids = [0, *tokenizer.encode(text)]
    expected = 0.0
    for start in range(0, len(ids) - 1, 16):
        stop = min(start + 16, len(ids) - 1)
        context = ids[max(0, stop - 16) : stop]
        with torch.no_grad():
            logs = model(torch.tensor([context]))[0][0].double().log_softmax(-1)
        targets = ids[start + 1 : stop + 1]
        rows = logs[-len(targets) :]
        expected += sum(float(row[t]) for row, t in zip(rows, targets, strict=True))
    assert found == pytest.approx(expected, abs=1e-3)


def test_writing_stops_before_the_first_stop_text(tokenizer):
    model = small_model()
    whole = continued(model, tokenizer, "To", {"max_gen_toks": 12}, begin=[0])
    stop = whole[4:6]
    cut = continued(model, tokenizer, "To", {"until": [stop], "max_gen_toks": 12}, begin=[0])
    assert cut == whole.split(stop)[0]


def test_an_unknown_task_is_an_error_of_lm_evals(tokenizer):
    with pytest.raises(Exception, match=r"no_such_task"):
        run_harness(small_model(), tokenizer, [json.loads('"no_such_task"')])
