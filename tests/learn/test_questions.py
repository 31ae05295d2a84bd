import numpy as np
import pytest
import torch

from altgrad.cli import main
from altgrad.learn.probes.common import draw as draw_numbers
from altgrad.learn.questions import bench as common
from altgrad.learn.questions import instant
from altgrad.learn.questions.bench import (
    Arm,
    Ours,
    ScoreProbe,
    evaluate,
    optimizer_of,
    tie,
    train,
)
from altgrad.learn.questions.finding import Bench, compare
from altgrad.learn.questions.mine import Mine, units_for
from altgrad.learn.questions.questions import (
    EXPERIMENTS,
    draw,
    find_question,
    load_questions,
    run_experiment,
    table,
)
from altgrad.learn.track import TRACKS, Track

FAST = ("qk-norm", "untied", "bfloat16", "lr-scaling", "accumulation", "rotary-buffers")


@pytest.fixture
def tokens() -> dict[str, np.ndarray]:
    generator = np.random.default_rng(0)
    return {s: generator.integers(0, 29, 3000).astype(np.uint16) for s in ("train", "val")}


@pytest.fixture
def short(monkeypatch):
    """Experiments of two steps: that they run, not what they find."""
    own = common.train
    monkeypatch.setattr(
        common, "train", lambda arm, *rest: own(Arm(**vars(arm) | {"steps": 2}), *rest)
    )
    monkeypatch.setattr(common, "EVALUATION_BLOCKS", 8)
    monkeypatch.setattr(instant, "DRIFT_STEPS", 3)


def test_there_are_twelve_and_each_has_an_experiment():
    questions = load_questions()
    assert len(questions) == 12
    assert set(questions) == set(EXPERIMENTS)
    for question in questions.values():
        assert question.question.endswith("?")
        assert 150 < len(question.answer) < 700


def test_lessons_point_at_questions_that_exist():
    for name in TRACKS:
        for lesson in Track(name).lessons.values():
            assert set(lesson.questions) <= set(load_questions())


def test_an_unknown_question_is_refused_with_the_nearest():
    with pytest.raises(ValueError, match="did you mean 'qk-norm'"):
        find_question("qknorm")


@pytest.mark.parametrize(
    "name",
    [n if n in FAST else pytest.param(n, marks=pytest.mark.slow) for n in sorted(EXPERIMENTS)],
)
def test_every_experiment_runs_prints_and_draws(name, tokens, short, tmp_path):
    finding = run_experiment(name, Bench(tokens, seeds=1))
    assert finding.verdict
    assert len(table(finding)) == len(finding.rows) + 1
    draw(finding, find_question(name), tmp_path / "plot.png")
    assert (tmp_path / "plot.png").stat().st_size > 5000


def test_progress_counts_all_steps_of_all_arms(tokens):
    seen = []
    arms = [Arm("one", steps=2), Arm("two", steps=3)]
    Bench(tokens, 2, lambda done, total: seen.append((done, total))).run(arms)
    assert seen == [(i, 10) for i in range(1, 11)]


def test_arms_of_one_seed_start_alike_and_see_the_same_batches(tokens):
    runs = [train(Arm(label, steps=3), tokens, 4, lambda: None) for label in ("a", "b")]
    assert runs[0].losses == runs[1].losses
    assert runs[0].bits_per_byte == runs[1].bits_per_byte
    other = train(Arm("c", steps=3), tokens, 5, lambda: None)
    assert other.losses != runs[0].losses


def test_rates_are_the_arms_scaled_by_width_and_fall_to_zero(tokens, monkeypatch):
    from altgrad.model import GPT, preset

    model = GPT(preset("nanochat", vocab_size=29, bias=True, **common.SIZES))
    rates = {g["name"]: g["lr"] for g in optimizer_of(model, Arm("x")).param_groups}
    scale = (128 / 768) ** -0.5
    wanted = {"matrix": 0.02, "embedding": 0.2 * scale, "head": 0.004 * scale}
    assert rates == pytest.approx(wanted | {"scalar": 0.004 * scale})
    seen = []
    made = optimizer_of(model, Arm("x"))
    made.register_step_pre_hook(lambda o, *_: seen.append(o.param_groups[0]["lr"]))
    monkeypatch.setattr(common, "optimizer_of", lambda *_: made)
    train(Arm("x", steps=4), tokens, 0, lambda: None)
    assert seen == pytest.approx([0.02, 0.02, 0.02, 0.01])


def test_the_verdict_needs_one_sign_and_more_than_noise(tokens):
    def fake(values):
        return [common.Trained(Arm("x"), seed, [1.0], v, 1, {}) for seed, v in enumerate(values)]

    base = [2.0, 2.1]
    for values, word in (
        ([2.1, 2.2], "+0.1000 bits per byte, higher with both seeds"),
        ([1.9, 2.0], "-0.1000 bits per byte, lower with both seeds"),
        ([2.2, 2.0], "no clear difference"),
        ([2.004, 2.104], "no clear difference"),
    ):
        assert word in compare({"control": fake(base), "arm": fake(values)}).verdict


