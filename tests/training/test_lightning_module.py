"""Lightning's own Trainer drives the same step to the same weights."""

import lightning
import pytest
import torch
from torch.utils.data import DataLoader

from altgrad.training import Trainer
from altgrad.training.lightning_module import GPTModule


@pytest.mark.filterwarnings("ignore")
def test_lightnings_trainer_reaches_the_same_weights(make_config, make_model, data_dir):
    config = make_config(max_steps=4, eval_interval=-1, warmup_steps=2)
    ours = Trainer(config, make_model(config), data_dir, "cpu")
    batches = [ours.batches.batch_at(i) for i in range(4)]
    ours.train()
    module = GPTModule(config, make_model(config))
    theirs = lightning.Trainer(
        max_steps=4,
        gradient_clip_val=config.optim.grad_clip,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    theirs.fit(module, DataLoader(batches, batch_size=None))
    for name, weight in module.model.state_dict().items():
        assert torch.equal(weight, ours.model.state_dict()[name]), name
