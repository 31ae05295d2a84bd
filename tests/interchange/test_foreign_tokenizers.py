"""Tokenizers of other families, as transformers has them: the same ids, the same text written.

`metaspace` is SentencePiece as `tokenizers` does it today, `llama2` as Llama 2's files have it (a
normaliser puts `▁` in front of whatever it is given), `llama3` is byte-level with a BOS, `gpt2`
byte-level without.
"""

import json
import sys
import types

import pytest
import torch

pytest.importorskip("transformers")

from tokenizers import (
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    processors,
    trainers,
)

from altgrad.data.hf_tokenizer import FileTokenizer
from altgrad.data.special_tokens import (
    continuation,
    ends_of_text,
    first_token,
    prompt_ids,
    special_ids,
)
from altgrad.evaluate.bundle import Task
from altgrad.evaluate.harness import continued, language_model
from altgrad.evaluate.questions import ask
from altgrad.interchange.export import export_run
from altgrad.interchange.importing import import_model
from altgrad.interchange.merging import kept_files
from altgrad.interchange.writing import Writing, write, write_batch
from altgrad.training.build import load_run
from tests.evaluate.conftest import items
from tests.interchange.conftest import LLAMA, random_model

TEXT = "The cat sat on the mat, and the dog sat on the cat; then all of them sat on the log.\n"
KINDS = ("metaspace", "llama2", "llama3", "gpt2")
SPECIAL = ["<unk>", "<s>", "</s>"]
BYTE_TOKENS = [f"<0x{byte:02X}>" for byte in range(256)]


def sentence_pieces(kind: str) -> Tokenizer:
    """BPE over words that begin with `▁`, with a token for each byte."""
    learner = Tokenizer(models.BPE())
    learner.pre_tokenizer = pre_tokenizers.Metaspace()
    quiet = {"show_progress": False}
    learner.train_from_iterator([TEXT] * 3, trainers.BpeTrainer(vocab_size=60, **quiet))
    learned = json.loads(learner.to_str())["model"]
    names = [*SPECIAL, *BYTE_TOKENS, *learned["vocab"]]
    vocab = {name: i for i, name in enumerate(dict.fromkeys(names))}
    merges = [tuple(m) if isinstance(m, list) else tuple(m.split(" ")) for m in learned["merges"]]
    made = Tokenizer(models.BPE(vocab, merges, unk_token="<unk>", byte_fallback=True))
    if kind == "llama2":
        steps = [normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")]
        made.normalizer = normalizers.Sequence(steps)
    else:
        made.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first", split=False)
    steps = [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]
    made.decoder = decoders.Sequence([*steps, decoders.Strip(" ", 1, 0)])
    return made


def byte_level() -> Tokenizer:
    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    how = {"special_tokens": SPECIAL, "show_progress": False}
    letters = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=320, initial_alphabet=letters, **how)
    made.train_from_iterator([TEXT] * 3, trainer)
    return made


def make_tokenizer(kind: str) -> Tokenizer:
    made = byte_level() if kind in ("llama3", "gpt2") else sentence_pieces(kind)
    made.add_special_tokens(SPECIAL)
    if kind != "gpt2":
        single = {"single": "<s> $A", "pair": "<s> $A <s>:1 $B:1"}
        made.post_processor = processors.TemplateProcessing(**single, special_tokens=[("<s>", 1)])
    return made


@pytest.fixture
def make_folder(tmp_path):
    """`make_folder(kind)`: a Llama of transformers' kind beside such a tokenizer."""

    def make(kind: str, **ids):
        tokenizer = make_tokenizer(kind)
        sizes = {"tie_head": False, "block_size": 64, "vocab_size": tokenizer.get_vocab_size()}
        model = random_model(**LLAMA | sizes)
        byte_ids = [tokenizer.token_to_id(name) for name in BYTE_TOKENS]
        with torch.no_grad():  # half letters would be another test
            model.lm_head.weight[[i for i in byte_ids if i is not None]] = 0.0
        from altgrad.data.tokenizers import CharTokenizer
        from altgrad.training import TrainConfig
        from altgrad.training.build import LoadedRun

        run = LoadedRun(TrainConfig(model=model.config), model, CharTokenizer(""), 7)
        folder = tmp_path / "theirs"
        export_run(run, folder, tokenizer=False)
        config = json.loads((folder / "config.json").read_text())
        config.pop("altgrad")
        config |= {"bos_token_id": 1, "eos_token_id": 2} | ids
        (folder / "config.json").write_text(json.dumps(config))
        (folder / "generation_config.json").unlink()
        tokenizer.save(str(folder / "tokenizer.json"))
        settings = {"tokenizer_class": "PreTrainedTokenizerFast"}
        settings |= {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}
        (folder / "tokenizer_config.json").write_text(json.dumps(settings))
        return folder

    return make