def test_scores_are_bounded_by_sqrt_d_with_qk_norm_only(tokens):
    from altgrad.model import GPT, preset

    for on, bounded in ((True, True), (False, False)):
        model = GPT(preset("nanochat", vocab_size=29, qk_norm=on, **common.SIZES))
        with torch.no_grad():
            for block in model.transformer.h:
                block.attn.c_q.weight.mul_(10)
        score = ScoreProbe(tokens["val"])(model)["largest score"]
        assert (score <= 32**0.5 + 1e-4) == bounded


def test_a_tied_head_is_one_matrix(tokens):
    from altgrad.model import GPT, preset

    model = GPT(preset("nanochat", vocab_size=29, **common.SIZES))
    tie(0.02)(model)
    assert model.lm_head.weight is model.transformer.wte.weight
    assert model.lm_head.weight.std().item() == pytest.approx(0.02, rel=0.05)
    assert evaluate(model, tokens["val"]) > 0


def test_fractions_of_unmoved_bfloat16_weights_are_the_known_ones(tokens):
    rows = {
        r["learning rate"]: r["unmoved (%)"]
        for r in run_experiment("bfloat16", Bench(tokens, 1)).rows
    }
    for rate, share in ((0.49, 0), (0.004, 4.5), (0.001, 62), (0.0003, 90)):
        assert rows[rate] == pytest.approx(share, abs=1)


# -- on a learner's own file ----------------------------------------------------------------------

SETTINGS = [
    {},
    {"n_kv_head": 1},
    {"qk_norm": False},
    {"embedding_norm": False},
    {"logit_softcap": None},
    {"mlp": "gelu"},
    {"mlp": "altgrad.learn.questions.bench:PlainReLU"},
    {"bias": True},
]


def awake(model):
    """Every parameter random, by its name, the same for two models of one architecture."""
    with torch.no_grad():
        for name, p in sorted(model.named_parameters()):
            p.copy_(draw_numbers(name.removeprefix("own."), *p.shape) * 0.3)
    return model


@pytest.fixture
def mine(tmp_path) -> Mine:
    path = tmp_path / "my_gpt.py"
    path.write_text(Track("nanochat").source)
    return Mine(path)


@pytest.mark.parametrize("settings", SETTINGS, ids=str)
def test_a_switched_file_of_ones_own_is_altgrads_model_of_that_setting(mine, settings):
    sizes = common.SIZES | settings
    own, ours = awake(mine.make(29, sizes, 0)), awake(Ours().make(29, sizes, 0))
    ids = torch.randint(29, (2, 12), generator=torch.Generator().manual_seed(1))
    losses = own(ids, ids.flip(0))[1], ours(ids, ids.flip(0))[1]
    torch.testing.assert_close(*losses, atol=1e-5, rtol=1e-5)
    plain = awake(Ours().make(29, common.SIZES, 0))(ids, ids.flip(0))[1]
    assert (settings == {}) == bool((plain - losses[1]).abs() < 1e-6)


def test_largest_scores_of_a_file_of_ones_own_are_those_of_altgrads_model(mine, tokens):
    probe, scores = ScoreProbe(tokens["val"]), []
    for maker in (mine, Ours()):
        scores.append(probe(awake(maker.make(29, common.SIZES, 0)))["largest score"])
    assert scores[0] == pytest.approx(scores[1], rel=1e-4)


@pytest.mark.parametrize("name", ["qk-norm", "bfloat16", "lr-scaling", "rotary-buffers"])
def test_experiments_run_on_a_file_of_ones_own(name, tokens, short, mine):
    assert run_experiment(name, Bench(tokens, seeds=1, maker=mine)).verdict


def test_the_rate_of_ones_own_file_is_measured(mine):
    source = Track("nanochat").source
    assert mine.head_rate(128) == pytest.approx(Ours().head_rate(128))
    mine.path.write_text(source.replace("(self.config.n_embd / 768) ** -0.5", "1.0"))
    assert mine.head_rate(128) == 0.004


def test_what_a_file_of_ones_own_does_not_call_cannot_be_left_out(mine):
    source = Track("nanochat").source.replace("q, k = norm(q), norm(k)", ROOTS)
    assert ROOTS in source
    mine.path.write_text(source)
    with pytest.raises(ValueError, match="attention does not call norm"):
        mine.make(29, common.SIZES | {"qk_norm": False}, 0)


ROOTS = "q, k = F.rms_norm(q, (q.size(-1),)), F.rms_norm(k, (k.size(-1),))"


def test_a_question_needs_the_units_that_its_experiment_runs():
    units = Track("nanochat").units
    assert "GPT.setup_optimizers" in units_for("lr-scaling", units)
    assert not {"GPT.setup_optimizers", "GPT.generate"} & set(units_for("mqa", units))


def test_ones_own_file_is_refused_until_it_passes(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["learn", "show", "mqa", "--mine"]) == 2
    assert "--mine needs a workshop of the track nanochat" in capsys.readouterr().err
    main(["learn", "start"])
    capsys.readouterr()
    assert main(["learn", "show", "mqa", "--mine"]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "GPT.__init__ of my-gpt/my_gpt.py does not pass yet" in said
