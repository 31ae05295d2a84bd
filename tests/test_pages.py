"""What the pages name exists: files, tests, settings, links."""

import re
from dataclasses import fields, is_dataclass
from pathlib import Path

import pytest

from altgrad.compare.question import Tuning
from altgrad.learn.new import KINDS
from altgrad.training import TrainConfig
from tests.pages.blocks import EXTENDING

HOUSE = Path(__file__).parents[1]
PAGES = [*sorted((HOUSE / "docs").rglob("*.md")), HOUSE / "README.md"]
EXAMPLES = re.compile(r"^```(python|diff|yaml|text|csv|json)\n.*?^```", re.MULTILINE | re.DOTALL)
OWN = {"my_gpt.py", "my-gpt/my_gpt.py", "mine.py", "theirs.py"}
OWN |= {f"my_{kind}.py" for kind in KINDS}
OWN |= {"my_optimisers.py", "my_rounding.py", "my_training.py", "my_lora.py"}
"""Files that a reader makes, or that lie in a folder of the reader's."""
THEIRS = {"nanochat/gpt.py"}
"""Files of other repositories, as their presets name them."""


def prose(page: Path) -> str:
    """A page without what its examples make."""
    text = page.read_text()
    return EXAMPLES.sub("", text) if page in EXTENDING else text


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.stem)
def test_files_that_a_page_names_exist(page):
    named = set(re.findall(r"(?<![\w/.-])[\w/-]+\.(?:py|toml|cpp)(?!\w)", prose(page)))
    roots = (HOUSE, HOUSE / "altgrad", HOUSE / "tests")
    here = {n for n in named if any((root / n).exists() for root in roots)}
    bare = {n for n in named if "/" not in n and any((HOUSE / "altgrad").rglob(n))}
    made = {n for n in named if any(f"\n# altgrad/{n}\n" in p.read_text() for p in EXTENDING)}
    made |= {n for n in named if any(f"\n# {n}\n" in p.read_text() for p in EXTENDING)}
    own = OWN | (made if page in EXTENDING else set())
    assert named - here - bare - own - THEIRS == set()


def test_tests_in_brackets_exist():
    explanation = HOUSE / "docs" / "explanation"
    pages = [
        (explanation / name).read_text() for name in ("what-happens-when.md", "from-outside.md")
    ]
    groups = re.findall(r"\[((?:[\w/]*test_\w+(?:, )?)+)\]", "".join(pages))
    named = {name for group in groups for name in group.split(", ")}
    assert len(named) > 15
    assert {n for n in named if not any((HOUSE / "tests").rglob(f"{n}.py"))} == set()


def settings_of(made, prefix: str = "") -> set[str]:
    """`model.n_layer` and every other name below a dataclass."""
    found = set()
    for field in fields(made):
        value = getattr(made, field.name)
        found.add(prefix + field.name)
        if is_dataclass(value):
            found |= settings_of(value, f"{prefix}{field.name}.")
    return found


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.stem)
def test_settings_that_a_page_names_exist(page):
    groups = {f.name for f in fields(TrainConfig) if is_dataclass(getattr(TrainConfig(), f.name))}
    known = settings_of(TrainConfig()) | {f"tuning.{f}" for f in tuning_fields()}
    found = re.findall(r"(?<![\w./:])([a-z]\w*(?:\.[a-z]\w*)+)(?==|`)", page.read_text())
    named = {name for name in found if name.split(".")[0] in {*groups, "tuning"}}
    files = (".py", ".json", ".safetensors")
    assert {n for n in named if n not in known and not n.endswith(files)} == set()


def tuning_fields() -> set[str]:
    return {f.name for f in fields(Tuning)}


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.stem)
def test_links_lead_somewhere(page):
    for place, anchor in re.findall(r"\]\((?!http)([^)#]*)(?:#([\w-]+))?\)", page.read_text()):
        target = (page.parent / place).resolve() if place else page
        assert target.exists(), place
        if anchor:
            headings = re.findall(r"^#+ (.*)$", target.read_text(), re.MULTILINE)
            anchors = [re.sub(r"[^\w -]", "", h).lower().replace(" ", "-") for h in headings]
            assert anchor in anchors, anchor


def test_every_page_is_in_the_sites_navigation():
    navigation = (HOUSE / "mkdocs.yml").read_text().partition("\nnav:")[2]
    named = re.findall(r"(\S+\.md)$", navigation, re.MULTILINE)
    pages = [str(p.relative_to(HOUSE / "docs")) for p in (HOUSE / "docs").rglob("*.md")]
    assert sorted(named) == sorted(pages)


OWN_DATES = {"findings", "which-format"}
"""Pages that say it of each series or row, in their own way."""
EVIDENCE = [p for p in PAGES if p.parent.name == "evidence" and p.stem not in OWN_DATES]
DATE = re.compile(r"20\d\d-\d\d-\d\d")


@pytest.mark.parametrize("page", EVIDENCE, ids=lambda p: p.stem)
def test_figures_say_when_they_were_measured(page):
    """Each part of an evidence page that has a table or output."""
    parts = re.split(r"^## ", page.read_text(), flags=re.MULTILINE)
    figures = [p for p in parts if "\n| " in p or re.search(r"^```\n", p, re.MULTILINE)]
    assert [part.partition("\n")[0] for part in figures if not DATE.search(part)] == []


INSTRUCTIONS = [p for p in PAGES if p.parent.name not in ("evidence", "reference")]
MEASURED = re.compile(r"(?<!\d)\d\.\d{3,}|\d,\d{3} tokens/s")
"""More than one of it: a single one is a bound or a setting."""


@pytest.mark.parametrize("page", INSTRUCTIONS, ids=lambda p: p.stem)
def test_an_output_with_measured_figures_says_when_it_was_recorded(page):
    """In its part of the page, or for all of them at the head."""
    head, *parts = re.split(r"^## ", page.read_text(), flags=re.MULTILINE)
    undated = []
    for part in [head, *parts]:
        own = re.sub(r"<!-- generated.*?<!-- end -->", "", part, flags=re.DOTALL)
        outputs = re.findall(r"^```\n.*?^```|^\| .*?$", own, re.MULTILINE | re.DOTALL)
        if len(MEASURED.findall("".join(outputs))) > 1 and not DATE.search(head + part):
            undated.append(part.partition("\n")[0])
    assert undated == []