def theirs(folder):
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model = AutoModelForCausalLM.from_pretrained(folder).eval()
    return AutoTokenizer.from_pretrained(folder), model


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", KINDS)
def test_prompts_and_texts_are_transformers_own(kind, make_folder, tmp_path):
    folder = make_folder(kind)
    tokenizer, model = theirs(folder)
    run = load_run(import_model(str(folder), tmp_path / "run"))
    for prompt in ("The cat", "the dog sat on", "  two  spaces ", "naïve 漢字 🙂"):
        asked = tokenizer(prompt, return_tensors="pt")
        ids = asked["input_ids"]
        assert prompt_ids(run.tokenizer, prompt) == ids[0].tolist()
        how = {"max_new_tokens": 12, "do_sample": False, "pad_token_id": 0}
        full = model.generate(ids, attention_mask=asked["attention_mask"], **how)[0].tolist()
        made = full[ids.size(1) :]
        made = made[: made.index(2)] if 2 in made else made
        after = tokenizer.decode([*ids[0].tolist(), *made])
        before = tokenizer.decode(ids[0])
        expected = after.removeprefix(before)
        assert "".join(write(run, prompt, 12, temperature=0)) == expected
        assert write_batch(run, prompt, 12, 2, temperature=0) == [expected] * 2


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", KINDS)
def test_an_export_of_an_import_keeps_ids_and_special_tokens(kind, make_folder, tmp_path):
    folder = make_folder(kind)
    run = load_run(import_model(str(folder), tmp_path / "run"))
    export_run(run, tmp_path / "again")
    for name in ("config.json", "generation_config.json"):
        values = json.loads((tmp_path / "again" / name).read_text())
        assert (values["bos_token_id"], values["eos_token_id"]) == (1, 2)
    (before, _), (after, _) = theirs(folder), theirs(tmp_path / "again")
    assert before(TEXT)["input_ids"] == after(TEXT)["input_ids"]
    assert (after.bos_token, after.eos_token) == ("<s>", "</s>")


@pytest.mark.parametrize("kind", KINDS)
def test_a_tokenizer_alone_says_what_begins_and_ends_a_text(kind, tmp_path):
    """Without a model's settings: the file's own BOS, else the end of the text before."""
    begin = 2 if kind == "gpt2" else 1
    found = special_ids(FileTokenizer(saved(make_tokenizer(kind), tmp_path)))
    assert found == {"bos_token_id": begin, "eos_token_id": 2}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("task_kind", ["multiple_choice", "schema", "language_modeling"])
def test_questions_have_the_ids_of_their_whole_texts_after_the_bos(kind, task_kind, tmp_path):
    tokenizer = FileTokenizer(saved(make_tokenizer(kind), tmp_path))
    task = Task("t", task_kind, "t.jsonl", 2, " ", 0.25)
    asked = items({"multiple_choice": "choice", "schema": "schema"}.get(task_kind, "modeling"))
    from altgrad.evaluate.questions import TEXTS, shots_for

    texts = TEXTS[task_kind](task, asked[0], shots_for(task, asked, 0))
    question = ask(task, asked, 0, tokenizer, first=first_token(tokenizer))
    rows = {"multiple_choice": texts[:-1], "language_modeling": texts[1:]}.get(task_kind, texts)
    first = 2 if kind == "gpt2" else 1
    assert [row.tokens for row in question.rows] == [(first, *tokenizer.encode(t)) for t in rows]


