"""Text piece by piece: nothing lost, nothing shown that would be taken back."""

import pytest
import torch

from altgrad.data.tokenizers import ByteTokenizer
from altgrad.interchange.writing import Writing, converse, write, write_batch
from altgrad.training import TrainConfig
from altgrad.training.build import LoadedRun


class Plain:
    """Bytes without an end-of-text token."""

    end_of_text = None
    encode = ByteTokenizer().encode
    decode = ByteTokenizer().decode


class Ending(Plain):
    end_of_text = 0


def pieces(text: bytes, *, stop=(), tokenizer=Plain) -> tuple[list[str], Writing]:
    run = LoadedRun(TrainConfig(), None, tokenizer(), 0)
    drawn = iter(torch.tensor([[b]]) for b in text)
    writing = Writing(run, "", [], drawn, list(stop))
    return list(writing), writing


def test_pieces_make_up_the_text_and_half_a_letter_waits():
    found, writing = pieces("aé漢🙂!".encode())
    assert found == ["a", "é", "漢", "🙂", "!"]
    assert (writing.finish_reason, writing.tokens) == ("length", 11)


def test_a_text_ends_before_its_stop_which_is_never_shown_in_part():
    found, writing = pieces(b"one ENX two END three", stop=["END", "?"])
    assert "".join(found) == "one ENX two "
    assert not any(piece.endswith("E") for piece in found[:-1])
    assert writing.finish_reason == "stop"


def test_half_a_stop_at_the_limit_is_text_after_all():
    found, _ = pieces(b"one EN", stop=["END"])
    assert "".join(found) == "one EN"


def test_the_end_of_text_token_ends_the_text():
    found, writing = pieces(b"one\0two", tokenizer=Ending)
    assert "".join(found) == "one"
    assert writing.finish_reason == "stop"


def test_streamed_text_is_what_generate_gives(make_run):
    run = make_run()
    ids = torch.tensor([run.tokenizer.encode("To be")])
    expected = run.model.generate(ids, 40, seed=5, temperature=0.9, top_k=7)[0, 5:].tolist()
    streamed = "".join(write(run, "To be", 40, seed=5, temperature=0.9, top_k=7))
    assert streamed == run.tokenizer.decode(expected)


def test_texts_side_by_side_differ_and_come_again_with_the_seed(make_run):
    run = make_run()
    texts = write_batch(run, "To be", 12, 3, seed=1)
    assert len(set(texts)) == 3
    assert write_batch(run, "To be", 12, 3, seed=1) == texts
    assert write_batch(run, "To be", 12, 3, seed=2) != texts


def test_a_conversation_answers_goes_on_and_survives_a_strange_character(make_run):
    run = make_run()
    lines = iter(["", "To be", "", "漢", None])
    said: list[str] = []
    converse(run, lambda: next(lines), said.append, tokens=6, seed=3)
    first = "".join(write(run, "To be", 6, seed=3))
    second = "".join(write(run, f"To be{first}", 6, seed=4))
    text = "".join(said)
    assert text.startswith(f"{first}\n{second}\n")
    assert "'漢' is not among" in text


def test_an_unknown_character_is_refused_before_any_work(make_run):
    with pytest.raises(ValueError, match="'漢' is not among"):
        write(make_run(), "漢", 5)
