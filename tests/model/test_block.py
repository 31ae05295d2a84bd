import torch

from altgrad.model.block import Block, ConvBlock, ShiftBlock
from altgrad.model.config import GPTConfig
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


def conv_block() -> tuple[Block, ConvBlock]:
    """A plain block and a convolving one with its weights, in double; norms without weights."""
    config: GPTConfig = tiny_config(block="conv", norm="rmsnorm_plain").resolved()
    plain, conv = Block(config, 0).double(), ConvBlock(config, 0).double()
    conv.load_state_dict(plain.state_dict(), strict=False)
    return plain, conv


@torch.no_grad()
def test_conv_starts_as_the_plain_block():
    plain, conv = conv_block()
    assert [weight.abs().max().item() for weight in conv.conv] == [0.0] * 4
    x = torch.randn(2, 7, 16, dtype=torch.double)
    assert torch.equal(conv(x), plain(x))


@torch.no_grad()
def test_conv_adds_what_torchs_convolution_of_the_normalised_input_gives():
    plain, conv = conv_block()
    for weight in conv.conv:
        weight.normal_()
    x = torch.randn(2, 7, 16, dtype=torch.double)
    kernel = torch.stack([w.detach() for w in reversed(conv.conv)], dim=-1)[:, None]  # [C, 1, 4]
    h = torch.nn.functional.pad(conv.ln_conv(x).mT, (3, 0))
    wanted = plain(x + torch.nn.functional.conv1d(h, kernel, groups=16).mT)
    torch.testing.assert_close(conv(x), wanted)
