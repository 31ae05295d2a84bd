"""Settings are taken strictly: what is not understood is refused with the nearest match."""

from dataclasses import dataclass, field

import pytest

from altgrad.settings import ConfigError, from_dict, nearest, setting_names


@dataclass
class Engine:
    power_kw: float = 1.0
    cylinders: int = 4
    valves: list[int] = field(default_factory=list)


@dataclass
class Car:
    engine: Engine = field(default_factory=Engine)
    name: str | None = None
    electric: bool = False
    extras: dict[str, int] = field(default_factory=dict)


def test_nested_dicts_become_dataclasses():
    car = from_dict(Car, {"engine": {"power_kw": 3, "valves": [1, 2]}, "name": "x"})
    assert car == Car(engine=Engine(power_kw=3.0, valves=[1, 2]), name="x")
    assert isinstance(car.engine.power_kw, float)


def test_names_are_full_and_dotted():
    expected = [
        "engine.power_kw",
        "engine.cylinders",
        "engine.valves",
        "name",
        "electric",
        "extras",
    ]
    assert setting_names(Car) == expected


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"engin": {}}, ["'engin'", "engine."]),
        ({"engine": {"cylinder": 3}}, ["'engine.cylinder'", "engine.cylinders"]),
        ({"engine": {"cylinders": 2.5}}, ["engine.cylinders=2.5", "whole number"]),
        ({"engine": {"cylinders": True}}, ["engine.cylinders=True", "whole number"]),
        ({"engine": {"power_kw": "much"}}, ["engine.power_kw='much'", "a number"]),
        ({"engine": {"valves": [1, "x"]}}, ["engine.valves[1]='x'"]),
        ({"engine": {"valves": 3}}, ["engine.valves=3", "a list"]),
        ({"engine": 3}, ["engine=3", "group of settings"]),
        ({"electric": 1}, ["electric=1", "true or false"]),
        ({"electric": None}, ["electric=None", "true or false"]),
        ({"name": 7}, ["name=7", "a text or null"]),
        ({"extras": [1]}, ["extras=[1]", "a mapping"]),
    ],
)
def test_what_is_not_understood_is_refused(values, words):
    with pytest.raises(ConfigError) as caught:
        from_dict(Car, values)
    message = str(caught.value)
    assert "\n" not in message
    for word in words:
        assert word in message


def test_a_leaf_name_finds_its_full_name():
    assert nearest("cylinder", setting_names(Car)) == " Did you mean 'engine.cylinders'?"
