"""Words typed by a person: understood exactly, or refused in one line with exit code 2."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from altgrad.cli import USER_MISTAKE, main
from altgrad.compose import compose_config, compose_values, preset_names, quoted
from altgrad.data import tokenizers
from altgrad.data.tokenizers import ByteTokenizer
from altgrad.training.config import all_setting_names

TINY = [
    "model=nanochat",
    "model.n_layer=1",
    "model.n_head=2",
    "model.n_kv_head=1",
    "model.n_embd=16",
    "model.block_size=8",
    "data.path=text.txt",
    "data.batch_size=2",
    "compile=false",
    "device=cpu",
    "precision=fp32",
    "max_steps=3",
    "eval_interval=2",
    "sample_tokens=5",
]


@pytest.fixture
def text(tmp_path):
    path = tmp_path / "text.txt"
    path.write_text("To be, or not to be, that is the question.\n" * 20)
    return path


def refused(capsys, *words: str) -> str:
    assert main(list(words)) == USER_MISTAKE
    message = capsys.readouterr().err
    assert message.count("\n") == 1
    assert "Traceback" not in message
    return message


def test_a_group_and_a_setting_compose():
    config = compose_config(["model=gpt2", "model.n_layer=2", "optim=adamw", "max_steps=7"])
    assert (config.model.n_layer, config.model.tie_head, config.max_steps) == (2, True, 7)
    assert config.optim.name == "adamw"


def test_a_recipe_by_module_and_the_word_inf_can_be_typed():
    config = compose_config(
        [
            "precision=e5m2",
            "precision.modules={*.mlp.*:{format:none}}",
            "precision.weight.overflow=inf",
        ]
    )
    assert config.precision.modules == {"*.mlp.*": {"format": "none"}}
    assert config.precision.weight.overflow == "inf"


@pytest.mark.parametrize(
    "text",
    [
        *(
            "é.txt",
            "日本.txt",
            "a=b.txt",
            "x[1].txt",
            "[x",
            "x]",
            "~/x",
            "a b.txt",
            " x ",
            "a,b.txt",
        ),
        *(
            "{x}.txt",
            "a(1).txt",
            "a#b",
            "a:b",
            "a'b",
            'a"b',
            "x\\y",
            "x\\",
            "x\\'y",
            "$HOME",
            "%@!&*",
        ),
        *("007", "1.5", "true", "-", "runs/sgd=x + y-seed1"),
    ],
)
def test_a_text_is_the_text_that_was_typed(text):
    config = compose_config([f"data.path={text}", f"sample_prompts=[{quoted(text)},b]"])
    assert config.data.path == text
    assert config.sample_prompts == [text, "b"]


def test_null_and_quotes_of_ones_own_are_understood():
    config = compose_config(
        ["data.path='a b'", "run_dir=null", "sample_prompts=['x, y', \"z\", w]"]
    )
    assert (config.data.path, config.run_dir) == ("a b", None)
    assert config.sample_prompts == ["x, y", "z", "w"]


def test_an_overlay_folder_may_have_any_name(tmp_path):
    folder = tmp_path / "mine, é=[1]" / "experiment"
    folder.mkdir(parents=True)
    (folder / "short.yaml").write_text("# @package _global_\nmax_steps: 7\n")
    assert compose_config(["experiment=short"], str(folder.parent)).max_steps == 7


def test_an_experiment_that_is_not_there_is_refused_with_where_to_put_it(capsys):
    assert "DIR/experiment/NAME.yaml" in refused(capsys, "train", "experiment=mine")


def test_the_clean_control_has_everything_off_that_could_be_blamed():
    config = compose_config(["experiment=control"])
    parts = {"attention_backend": "explicit", "block": "prenorm", "position": "learned"}
    assert {name: getattr(config.model, name) for name in parts} == parts
    assert (config.precision.compute, config.precision.simulate) == ("32-true", False)
    assert (config.compile, config.optim.name, config.optim.ema_decay) == (False, "adamw", 0.0)


def test_a_word_and_another_preset_win_over_the_experiment():
    config = compose_config(["optim=muon", "experiment=control", "model.n_layer=2"])
    assert (config.optim.name, config.model.n_layer, config.model.n_embd) == ("muon", 2, 192)


def remarks_of(*words, config_dir=None):
    told = []
    compose_config(list(words), config_dir, remark=told.append)
    return told


def test_a_rate_that_was_written_for_another_optimiser_is_told():
    (line,) = remarks_of("experiment=control", "optim=muon")
    assert line == (
        "optim.name=muon has optim.lr=0.002, optim.betas=[0.9,0.99] from experiment/control.yaml "
        "(adamw); the preset optim=muon has optim.lr=0.035 optim.betas=[0.8,0.95]"
    )
    (line,) = remarks_of("optim.name=adamw")
    assert "has optim.lr=0.035," in line
    assert "from optim/normuon.yaml (muon); the preset optim=adamw has optim.lr=0.001 " in line
    assert "optim.embedding_lr=null" in line
    assert "ns_steps" not in line  # AdamW does not read it


@pytest.mark.parametrize(
    "words",
    [
        [],
        ["experiment=control"],
        ["experiment=control", "optim=adamw"],
        ["experiment=control", "optim=muon", "optim.lr=0.03", "optim.betas=[0.8,0.95]"],
        ["experiment=control", "model.norm=rmsnorm", "schedule=constant"],
        ["optim=nanochat", "optim.name=muon"],
        ["optim=adamw", "optim.name=mine:Lion"],
    ],
)
def test_rates_of_ones_own_optimiser_need_no_remark(words):
    assert remarks_of(*words) == []


@pytest.mark.parametrize(("brings", "told"), [("  - override /optim: sgd\n", 1), ("", 0)])
def test_an_experiments_rates_are_for_the_optimiser_that_it_brings(tmp_path, brings, told):
    folder = tmp_path / "experiment"
    folder.mkdir()
    defaults = f"defaults:\n{brings}" if brings else ""
    (folder / "fast.yaml").write_text(f"# @package _global_\n{defaults}optim:\n  lr: 0.3\n")
    said = remarks_of("experiment=fast", "optim=muon", config_dir=str(tmp_path))
    assert [line.count("optim.lr=0.3 from experiment/fast.yaml (sgd)") for line in said] == [
        1
    ] * told


def test_the_configuration_shown_ends_with_the_remark(capsys):
    main(["config", "experiment=control", "optim=muon"])
    shown = capsys.readouterr().out
    assert shown.splitlines()[-1].startswith("# optim.name=muon has optim.lr=0.002")
    assert yaml.safe_load(shown)["optim"]["lr"] == 0.002


def test_a_comparison_tells_it_once(data_dir, capsys):
    words = ["optim=adamw,muon", "experiment=control", "seeds=2", f"data.path={data_dir}"]
    sizes = ["model.vocab_size=13", "model.block_size=8", "max_steps=200", "device=cpu"]
    assert main(["compare", *words, *sizes, "--dry-run"]) == 0
    assert capsys.readouterr().out.count("optim.name=muon has optim.lr=0.002") == 1


def test_what_an_experiment_says_comes_from_it():
    _, origin = compose_values(["experiment=control"])
    assert origin["optim.lr"] == origin["model.n_embd"] == "experiment/control.yaml"
    assert origin["optim.weight_decay"] == "optim/adamw.yaml"


@pytest.mark.parametrize(
    ("group", "name"), [(g, n) for g, names in preset_names().items() for n in names]
)
def test_every_preset_composes_alone(group, name):
    compose_config([f"{group}={name}"])


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["modle=gpt2"], ["'modle'", "'model'"]),
        (["model=gpt3"], ["'gpt3'", "'gpt2'", "llama"]),
        (["model.n_layr=3"], ["'model.n_layr'", "'model.n_layer'"]),
        (["n_layer=3"], ["Write model.n_layer"]),
        (["learning_rate=3"], ["Write optim.lr"]),
        (["model.n_head=5", "model.n_embd=256"], ["model.n_head=5", "model.n_embd=256"]),
        (["+model.foo=1"], ["'model.foo'"]),
        (["model.n_layer=many"], ["model.n_layer='many'", "whole number"]),
        (["model.n_layer=2.5"], ["model.n_layer=2.5"]),
        (["model.n_layer=null"], ["model.n_layer=None"]),
        (["optim.name=adm"], ["optim.name", "adamw"]),
        (["tracker.names=[wand]"], ["tracker.names"]),
        (["max_steps"], ["KEY=VALUE"]),
        (["max_steps=[1"], ["max_steps='[1' cannot be read"]),
        (["data.path=missing.txt"], ["missing.txt"]),
        (["data.path=empty.txt"], ["empty.txt"]),
        (["data.path=short.txt"], ["short", "block_size"]),
        (["device=cuda:99"], ["device=cuda:99"]),
        (["--config-dir", "nowhere"], ["nowhere"]),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(capsys, words, expected):
    Path("empty.txt").touch()
    Path("short.txt").write_text("hi")
    message = refused(capsys, "train", *words)
    for word in expected:
        assert word in message


def test_a_broken_preset_of_ones_own_is_refused(capsys, tmp_path):
    (tmp_path / "mine" / "model").mkdir(parents=True)
    (tmp_path / "mine" / "model" / "odd.yaml").write_text("n_layrs: 2\n")
    message = refused(capsys, "train", "--config-dir", str(tmp_path / "mine"), "model=odd")
    assert "model.n_layrs" in message


def test_an_overlay_folder_adds_presets(tmp_path):
    (tmp_path / "mine" / "optim").mkdir(parents=True)
    (tmp_path / "mine" / "optim" / "slow.yaml").write_text("name: adamw\nlr: 1.0e-5\n")
    config = compose_config(["optim=slow"], str(tmp_path / "mine"))
    assert config.optim.lr == 1e-5


def test_every_value_has_an_origin(capsys):
    assert main(["config", "model=gpt2", "model.n_layer=2"]) == 0
    printed = capsys.readouterr().out
    lines = {line.split(":")[0].strip(): line for line in printed.splitlines()}
    assert lines["n_layer"].endswith("# command line")
    assert lines["n_head"].endswith("# model/gpt2.yaml")
    assert lines["max_steps"].endswith("# config.yaml")
    assert lines["seed"].endswith("# default")
    names = [n.rsplit(".", 1)[-1] for n in all_setting_names()]
    assert set(names) <= set(lines)


def test_the_printed_configuration_is_yaml_that_means_the_same(capsys):
    main(["config", "model=llama"])
    printed = yaml.safe_load(capsys.readouterr().out)
    from altgrad.training.config import TrainConfig

    assert TrainConfig.from_dict(printed) == compose_config(["model=llama"])


def test_origins_name_every_changed_value():
    values, origin = compose_values(["schedule=cosine", "seed=3"])
    assert origin["seed"] == "command line"
    assert origin["schedule.name"] == "schedule/cosine.yaml"
    assert values["schedule"]["name"] == "cosine"


def test_train_show_sample_plot_and_resume(text, capsys):
    assert main(["train", *TINY]) == 0
    out = capsys.readouterr().out
    assert "validation loss" in out
    assert "run folder: runs/" in out
    run = next(p for p in Path("runs").iterdir() if not p.is_symlink())
    assert (run / "figures" / "loss.png").stat().st_size > 1000
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [1, 2, 3]
    assert "val_loss" in lines[-1]

    assert main(["show", "--json"]) == 0
    (shown,) = json.loads(capsys.readouterr().out)
    assert (shown["status"], shown["step"]) == ("finished", 3)
    assert main(["show"]) == 0
    assert "finished" in capsys.readouterr().out
    assert main(["show", run.name]) == 0
    assert "best_val_loss" in capsys.readouterr().out

    texts = []
    for _ in range(2):
        assert main(["sample", "--tokens", "9", "--prompt", "To be"]) == 0
        texts.append(capsys.readouterr().out)
    assert texts[0] == texts[1]
    assert texts[0].startswith("To be")
    assert len(texts[0]) == len("To be") + 9 + 1

    assert main(["plot", str(run), "--out", "mine.png"]) == 0
    assert Path("mine.png").read_bytes().startswith(b"\x89PNG")
    assert main(["resume", str(run)]) == 0


def test_a_machine_without_bf16_computes_in_fp32_and_says_so(text, capsys, monkeypatch):
    monkeypatch.setattr("altgrad.training.machine.has_fast_bf16", lambda device: False)
    words = [w for w in TINY if w != "precision=fp32"]
    assert main(["train", *words]) == 0
    printed = capsys.readouterr().out
    assert "no bf16 instructions" in printed
    assert "32-true" in printed


def test_a_prompt_with_unknown_characters_is_refused(text, capsys):
    main(["train", *TINY])
    capsys.readouterr()
    assert "日" in refused(capsys, "sample", "--prompt", "日本")


def test_no_runs_is_said_kindly(capsys):
    assert main(["show"]) == 0
    assert "altgrad train" in capsys.readouterr().out
    assert "altgrad train" in refused(capsys, "sample")


def test_outside_parts_train(text, capsys):
    Path("mine.py").write_text(
        "from torch import nn\n"
        "class Half(nn.Module):\n"
        "    def __init__(self, config):\n"
        "        super().__init__()\n"
        "        self.c_proj = nn.Linear(config.n_embd, config.n_embd)\n"
        "    def forward(self, x):\n"
        "        return self.c_proj(x)\n"
    )
    assert main(["train", *TINY, "model.mlp=mine:Half"]) == 0
    assert "Hal" in refused(capsys, "train", *TINY, "model.mlp=mine:Hal")


@pytest.mark.parametrize("words", [["--help"], ["show"]])
def test_light_commands_load_nothing_of_weight(words):
    code = (
        "import sys\nfrom altgrad.cli import main\n"
        f"try: main({words!r})\nexcept SystemExit: pass\n"
        "heavy = {'torch', 'numpy', 'hydra', 'lightning_fabric', 'pandas', 'matplotlib'}\n"
        "print(sorted(heavy & set(sys.modules)), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stderr.strip().endswith("[]")


def test_settings_are_shown_without_what_only_training_needs():
    code = (
        "import sys\nfrom altgrad.cli import main\nmain(['config'])\n"
        "heavy = {'lightning_fabric', 'torch._dynamo', 'scipy', 'pandas', 'matplotlib'}\n"
        "print(sorted(heavy & set(sys.modules)), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stderr.strip().endswith("[]")


def test_the_package_itself_is_light():
    code = "import sys, altgrad; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.strip() == "False"


def test_the_corpora_are_listed_and_told_about(capsys):
    main(["data", "list"])
    assert "fineweb_edu" in capsys.readouterr().out
    main(["data", "info", "shakespeare_char"])
    assert (
        "86c4e6aa9db7c042ec79f339dcb96d42b0075e16b8fc2e86bf0ca57e2dc565ed"
        in capsys.readouterr().out
    )


def test_a_tokenizer_is_trained_and_shown(text, capsys):
    assert main(["tokenizer", "train", "data.path=text.txt", "vocab_size=262"]) == 0
    folder = capsys.readouterr().out.strip()
    assert folder == "tokenizers/text-262"
    words = ["data.path=text.txt", f"data.tokenizer={folder}", "max_steps=1"]
    assert main(["train", *[w for w in TINY if "data.path" not in w], *words]) == 0


def test_a_byte_tokenizer_shows_its_cuts(text, capsys, monkeypatch):
    monkeypatch.setitem(tokenizers.TOKENIZERS, "gpt2", lambda characters, cache: ByteTokenizer())
    assert main(["tokenizer", "show", "data.tokenizer=byte", "--text", "aé"]) == 0
    out = capsys.readouterr().out
    assert "1.000 bytes per token: byte, 256 tokens" in out
    assert out.endswith("[a][\\xc3][\\xa9]\n")


def test_a_tokenizer_without_a_size_is_refused(capsys):
    assert "vocab_size=4096" in refused(capsys, "tokenizer", "train", "data.path=text.txt")
