"""Two gloo processes: data-parallel and fully sharded training move the weights as one does."""

import os
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.nn.parallel import DistributedDataParallel

from altgrad.optim import OptimConfig, build_optimizer, clip_gradients
from tests.optim.toy import ToyModel, toy_loss

CONFIG = OptimConfig(name="muon", lr=0.02)
LEVELLED = OptimConfig(name="muon", lr=0.02, neuron_beta=0.95)
STEPS = 3


def run_steps(model, forward, config: OptimConfig) -> list[torch.Tensor]:
    """Both processes see the same batch, so the mean gradient is that of one process."""
    optimizer = build_optimizer(model, config)
    for step in range(STEPS):
        optimizer.zero_grad()
        toy_loss(forward, step).backward()
        clip_gradients(model.parameters(), 0.5)
        optimizer.step()
    return [p.full_tensor() if hasattr(p, "full_tensor") else p for p in model.parameters()]


def worker(rank: int, world_size: int, strategy: str, folder: str, config: OptimConfig) -> None:
    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT="0")
    store = dist.FileStore(f"{folder}/store", world_size)
    dist.init_process_group("gloo", store=store, rank=rank, world_size=world_size)
    model = ToyModel()
    if strategy == "fsdp":
        mesh = init_device_mesh("cpu", (world_size,))
        fully_shard(model.up, mesh=mesh)
        fully_shard(model, mesh=mesh)
    forward = DistributedDataParallel(model) if strategy == "ddp" else model
    weights = [w.detach().clone() for w in run_steps(model, forward, config)]
    if rank == 0:
        torch.save(weights, f"{folder}/weights.pt")
    dist.barrier()
    dist.destroy_process_group()


@pytest.mark.parametrize(
    ("strategy", "config"),
    [
        ("fsdp", CONFIG),
        ("fsdp", LEVELLED),
        pytest.param("ddp", CONFIG, marks=pytest.mark.slow),
    ],
    ids=["fsdp", "fsdp, rows levelled", "ddp"],
)
def test_two_processes_equal_one(strategy, config, tmp_path: Path):
    mp.spawn(worker, args=(2, strategy, str(tmp_path), config), nprocs=2)
    model = ToyModel()
    expected = run_steps(model, model, config)
    for a, b in zip(torch.load(tmp_path / "weights.pt"), expected, strict=True):
        torch.testing.assert_close(a, b.detach(), rtol=1e-2, atol=1e-3)