def saved(tokenizer: Tokenizer, folder):
    tokenizer.save(str(folder / "tokenizer.json"))
    return folder / "tokenizer.json"


@pytest.mark.parametrize("kind", KINDS)
def test_a_space_at_the_start_of_a_continuation_is_written(kind, tmp_path):
    tokenizer = FileTokenizer(saved(make_tokenizer(kind), tmp_path))
    prompt = tokenizer.encode("The cat")
    made = tokenizer.encode("The cat sat on")[len(prompt) :]
    assert continuation(tokenizer, made) == " sat on"
    run = types.SimpleNamespace(tokenizer=tokenizer)
    drawn = iter(torch.tensor([[token]]) for token in made)
    assert "".join(Writing(run, "The cat", prompt, drawn, [])) == " sat on"


@pytest.mark.parametrize("eos", [[5, 2], 2, [7]])
def test_every_end_of_text_that_the_model_names_ends_its_texts(eos, make_folder, tmp_path):
    folder = make_folder("llama3", eos_token_id=eos)
    run = load_run(import_model(str(folder), tmp_path / "run"))
    listed = eos if isinstance(eos, list) else [eos]
    assert list(ends_of_text(run.tokenizer)) == listed
    for end in listed:
        drawn = iter(torch.tensor([[token]]) for token in (40, end, 41))
        writing = Writing(run, "", [], drawn, [])
        assert "".join(writing) == run.tokenizer.decode([40])
        assert writing.finish_reason == "stop"
    export_run(run, tmp_path / "again")
    values = json.loads((tmp_path / "again" / "config.json").read_text())
    assert values["eos_token_id"] == eos
    assert set(kept_files(run.tokenizer)) == {"tokenizer.json", "special_ids.json"}


# -- lm-eval ------------------------------------------------------------------------------------


@pytest.fixture
def lm_eval(monkeypatch):
    """The two modules of lm-eval that an interface for models needs."""

    class TemplateLM:
        prefix_token_id = property(lambda self: self.eot_token_id)

    model = types.SimpleNamespace(TemplateLM=TemplateLM)
    root = types.ModuleType("lm_eval")
    root.utils = types.ModuleType("lm_eval.utils")
    for name, module in {"": root, ".utils": root.utils, ".api": root, ".api.model": model}.items():
        monkeypatch.setitem(sys.modules, f"lm_eval{name}", module)


def draw(monkeypatch, ids):
    """Let the model write these ids, whatever it is asked; returns what it was given."""
    given = []

    def stream(model, start, **how):
        given.append(start[0].tolist())
        yield from (torch.tensor([[token]]) for token in ids[: how["max_new_tokens"]])

    monkeypatch.setattr("altgrad.evaluate.harness.stream", stream)
    return given


@pytest.mark.parametrize("until", [["\n"], [], None, "\n"])
def test_lm_evals_texts_end_at_the_end_of_text(until, lm_eval, monkeypatch, tmp_path):
    tokenizer = FileTokenizer(saved(make_tokenizer("metaspace"), tmp_path))
    words = tokenizer.encode("The cat sat on")[len(tokenizer.encode("The cat")) :]
    given = draw(monkeypatch, [*words, 2, *words])
    lm = language_model(random_model(vocab_size=tokenizer.vocab_size), tokenizer)
    request = types.SimpleNamespace(args=("The cat", {"until": until, "max_gen_toks": 50}))
    assert lm.generate_until([request]) == [" sat on"]
    assert given == [[1, *tokenizer.encode("The cat")]]
    assert (lm.eot_token_id, lm.prefix_token_id) == (2, 1)


def test_lm_evals_texts_end_before_the_first_stop_text(monkeypatch, tmp_path):
    tokenizer = FileTokenizer(saved(make_tokenizer("gpt2"), tmp_path))
    draw(monkeypatch, tokenizer.encode("The cat sat on the mat"))
    model, how = random_model(vocab_size=320), {"until": [" on", " sat"], "max_gen_toks": 50}
    assert continued(model, tokenizer, "a", how, begin=[2]) == "The cat"
