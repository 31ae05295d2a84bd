import re
import resource
import time

import pytest
import torch

from altgrad.learn.checker import check_file, judge
from altgrad.learn.isolate import run_isolated
from altgrad.learn.observe import agrees, differences, observe, tolerances
from altgrad.learn.source import replace_bodies, skeleton
from altgrad.learn.track import TRACKS, Track
from altgrad.learn.transplant import load_reference, transplant

NANOCHAT = Track("nanochat")


@pytest.fixture(autouse=True)
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def write(tmp_path):
    """`write({"norm": body})`: the reference's file with other bodies in it."""

    def file(bodies: dict[str, str]):
        path = tmp_path / "my_gpt.py"
        path.write_text(replace_bodies(NANOCHAT.source, bodies))
        return path

    return file


def verdict(path, unit="norm", **settings):
    return next(iter(check_file(NANOCHAT, path, [unit], **settings)))


@pytest.mark.parametrize("name", TRACKS)
def test_the_filled_skeleton_passes_everything(name, tmp_path):
    track = Track(name)
    path = tmp_path / "my_gpt.py"
    path.write_text(track.source)
    states = {v.unit: v.state for v in check_file(track, path)}
    assert states == dict.fromkeys(track.units, "passed")


@pytest.mark.parametrize("name", TRACKS)
def test_the_empty_skeleton_passes_nothing(name, tmp_path):
    track = Track(name)
    path = tmp_path / "my_gpt.py"
    path.write_text(skeleton(track.source, {u: track.lessons[u].todo for u in track.units}))
    verdicts = list(check_file(track, path))
    assert {v.state for v in verdicts} == {"todo"}
    assert [v.evidence for v in verdicts] == [[track.lessons[u].todo] for u in track.units]


def is_caught(track: Track, variant, expected: dict) -> bool:
    namespace = transplant(track.path, variant.apply(track.source), track.path, variant.unit)
    outcomes, limits = expected[variant.unit]
    probe = track.probes[variant.unit]
    if agrees(probe, namespace, outcomes, rtol=1e-9):
        return False  # to the last digit
    return bool(differences(outcomes, observe(probe, namespace), rtol=limits))


@pytest.fixture(scope="module", params=TRACKS)
def track_and_expected(request):
    track = Track(request.param)
    reference = load_reference(track.path)
    probes = track.probes.items()
    return track, {u: (observe(p, reference), tolerances(p, reference)) for u, p in probes}


def test_right_solutions_in_other_styles_raise_no_alarm(track_and_expected):
    track, expected = track_and_expected
    alarms = [v.name for v in track.equivalents if is_caught(track, v, expected)]
    assert alarms == []


@pytest.mark.slow
def test_every_catalogued_mistake_is_caught(track_and_expected):
    track, expected = track_and_expected
    missed = [(m.unit, m.name) for m in track.mistakes if not is_caught(track, m, expected)]
    assert missed == []


def test_mistakes_in_independently_written_code_are_named_too(track_and_expected):
    track, _ = track_and_expected
    for stranger in track.strangers[::6]:
        found = judge(track, track.path, stranger.apply(track.source), stranger.unit)
        assert found.mistakes[:1] == [stranger.says], stranger.name


@pytest.mark.slow
def test_three_quarters_of_the_mistakes_are_named(track_and_expected):
    track, _ = track_and_expected
    found = [
        judge(track, track.path, m.apply(track.source), m.unit).named[:1] for m in track.mistakes
    ]
    right = [n == [m.says] for n, m in zip(found, track.mistakes, strict=True)]
    assert sum(right) >= 0.75 * len(right)


@pytest.mark.parametrize(
    ("unit", "name"),
    [
        ("norm", "eps 1e-5"),
        ("apply_rotary_emb", "interleaved pairs"),
        ("CausalSelfAttention.forward", "mask sees the next token"),
        ("CausalSelfAttention.forward", "scale 1/D"),
        ("CausalSelfAttention.forward", "RoPE on v"),
        ("GPT.setup_optimizers", "embedding in Muon"),
        ("GPT.forward", "cache: positions from 0"),
    ],
)
def test_a_mistake_is_caught_at_its_unit_and_named(unit, name):
    mistake = next(m for m in NANOCHAT.mistakes if (m.unit, m.name) == (unit, name))
    found = judge(NANOCHAT, NANOCHAT.path, mistake.apply(NANOCHAT.source), unit)
    assert found.state == "wrong"
    assert found.named == [mistake.says]
    assert found.evidence


def test_a_mistake_elsewhere_does_not_show_in_the_units_that_use_it():
    source = replace_bodies(NANOCHAT.source, {"norm": "    return x * 2\n"})
    for unit in ("CausalSelfAttention.forward", "Block.forward", "GPT.forward"):
        assert judge(NANOCHAT, NANOCHAT.path, source, unit).passed


