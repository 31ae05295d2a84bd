"""What a format owes: what it wrote it reads again, bit for bit, and nothing else."""

import json

import pytest
import torch

from altgrad.interchange.export import FORMATS, own_weights
from altgrad.interchange.importing import read_config
from altgrad.interchange.shapes import shape_of
from altgrad.model import GPTConfig
from tests.interchange.conftest import SHAPES, SIZES, random_model


def test_every_format_is_tried():
    assert {shape for shape, _ in SHAPES.values()} == set(FORMATS)


@pytest.mark.parametrize("name", SHAPES)
def test_settings_come_back_from_what_was_written(name):
    shape, parts = SHAPES[name]
    config = GPTConfig(**SIZES | parts)
    assert shape_of(config) == shape
    values = json.loads(json.dumps(FORMATS[shape].to_config(config)))
    assert values["model_type"] == shape
    again, found = read_config(values)
    assert found == shape
    assert FORMATS[shape].to_config(again) == FORMATS[shape].to_config(config)


@pytest.mark.parametrize("name", SHAPES)
def test_weights_come_back_bit_for_bit(name):
    shape, parts = SHAPES[name]
    model = random_model(**parts)
    weights = own_weights(model)
    written = FORMATS[shape].to_weights(weights, model.config)
    assert all(tensor.is_contiguous() for tensor in written.values())
    again = FORMATS[shape].from_weights(written, model.config)
    assert set(weights) <= set(again)
    assert all(torch.equal(again[n], tensor) for n, tensor in weights.items())
    assert not any(again[n].any() for n in set(again) - set(weights))
