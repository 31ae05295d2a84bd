import ast

import pytest

from altgrad.learn.source import body_text, find_units, is_todo, replace_bodies, skeleton
from altgrad.learn.track import TRACKS, Track


@pytest.fixture(params=TRACKS)
def track(request) -> Track:
    return Track(request.param)


def todos(track: Track) -> dict[str, str]:
    return {unit: track.lessons[unit].todo for unit in track.units}


def test_putting_the_bodies_back_gives_the_reference_byte_for_byte(track):
    empty = skeleton(track.source, todos(track))
    bodies = {unit: body_text(track.source, unit) for unit in track.units}
    assert replace_bodies(empty, bodies) == track.source


def test_the_skeleton_has_every_signature_and_contract_and_no_solution(track):
    empty = skeleton(track.source, todos(track))
    units = find_units(ast.parse(empty))
    assert set(units) == set(track.units)
    for name, unit in units.items():
        assert is_todo(unit), name
        assert ast.get_docstring(unit) == track.contract(name)
    assert len(empty.splitlines()) < len(track.source.splitlines())


def test_the_skeleton_can_be_imported(track):
    exec(compile(skeleton(track.source, todos(track)), "skeleton", "exec"), {"__name__": "s"})


def test_super_init_stays_in_the_skeleton(track):
    empty = skeleton(track.source, todos(track))
    assert empty.count("super().__init__()") == track.source.count("super().__init__()")


def test_a_begun_body_is_no_todo():
    unit = ast.parse('def f():\n    x = 1\n    raise NotImplementedError("TODO")\n').body[0]
    assert not is_todo(unit)
