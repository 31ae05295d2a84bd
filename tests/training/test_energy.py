"""Energy is told where the machine tells it, and only there."""

import sys
import types

from altgrad.training.recording.energy import EnergyMeter


def package(root, name, energy, limit=1000_000_000):
    folder = root / name
    folder.mkdir()
    (folder / "max_energy_range_uj").write_text(str(limit))
    (folder / "energy_uj").write_text(str(energy))
    return folder / "energy_uj"


def test_packages_add_up_and_parts_of_them_do_not(tmp_path):
    first = package(tmp_path, "intel-rapl:0", 5_000_000)
    second = package(tmp_path, "intel-rapl:1", 0)
    package(tmp_path, "intel-rapl:0:0", 0)
    meter = EnergyMeter(powercap=tmp_path)
    first.write_text("8000000")
    second.write_text("500000")
    assert meter.joules() == 3.5


def test_a_counter_that_wraps_around_goes_on(tmp_path):
    counter = package(tmp_path, "intel-rapl:0", 999_000_000)
    meter = EnergyMeter(powercap=tmp_path)
    counter.write_text("2000000")
    assert meter.joules() == 3.0


def test_a_machine_that_tells_nothing_is_not_guessed(tmp_path):
    assert EnergyMeter(powercap=tmp_path).joules() is None
    (tmp_path / "intel-rapl:0").mkdir()
    assert EnergyMeter(powercap=tmp_path).joules() is None


def test_a_gpu_is_read_through_nvml(tmp_path, monkeypatch):
    readings = iter([10_000, 25_000])
    nvml = types.SimpleNamespace(
        nvmlInit=lambda: None,
        nvmlDeviceGetHandleByIndex=lambda index: index,
        nvmlDeviceGetTotalEnergyConsumption=lambda handle: next(readings),
    )
    monkeypatch.setitem(sys.modules, "pynvml", nvml)
    assert EnergyMeter(gpus=1, powercap=tmp_path).joules() == 15.0