def test_helpers_and_imports_of_the_learner_come_along(write):
    path = write({"norm": "    return _rms(x)\n"})
    path.write_text(
        f"{path.read_text()}\nfrom math import sqrt as root\n\n"
        "def _rms(x):\n    d = root(x.size(-1)) ** 2\n"
        "    return x / torch.sqrt((x * x).sum(-1, True) / d + 1e-6)\n"
    )
    assert verdict(path).passed


def test_extra_methods_of_the_learner_come_along(write):
    path = write({"MLP.forward": "        return self.c_proj(self.hidden(x))\n"})
    text = path.read_text().replace(
        "class Block(",
        "    def hidden(self, x):\n        return self.c_fc(x).relu() ** 2\n\nclass Block(",
    )
    path.write_text(text)
    assert verdict(path, "MLP.forward").passed


BROKEN = {
    "an endless loop": ("    while True:\n        pass\n", "timeout", "loop that never ends"),
    "exit": ("    exit(3)\n", "error", r"called exit\(3\)"),
    "a dead process": ("    import os\n    os._exit(3)\n", "error", "exit code 3"),
    "an exception": ("    return x.no_such_thing\n", "error", "AttributeError"),
    "too much memory": ("    return torch.zeros(10**12) + x\n", "error", "allocate"),
    "nothing returned": ("    x * 2\n", "wrong", "nothing"),
    "another type": ("    return [x]\n", "wrong", "expected"),
    "another dtype": ("    return x.bfloat16().double()\n", "wrong", "differ"),
    "another device": ('    return x.to("meta")\n', "wrong", "on meta, expected on cpu"),
    "half done": ('    y = x * 2\n    raise NotImplementedError("TODO")\n', "partial", "TODO"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_a_broken_unit_is_a_verdict_and_not_a_crash(case, write):
    body, state, words = BROKEN[case]
    limit = {"timeout_s": 3} if state == "timeout" else {}
    found = verdict(write({"norm": body}), **limit)
    assert found.state == state
    assert re.search(words, "\n".join(found.evidence))


def test_a_busy_machine_makes_no_right_unit_wrong():
    """Half a second of computing, spread over two: the limit is of processor time."""
    assert run_isolated(_slowly, timeout_s=0.8).value == "done"
    assert run_isolated(time.sleep, 60, timeout_s=0.5).timed_out


def _slowly() -> str:
    end = time.process_time() + 0.5
    while time.process_time() < end:
        burst = time.process_time() + 0.02
        while time.process_time() < burst:
            pass
        time.sleep(0.06)
    return "done"


def test_the_other_units_are_checked_after_one_that_breaks(write):
    path = write({"norm": "    import os\n    os._exit(1)\n"})
    units = ["GPTConfig", "norm", "MLP.forward"]
    states = [v.state for v in check_file(NANOCHAT, path, units, timeout_s=5)]
    assert states == ["passed", "error", "passed"]


def test_an_exception_points_at_the_learners_own_line(write):
    path = write({"norm": "    y = x\n    return y.no_such_thing\n"})
    found = verdict(path)
    line = path.read_text().splitlines()[found.line - 1]
    assert line == "    return y.no_such_thing"
    assert str(path) in found.trace


def test_a_file_that_does_not_parse_is_one_verdict_with_its_line(write, tmp_path):
    path = write({})
    path.write_text(path.read_text().replace("def norm(x):", "def norm(x)"))
    found = list(check_file(NANOCHAT, path))
    assert [v.state for v in found] == ["error"]
    assert path.read_text().splitlines()[found[0].line - 1] == "def norm(x)"


def test_prints_are_caught_and_shown_with_the_verdict(write, capsys):
    found = verdict(write({"norm": '    print("hello")\n    return x\n'}))
    assert found.printed.startswith("hello\n")
    assert capsys.readouterr().out == ""


def test_a_removed_unit_is_missing(write):
    path = write({})
    path.write_text(path.read_text().replace("def norm(x):", "def my_norm(x):"))
    assert verdict(path).state == "missing"


def test_a_missing_file_is_refused(tmp_path):
    with pytest.raises(ValueError, match="altgrad learn start"):
        list(check_file(NANOCHAT, tmp_path / "nothing.py"))


def test_all_units_are_checked_in_five_seconds_of_work(write):
    """Processor time, of the child processes too: other programs must not fail this test."""

    def spent() -> float:
        used = resource.getrusage(resource.RUSAGE_CHILDREN)
        return time.process_time() + used.ru_utime + used.ru_stime

    path = write({})
    start = spent()
    list(check_file(NANOCHAT, path))
    assert spent() - start < 5
