"""The same step for those who prefer Lightning's own `Trainer`. Nothing in altgrad imports this.

    module = GPTModule(config, model)
    lightning.Trainer(max_steps=config.max_steps, gradient_clip_val=config.optim.grad_clip or None,
                      accumulate_grad_batches=config.accumulation).fit(module, batches)

Lightning's Trainer divides the loss by the accumulation and clips by itself.
"""

from typing import Any

import lightning
import torch
from torch import Tensor, nn

from altgrad.optim import build_optimizer, build_schedule
from altgrad.training.config import TrainConfig


class GPTModule(lightning.LightningModule):
    """`model(idx, targets) -> (logits, loss)` with altgrad's optimiser and schedule."""

    def __init__(self, config: TrainConfig, model: nn.Module) -> None:
        super().__init__()
        self.config = config
        self.model = model

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        _, loss = self.model(*batch)
        self.log("loss", loss.detach())
        return loss

    def validation_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        _, loss = self.model(*batch)
        self.log("val_loss", loss)

    def configure_optimizers(self) -> Any:
        optimizer = build_optimizer(self.model, self.config.optim)
        scale = build_schedule(self.config.schedule, self.config.max_steps)
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, scale)
        # "step": Lightning's default would move the rate once per epoch.
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": schedule, "interval": "step"},
        }
