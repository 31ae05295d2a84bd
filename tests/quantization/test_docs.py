"""The page on number formats contains what its generator computes."""

import importlib.util
from pathlib import Path

GENERATOR = Path(__file__).parents[2] / "docs" / "generate_number_formats.py"


def test_tables_on_the_page_are_what_the_generator_prints():
    spec = importlib.util.spec_from_file_location("generate_number_formats", GENERATOR)
    generator = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(generator)
    page = generator.PAGE.read_text()
    assert all(f"<!-- generated: {name} -->" in page for name in generator.TABLES)
    assert generator.render(page) == page
