"""`altgrad doctor`: what it says is what a run would do, and it names a cure."""

import json

import torch

from altgrad.cli import main
from altgrad.data.corpora import CORPORA
from altgrad.training import doctor
from altgrad.training.machine import can_compile, has_fast_bf16, pick_device


def facts(capsys, *words: str) -> dict[str, dict[str, str]]:
    main(["doctor", "--json", *words])
    return {fact["what"]: fact for fact in json.loads(capsys.readouterr().out)}


def test_it_says_what_a_run_would_use(capsys):
    found, device = facts(capsys, "--offline"), pick_device("auto")
    assert found["torch"]["found"].startswith(torch.__version__)
    assert (found["bf16"]["state"] == "good") is has_fast_bf16(device)
    assert (found["compile"]["state"] == "good") is can_compile(device)
    assert not set(CORPORA) & set(found)


def test_what_is_missing_has_a_cure(capsys, monkeypatch):
    monkeypatch.setattr(doctor, "has_fast_bf16", lambda device: False)
    monkeypatch.setattr(doctor, "can_compile", lambda device: False)
    monkeypatch.setattr(doctor, "available_memory", lambda: 10**9)
    assert main(["doctor", "--offline"]) == 1
    said = capsys.readouterr().out
    assert "✗ memory       1.0 GB free" in said
    assert "precision.compute=auto is 32-true" in said
    assert "compile=null does not compile" in said
    assert said.count("->") >= 3


def test_each_corpus_is_told_with_its_ways_or_where_to_put_it(capsys, monkeypatch):
    monkeypatch.setattr(doctor, "_answers", lambda url: "closed")
    found = facts(capsys)
    assert set(CORPORA) <= set(found)
    assert found["shakespeare"]["state"] == "missing"
    assert "put input.txt into" in found["shakespeare"]["advice"]
    monkeypatch.setattr(doctor, "_answers", lambda url: "")
    assert facts(capsys)["shakespeare"]["state"] == "good"


def test_a_server_that_is_not_there_is_closed():
    assert doctor._answers("http://127.0.0.1:1/").startswith("closed (")
