"""Utilisation is a share of the right device's peak, or is not given."""

import pytest

from altgrad.training.metrics import PEAK_FLOPS, peak_flops

PUBLISHED = {
    "NVIDIA L4": 121e12,
    "NVIDIA L40": 181e12,
    "NVIDIA L40S": 362e12,
    "NVIDIA H100 PCIe": 756e12,
    "NVIDIA H100 80GB HBM3": 989e12,
    "NVIDIA A10": 125e12,
}
"""Data sheets, dense bf16, of devices whose names contain one another."""


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_gpu_has_its_own_peak(name):
    assert peak_flops(name) == pytest.approx(PUBLISHED[name], rel=1e-3)


@pytest.mark.parametrize(
    "name",
    ["NVIDIA A10G", "NVIDIA H100 80GB HBM3 MIG 1g.10gb", "NVIDIA GeForce RTX 4090 Laptop GPU", ""],
)
def test_an_unknown_name_has_no_peak(name):
    assert name not in PEAK_FLOPS
    assert peak_flops(name) is None
