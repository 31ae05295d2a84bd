"""The workshop as a learner meets it: commands, the folder, the exit codes."""

import json
import shutil
from pathlib import Path

import pytest
import torch

from altgrad.cli import main
from altgrad.learn.track import Track

TRACK = Track("nanochat")


@pytest.fixture(autouse=True)
def _threads():
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.fixture
def learn(capsys):
    """`learn("check norm")` -> (exit code, output) in the current folder."""

    def call(words: str) -> tuple[int, str]:
        code = main(["learn", *words.split()])
        captured = capsys.readouterr()
        return code, captured.out + captured.err

    return call


@pytest.fixture
def started(learn) -> Path:
    learn("start")
    return Path("my-gpt")


def solve(folder: Path) -> None:
    shutil.copy(TRACK.path, folder / "my_gpt.py")


def test_start_writes_a_folder_and_never_over_one(learn):
    code, out = learn("start")
    assert code == 0
    assert "17 units to write" in out
    assert "given: GPTConfig; optional: GPT.estimate_flops, GPT.get_device" in out
    assert {p.name for p in Path("my-gpt").iterdir()} == {
        "my_gpt.py",
        "README.md",
        "NOTES.md",
        "STATUS.md",
        ".learn.json",
    }
    code, out = learn("start")
    assert code == 2
    assert "already holds a workshop" in out


def test_without_a_workshop_every_command_says_how_to_make_one(learn):
    for words in ("run", "check", "status", "hint norm", "trace norm", "break"):
        code, out = learn(words)
        assert code == 2
        assert "altgrad learn start" in out


def test_the_full_way_gives_nothing_and_leaves_nothing_out(learn):
    assert "18 units to write" in learn("start --full")[1]
    assert learn("check GPTConfig")[0] == 1


def test_run_stops_at_the_first_missing_part_and_says_what_it_must_do(learn):
    learn("start --full")
    code, out = learn("run")
    assert code == 1
    assert "GPTConfig is not there yet" in out
    assert "sequence_len 1024" in out
    assert "altgrad learn hint GPTConfig" in out


def test_run_goes_from_gap_to_gap(learn, started):
    """Fill in what each run asks for; the seventeen others follow until nothing is missing."""
    from altgrad.learn.source import body_text, replace_bodies

    path = started / "my_gpt.py"
    asked = []
    for _ in range(30):
        code, out = learn("run")
        if code == 0:
            break
        unit = next(line for line in out.splitlines() if "is not there yet" in line).split()[1]
        asked.append(unit)
        text = replace_bodies(path.read_text(), {unit: body_text(TRACK.source, unit)})
        path.write_text(text)
    assert asked[:3] == ["GPT.__init__", "Block.__init__", "CausalSelfAttention.__init__"]
    assert sorted(asked) == sorted(set(TRACK.units) - {"GPTConfig", "GPT.estimate_flops"})
    assert asked.index("GPT.forward") < asked.index("GPT.setup_optimizers")
    assert "optional, and not there yet: GPT.estimate_flops" in out
    assert "a whole iteration" in out


def test_what_is_optional_may_be_left_out(learn, started):
    solve(started)
    assert learn("reset estimate_flops")[0] == 0
    code, out = learn("check")
    assert code == 0
    assert "17 of 17 pass, optional: GPT.estimate_flops" in out
    assert "altgrad learn race" in out


def test_a_loss_that_is_no_number_ends_the_run_with_the_unit_it_came_from(learn, started):
    solve(started)
    path = started / "my_gpt.py"
    path.write_text(path.read_text().replace("x = F.relu(x).square()", "x = (x - 1e9).log()"))
    code, out = learn("run")
    assert code == 1
    assert "the first loss is nan" in out
    assert "the first NaN or infinity comes out of MLP.forward" in out
    assert "── generation" not in out


def test_run_shows_the_flow_and_the_loss(learn, started):
    solve(started)
    code, out = learn("run")
    assert code == 0
    assert "loss 5.5452, ln V = 5.5452" in out
    assert out.index("GPT.__init__") < out.index("GPT.init_weights") < out.index("GPT.forward")


def test_run_shows_the_learners_own_traceback(learn, started):
    solve(started)
    path = started / "my_gpt.py"
    path.write_text(path.read_text().replace("half = x.size(-1) // 2", "half = x.sizes // 2"))
    code, out = learn("run")
    assert code == 1
    assert "AttributeError" in out
    assert "half = x.sizes // 2" in out
    assert "altgrad learn check apply_rotary_emb" in out


def test_run_survives_a_syntax_error_and_an_exit(learn, started):
    path = started / "my_gpt.py"
    path.write_text("def norm(x:\n")
    assert "SyntaxError" in learn("run")[1]
    path.write_text("exit(4)\n")
    assert learn("run")[0] == 1


