import torch

from altgrad.model.block import Block, ShiftBlock
from tests.model.tiny import tiny_config


def blocks() -> tuple[Block, ShiftBlock]:
    """The two blocks with the same random weights, in double."""
    config = tiny_config(block="shift")
    plain, shift = Block(config, 0).double(), ShiftBlock(config, 0).double()
    shift.load_state_dict(plain.state_dict() | {"mix": torch.zeros(16, dtype=torch.double)})
    return plain, shift


@torch.no_grad()
def test_shift_starts_as_the_plain_block():
    plain, shift = blocks()
    assert (ShiftBlock(tiny_config(block="shift"), 0).mix == 0).all()
    x = torch.randn(2, 5, 16, dtype=torch.double)
    assert torch.equal(shift(x), plain(x))


@torch.no_grad()
def test_shift_adds_each_channel_of_the_position_before():
    plain, shift = blocks()
    shift.mix.normal_()
    x = torch.randn(2, 5, 16, dtype=torch.double)
    mixed = x.clone()
    for t in range(1, 5):
        mixed[:, t] += shift.mix * x[:, t - 1]
    torch.testing.assert_close(shift(x), plain(mixed))
