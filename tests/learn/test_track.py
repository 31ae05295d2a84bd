import ast

import pytest

from altgrad.learn.source import find_units
from altgrad.learn.track import TRACKS, Track


@pytest.fixture(params=TRACKS)
def track(request) -> Track:
    return Track(request.param)


def test_lessons_probes_and_reference_name_the_same_units(track):
    units = set(find_units(ast.parse(track.source)))
    assert set(track.units) == units
    assert set(track.probes) == units


def test_every_unit_has_a_contract_three_hints_and_three_mistakes(track):
    for unit, lesson in track.lessons.items():
        assert len(track.contract(unit)) > 20, unit
        assert len(lesson.hints) == 3, unit
        assert lesson.where, unit
        assert sum(m.unit == unit for m in track.mistakes) >= 3, unit


def test_every_variant_still_fits_the_reference(track):
    for variant in [*track.mistakes, *track.equivalents, *track.strangers]:
        changed = variant.apply(track.source)
        assert changed != track.source, variant.name
        ast.parse(changed)


def test_mistakes_are_told_apart_by_name_and_a_model_has_at_least_a_hundred(track):
    names = [(m.unit, m.name) for m in track.mistakes]
    assert len(names) == len(set(names)) >= (100 if track.is_model else 3 * len(track.units))
    assert all(m.says for m in track.mistakes)


def test_strangers_name_catalogued_mistakes(track):
    names = {(m.unit, m.name) for m in track.mistakes}
    assert {(s.unit, s.says) for s in track.strangers} <= names


def test_a_unit_is_found_by_part_of_its_name():
    track = Track("nanochat")
    assert track.find("NORM") == "norm"
    assert track.find("attention.forward") == "CausalSelfAttention.forward"
    with pytest.raises(ValueError, match=r"did you mean 'GPT\.forward'"):
        track.find("GPT.forwrd")


def test_a_class_means_its_units_and_a_stage_goes_by_number_and_title():
    track = Track("nanochat")
    block = ["Block.__init__", "Block.forward"]
    assert track.find_all("Block") == track.find_all("block") == block
    assert track.find_all("forward") == track.find_all("3") == track.units_of(3)
    assert track.find_all("weight") == track.units_of(2)
    assert track.find_all("initialisation") == track.units_of(1)
    assert track.find_all("generate") == ["GPT.generate"]
    for unknown in ("nothing", "9", "__init__"):
        with pytest.raises(ValueError, match=r"or a stage: 1 initialisation, .* 3 forward"):
            track.find_all(unknown)


def test_an_unknown_track_is_refused():
    with pytest.raises(ValueError, match="is not one of nanochat, gpt2"):
        Track("nanogpt")