def test_check_answers_with_exit_codes(learn, started):
    assert learn("check norm")[0] == 1
    solve(started)
    code, out = learn("check")
    assert code == 0
    assert "18 of 18 pass" in out


def test_check_takes_stages_parts_of_names_and_json(learn, started):
    solve(started)
    code, out = learn("check 2 attention.forward --json")
    assert code == 0
    assert [v["unit"] for v in json.loads(out)] == [
        "GPT.init_weights",
        "GPT._init_weights",
        "CausalSelfAttention.forward",
    ]
    assert learn("check 9")[0] == 2
    code, out = learn("check nrom")
    assert code == 2
    assert "did you mean 'norm'" in out


def test_check_names_the_mistake_and_where_it_is(learn, started):
    solve(started)
    path = started / "my_gpt.py"
    path.write_text(path.read_text().replace("mask = key <= query ", "mask = key <= query + 1 "))
    code, out = learn("check")
    assert code == 1
    assert "lets position t see t+1" in out
    assert "17 of 18 pass, 1 wrong" in out


def test_hints_grow_stronger_and_never_show_the_solution(learn, started):
    shown = [learn("hint norm")[1] for _ in range(4)]
    for word, text in zip(("idea", "formula", "pseudocode", "pseudocode"), shown, strict=True):
        assert f"norm, {word}:" in text
    assert "return" not in "".join(shown)
    assert "norm, formula" in learn("hint norm -l 2")[1]
    assert "def norm(x):" in learn("solution norm")[1]


def test_status_is_derived_and_remembers_tries_and_hints(learn, started):
    learn("hint norm")
    path = started / "my_gpt.py"
    todo = TRACK.lessons["norm"].todo
    for body in ("return x", "return x + 1"):
        path.write_text(
            path.read_text()
            .replace(f'raise NotImplementedError("TODO: {todo}")', body)
            .replace("return x\n", f"{body}\n")
        )
        learn("check norm")
        learn("check norm")  # the same body again is no further try
    out = learn("status")[1]
    line = next(text for text in out.splitlines() if "✗ norm" in text)
    assert "2 tries, hint 1" in line
    solve(started)
    assert "✓ norm" in learn("status")[1]


def test_trace_shows_values_and_diff_goes_on_to_the_wrong_result(learn, started):
    solve(started)
    out = learn("trace MLP.forward")[1]
    assert "x = self.c_fc(x)" in out
    assert "float64[2, 7, 192]" in out
    assert "✓ the unit passes" in learn("trace MLP.forward --diff")[1]
    path = started / "my_gpt.py"
    path.write_text(path.read_text().replace("y1 = x1 * cos + x2 * sin", "y1 = x1 * cos"))
    out = learn("trace apply_rotary_emb --diff")[1]
    y1 = out.index("y1 = x1 * cos")
    assert y1 < out.index("may be your own order") < out.index("return torch.cat")
    assert "✗ the result differs from the reference" in out


NORMED_FIRST = """        q, k = norm(q), norm(k)
        q, k = apply_rotary_emb(q, cos, sin), apply_rotary_emb(k, cos, sin)
"""
ROTATED_FIRST = "".join(NORMED_FIRST.splitlines(keepends=True)[::-1])


def test_trace_diff_blames_no_right_line_that_stands_in_another_order(learn, started):
    solve(started)
    path = started / "my_gpt.py"
    right = path.read_text().replace(ROTATED_FIRST, NORMED_FIRST)
    path.write_text(right)
    assert learn("trace CausalSelfAttention.forward --diff")[0] == 0
    path.write_text(right.replace("attn_mask=mask)", "attn_mask=mask, scale=1)"))
    code, out = learn("trace CausalSelfAttention.forward --diff")
    lines = out.splitlines()
    normed = next(i for i, line in enumerate(lines) if "q, k = norm(q), norm(k)" in line)
    crosses = [i for i, line in enumerate(lines) if "✗" in line]
    assert "may be your own order" in lines[normed + 2]
    assert (
        "y = F.scaled" in lines[next(i for i, x in enumerate(lines) if "nor is any after" in x) - 1]
    )
    assert (code, crosses) == (1, [len(lines) - 1])


def test_trace_diff_does_not_acquit_a_unit_that_fails_where_it_does_not_look(learn, started):
    solve(started)
    path = started / "my_gpt.py"
    path.write_text(
        path.read_text().replace("repeat_interleave(groups, dim=1)", "repeat(1, groups, 1, 1)")
    )
    code, out = learn("trace CausalSelfAttention.forward --diff")
    assert (code, "✓" in out) == (1, False)
    assert "altgrad learn check CausalSelfAttention.forward" in out.splitlines()[-1]


