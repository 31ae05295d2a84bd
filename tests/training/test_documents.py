"""`data.mask_documents`: from a setting of the data to a property of the network."""

import json

import pytest
import torch

from altgrad.data import DataError
from altgrad.training import TrainConfig
from altgrad.training.build import build_run, load_run, read_config, resume_run

SMALL = {"n_layer": 1, "n_head": 2, "n_embd": 16, "block_size": 16, "batch_size": 4}


@pytest.fixture
def config(tmp_path):
    path = tmp_path / "documents.jsonl"
    texts = [f"Document {i}, {'so ' * (i % 5)}it says." for i in range(60)]
    path.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    made = TrainConfig(**SMALL, max_steps=3, device="cpu", run_dir=str(tmp_path / "run"))
    made.data.path, made.data.tokenizer, made.data.mask_documents = str(path), "byte", True
    return made


def test_the_network_is_told_the_end_of_text_token_and_keeps_it(config, tmp_path):
    assert build_run(config).train()["status"] == "finished"
    assert read_config(tmp_path / "run").model.document_token == 0
    model = load_run(tmp_path / "run").model
    packed = torch.tensor([[72, 101, 0, 72, 105]])
    alone = model(packed[:, 2:])[0]
    torch.testing.assert_close(model(packed)[0][:, 2:], alone)


def test_a_masked_run_goes_on_with_the_settings_it_was_typed_with(config, tmp_path):
    config.max_steps = 2
    build_run(config).train()
    config.max_steps = 3
    assert config.model.document_token is None
    trainer = resume_run(tmp_path / "run", config=config, allow=["max_steps"])
    assert trainer.model.config.document_token == 0
    assert trainer.train()["step"] == 3


def test_a_run_may_start_from_one_that_was_trained_without(config, tmp_path):
    config.data.mask_documents = False
    build_run(config).train()
    config.data.mask_documents, config.init_from = True, config.run_dir
    config.run_dir = str(tmp_path / "masked")
    assert build_run(config).model.config.document_token == 0


def test_one_single_document_is_refused(config, tmp_path):
    config.data.path = str(tmp_path / "one.txt")
    (tmp_path / "one.txt").write_text("one single document " * 40)
    with pytest.raises(DataError, match="mask_documents=true: one is one single document"):
        build_run(config)
