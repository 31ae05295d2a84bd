"""A refactor reproduces these losses; a change of behaviour changes them here, and says so.

Six steps in float32, eager, on CPU. The tolerance covers different processors' matrix products:
one part in 10^5 after six steps; on one machine the numbers repeat bit for bit.
"""

import pytest
import torch

from altgrad.model import GPT, preset
from altgrad.optim import OptimConfig
from altgrad.training import Trainer

GOLDEN = {
    ("gpt2", "adamw"): [2.5817196, 2.5144637, 2.3854744, 2.2890549, 2.2037439, 2.1133702],
    ("llama", "adamw"): [2.5744524, 2.3596232, 2.203872, 2.087343, 1.9512851, 1.8389953],
    ("nanochat", "muon"): [2.5649493, 2.5417335, 2.516428, 2.4905937, 2.4626076, 2.4333525],
    ("shakespeare", "muon"): [2.5649493, 2.5417335, 2.5159380, 2.4892619, 2.4603577, 2.4301572],
}
SIZES = {"n_layer": 2, "n_head": 2, "n_embd": 16, "block_size": 8, "vocab_size": 13}


def losses(name: str, optimiser: str, make_config, data_dir) -> list[float]:
    model_config = preset(name, **SIZES, n_kv_head=None)
    config = make_config(model=model_config, optim=OptimConfig(name=optimiser, lr=1e-2))
    model = GPT(config.model, torch.Generator().manual_seed(config.seed))
    trainer = Trainer(config, model, data_dir, "cpu")
    return [trainer.train_step(*trainer.batches.next_batch())["loss"] for _ in range(6)]


@pytest.mark.parametrize(("name", "optimiser"), GOLDEN)
def test_losses_are_those_of_the_day_they_were_recorded(name, optimiser, make_config, data_dir):
    found = losses(name, optimiser, make_config, data_dir)
    assert found == pytest.approx(GOLDEN[name, optimiser], rel=1e-5)