def test_trace_shows_a_value_as_it_was_when_its_line_had_run(learn, started):
    solve(started)
    path = started / "my_gpt.py"
    own = "    rms = x.square().mean(-1, True).sqrt()\n    x /= 2 * rms\n    return x\n"
    path.write_text(
        path.read_text().replace("    return F.rms_norm(x, (x.size(-1),), eps=1e-6)\n", own)
    )
    lines = learn("trace norm")[1].splitlines()
    assert "rms 1.03" in lines[0]
    assert "rms 0.5" in next(line for line in lines if "x /= 2 * rms" in line)


def test_trace_diff_does_not_mark_a_right_fused_projection(learn, started):
    solve(started)
    path = started / "my_gpt.py"
    three = "".join(
        f"        {n} = self.c_{n}(x).view(B, T, self.{h}, self.head_dim)\n"
        for n, h in (("q", "n_head"), ("k", "n_kv_head"), ("v", "n_kv_head"))
    )
    fused = """        fused = torch.cat([self.c_q.weight, self.c_k.weight, self.c_v.weight])
        q = F.linear(x, fused)
        counts = [self.n_head, self.n_kv_head, self.n_kv_head]
        q, k, v = q.view(B, T, -1, self.head_dim).split(counts, 2)
"""
    assert three in path.read_text()
    path.write_text(path.read_text().replace(three, fused))
    assert "✗" not in learn("trace CausalSelfAttention.forward --diff")[1]
    path.write_text(path.read_text().replace("mask = key <= query", "mask = key < query"))
    lines = learn("trace CausalSelfAttention.forward --diff")[1].splitlines()
    assert (
        "mask = key" in lines[next(i for i, x in enumerate(lines) if "nor is any after" in x) - 1]
    )


def test_diff_is_refused_before_the_unit_passes(learn, started):
    assert learn("diff norm")[0] == 2
    code, out = learn("diff norm --spoil")
    assert code == 0
    assert "-    return F.rms_norm" in out
    solve(started)
    assert learn("diff norm") == (0, "no difference\n")


def test_break_plants_a_mistake_that_can_be_found(learn, started):
    code, out = learn("break --seed 1")
    assert code == 2
    assert "do not pass yet" in out
    assert not (started / "broken_gpt.py").exists()
    solve(started)
    mine = (
        (started / "my_gpt.py")
        .read_text()
        .replace("half = x.size(-1) // 2", "half = x.shape[-1] // 2")
    )
    (started / "my_gpt.py").write_text(mine)
    code, out = learn("break --seed 1")
    assert code == 0
    assert "half = x.shape[-1] // 2" in (started / "broken_gpt.py").read_text()
    assert "Its symptoms:" in out
    planted = planted_in(started)
    wrong = next(u for u in TRACK.units if u != planted.unit)
    assert learn(f"break --answer {wrong}")[0] == 1
    code, out = learn(f"break --answer {planted.unit}")
    assert "found at the first answer: 0 of 1" in out
    assert code == 0
    assert planted.says in out


def planted_in(folder):
    """The mistake that `break` planted, as its note is read."""
    from altgrad.learn import planting
    from altgrad.learn.workshop import find

    return planting._planted(find(str(folder)), folder / planting.NOTE)


def test_the_note_of_what_is_planted_does_not_tell_it_and_the_copy_can_be_looked_at(learn, started):
    assert learn("run --broken") == (2, learn("trace norm --broken")[1])
    solve(started)
    milestones = (started / "STATUS.md").read_text()
    code, out = learn("break --seed 2")
    assert code == 0, out
    planted, note = planted_in(started), (started / ".broken.json").read_text()
    assert not any(word in note for word in (planted.unit, planted.name, planted.says))
    assert not any(unit in note for unit in TRACK.units)
    code, out = learn("run --broken")
    assert "broken_gpt.py" in out
    assert "learn check" not in out
    assert (started / "STATUS.md").read_text() == milestones
    code, out = learn(f"trace {planted.unit} --broken")
    assert "(called with)" in out
    assert learn(f"trace {planted.unit} --broken --diff")[0] == 2


def test_the_usual_answer_comes_after_the_experiment(monkeypatch, tmp_path):
    from altgrad.learn import actions
    from altgrad.learn.questions.finding import Finding

    finding = Finding(rows=[{"a": 1}], verdict="it is so")
    monkeypatch.setattr(actions, "run_experiment", lambda name, bench: finding)
    monkeypatch.setattr(actions, "draw", lambda *_: None)
    monkeypatch.setattr(actions, "_race_tokens", lambda: ({}, 65))
    lines = list(actions.show_question("mqa", seeds=1, folder=str(tmp_path), progress=None))
    assert lines.index("measured: it is so") < lines.index("the usual answer:")
    assert "share keys and values" not in " ".join(lines[: lines.index("the usual answer:")])


