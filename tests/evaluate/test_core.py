"""CORE's arithmetic, against published results; what may be called CORE."""

import pytest

from altgrad.data import DataError
from altgrad.evaluate.bundle import CORE_TASKS, Bundle
from altgrad.evaluate.core import TaskResult, aggregate, centred, evaluate_tasks
from altgrad.evaluate.questions import ask, shuffled
from altgrad.evaluate.scoring import answer, score_questions
from tests.evaluate.conftest import small_model

# A nanochat d10 (10 layers, width 640) after 5075 steps, evaluated with nanochat's base_eval on
# 2025-11-25 by the maintainer of saforem2/ezpz: task -> (baseline of DCLM v1, accuracy, centred).
D10 = {
    "hellaswag_zeroshot": (0.25, 0.304023, 0.072031),
    "jeopardy": (0.0, 0.009920, 0.009920),
    "bigbench_qa_wikidata": (0.0, 0.320407, 0.320407),
    "arc_easy": (0.25, 0.510522, 0.347363),
    "arc_challenge": (0.25, 0.258532, 0.011377),
    "copa": (0.5, 0.600000, 0.200000),
    "commonsense_qa": (0.2, 0.285012, 0.106265),
    "piqa": (0.5, 0.620239, 0.240479),
    "openbook_qa": (0.25, 0.296000, 0.061333),
    "lambada_openai": (0.0, 0.252086, 0.252086),
    "hellaswag": (0.25, 0.304621, 0.072827),
    "winograd": (0.5, 0.553114, 0.106227),
    "winogrande": (0.5, 0.516180, 0.032360),
    "bigbench_dyck_languages": (0.0, 0.143000, 0.143000),
    "agi_eval_lsat_ar": (0.2, 0.269565, 0.086956),
    "bigbench_cs_algorithms": (0.0, 0.368939, 0.368939),
    "bigbench_operators": (0.0, 0.109524, 0.109524),
    "bigbench_repeat_copy_logic": (0.0, 0.000000, 0.000000),
    "squad": (0.0, 0.035478, 0.035478),
    "coqa": (0.0, 0.078542, 0.078542),
    "boolq": (0.62, 0.542813, -0.203123),
    "bigbench_language_identification": (0.091, 0.252300, 0.177448),
}
D10_CORE = 0.119520


def result(task: str, accuracy: float, baseline: float, *, asked=1000, available=1000):
    return TaskResult(task, 0, available, asked, 0, accuracy, baseline, 1.0)


@pytest.mark.parametrize("task", CORE_TASKS)
def test_centring_gives_the_published_score_of_each_task(task):
    baseline, accuracy, published = D10[task]
    assert centred(accuracy, baseline) == pytest.approx(published, abs=2e-6)


def test_the_aggregate_gives_the_published_core():
    total = aggregate([result(t, accuracy, base) for t, (base, accuracy, _) in D10.items()])
    assert total.label == "CORE"
    assert f"{total.value:.6f}" == f"{D10_CORE:.6f}"


def test_a_subset_is_not_called_core():
    results = [result(t, accuracy, base) for t, (base, accuracy, _) in D10.items()]
    part = aggregate([r for r in results if r.task not in ("squad", "coqa")])
    assert not part.is_core
    assert part.label == "mean centred accuracy of 20 of CORE's 22 tasks"
    sampled = aggregate([result(t, a, b, asked=500) for t, (b, a, _) in D10.items()])
    assert not sampled.is_core
    assert "part of their examples" in sampled.label


def test_standard_errors_are_those_of_a_mean():
    half = result("copa", 0.5, 0.5, asked=101)
    assert half.error == pytest.approx(0.05)
    assert half.centred_error == pytest.approx(0.1)
    assert aggregate([half] * 4).error == pytest.approx(0.05)


def test_the_first_n_are_answered_as_in_the_whole_task(bundle_dir, tokenizer):
    bundle, model = Bundle(bundle_dir), small_model()
    task = bundle.tasks["openbook_qa"]
    items = shuffled(bundle.items(task))
    questions = [ask(task, items, i, tokenizer, first=0) for i in range(5)]
    scores = score_questions(model, questions)
    right = sum(answer(q, s) for q, s in zip(questions, scores, strict=True))
    (found,) = evaluate_tasks(model, tokenizer, bundle, [task], max_per_task=5)
    assert (found.asked, found.available, found.accuracy) == (5, 12, right / 5)


def test_unknown_characters_are_refused_or_their_examples_left_out(bundle_dir):
    from altgrad.data.tokenizers import CharTokenizer

    bundle, model = Bundle(bundle_dir), small_model()
    task = bundle.tasks["winograd"]
    letters = CharTokenizer.of_text("The cup 0123456789 fell as it since the cup was wet.")
    few = CharTokenizer.of_text("The cup 012 fell as it since the cup was wet.")
    (all_of_them,) = evaluate_tasks(model, letters, bundle, [task])
    assert (all_of_them.asked, all_of_them.skipped) == (12, 0)
    with pytest.raises(DataError, match=r"winograd.*'\d' is not among.*--unknown skip"):
        evaluate_tasks(model, few, bundle, [task])
    (some,) = evaluate_tasks(model, few, bundle, [task], unknown="skip")
    assert (some.asked, some.skipped) == (5, 7)  # 0, 1, 2, 10 and 11
    with pytest.raises(DataError, match="no example is without"):
        evaluate_tasks(model, CharTokenizer.of_text("abc"), bundle, [task], unknown="skip")