def test_another_terminals_hints_survive_a_check(learn, started):
    from altgrad.learn import actions
    from altgrad.learn.workshop import find

    watching = find("my-gpt")  # as the watch mode: opened once, long before
    learn("hint norm")
    learn("hint norm")
    list(actions.check(watching, ["norm"]))
    assert json.loads((started / ".learn.json").read_text())["units"]["norm"]["hints"] == 2


def test_a_file_without_its_notes_is_taken_up(learn):
    learn("start --track gpt2")
    folder = Path("my-gpt")
    shutil.copy(Track("gpt2").path, folder / "my_gpt.py")
    (folder / ".learn.json").unlink()
    assert learn("check MLP.forward")[0] == 0
    assert json.loads((folder / ".learn.json").read_text())["track"] == "gpt2"


def test_notes_without_their_file_get_a_new_one(learn, started):
    learn("hint norm")
    (started / "my_gpt.py").unlink()
    code, out = learn("check norm")
    assert (code, "altgrad learn start" in out) == (2, True)
    assert learn("start")[0] == 0
    assert "def norm(x):" in (started / "my_gpt.py").read_text()
    assert "hint 1" in learn("status")[1]


def test_reset_empties_a_unit_and_keeps_the_file(learn, started):
    solve(started)
    whole = (started / "my_gpt.py").read_text()
    code, out = learn("reset norm")
    assert (code, "my_gpt.1.bak" in out) == (0, True)
    assert (started / "my_gpt.1.bak").read_text() == whole
    assert "17 of 18 pass, 1 to do; next: norm" in learn("check")[1]
    assert learn("reset norm")[0] == 2
    assert learn("reset")[0] == 2
    learn("reset --all")
    assert (started / "my_gpt.2.bak").exists()
    assert "1 of 16 pass" in learn("check")[1]


@pytest.mark.parametrize("words", ["run", "check", "status", "trace norm", "race", "diff norm"])
def test_odd_folders_are_refused_in_one_line(learn, started, words):
    (started / "my_gpt.py").unlink()
    (started / "my_gpt.py").mkdir()
    code, out = learn(words)
    assert (code, out.startswith("altgrad: "), out.count("\n")) == (2, True, 1)


def test_a_file_that_is_no_text_and_a_folder_that_is_a_file_are_refused(learn, started):
    (started / "my_gpt.py").write_bytes(b"\xff\xfe\x00x")
    code, out = learn("check")
    assert (code, "cannot be read as text" in out) == (2, True)
    Path("taken").write_text("")
    code, out = learn("start taken")
    assert (code, "is a file" in out) == (2, True)


def test_a_unit_that_passes_tells_what_it_is_for(learn, started):
    solve(started)
    out = learn("check norm")[1]
    for words in ("root mean square of 1", "without it: ", "a minute's experiment: "):
        assert words in out


@pytest.mark.parametrize(
    "content", [b"", b"[]", b"\xff\xfe", b"[" * 200_000, b'{"unit": "norm", "name": "none"}']
)
def test_a_damaged_note_of_the_planted_mistake_says_how_to_plant_anew(learn, started, content):
    (started / ".broken.json").write_bytes(content)
    code, out = learn("break --reveal")
    assert (code, "`altgrad learn break` plants anew" in out) == (2, True)


@pytest.mark.parametrize("spoil", [{"units": []}, {"units": {"norm": {"attempts": "x"}}}, b"\xff"])
def test_a_damaged_state_is_named_with_a_way_out(learn, started, spoil):
    state = started / ".learn.json"
    whole = json.loads(state.read_text())
    state.write_bytes(spoil if isinstance(spoil, bytes) else json.dumps(whole | spoil).encode())
    code, out = learn("status")
    assert (code, f"cannot read {state}" in out, out.count("\n")) == (2, True, 1)


def test_learners_parts_train_as_outside_parts(started, monkeypatch):
    from altgrad.model import GPT, preset

    solve(started)
    monkeypatch.chdir(started)
    monkeypatch.syspath_prepend(str(Path.cwd()))
    sizes = {"vocab_size": 11, "n_layer": 1, "n_head": 2, "n_kv_head": 1, "n_embd": 8}
    model = GPT(preset("nanochat", **sizes, attention="my_gpt:CausalSelfAttention"))
    assert type(model.transformer.h[0].attn).__module__ == "my_gpt"
    assert model(torch.zeros(1, 4, dtype=torch.long))[0].shape == (1, 4, 11)


def test_the_gpt2_track_runs_and_checks(learn):
    learn("start --track gpt2")
    assert "GPT.__init__ is not there yet" in learn("run")[1]
    shutil.copy(Track("gpt2").path, Path("my-gpt/my_gpt.py"))
    code, out = learn("run")
    assert code == 0
    assert "FLOPs per token" in out
    code, out = learn("check")
    assert code == 0
    assert "14 of 14 pass" in out
