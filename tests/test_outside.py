"""Outside code: found without being run, hashed with its imports, loaded or refused in a line."""

import importlib
import sys
from importlib import machinery
from pathlib import Path

import pytest

from altgrad.outside import load_outside, source_of

NAME = "own_part:A"


@pytest.fixture(autouse=True)
def _clean_python(monkeypatch):
    """What a test imports is forgotten again."""
    before = set(sys.modules)
    monkeypatch.setattr(sys, "path", list(sys.path))
    yield
    for name in set(sys.modules) - before:
        if name.startswith("own_"):
            del sys.modules[name]


def write(**files: str) -> None:
    """`write(own_part="…", own_pkg__mod="…")`: `own_part.py`, `own_pkg/mod.py`."""
    for name, text in files.items():
        path = Path(name.replace("__", "/") + ".py")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


INIT = "own_pkg/__init__"
IMPORTS = {
    "a helper": ("import own_helper", "own_helper.py"),
    "inside a function": ("def f():\n    import own_helper", "own_helper.py"),
    "a helper's helper": ("import own_middle", "own_helper.py"),
    "in a circle": ("import own_circle", "own_circle.py"),
    "a name out of it": ("from own_helper import x", "own_helper.py"),
    "a package": ("import own_pkg.mod", "own_pkg/mod.py"),
    "a package's init": ("import own_pkg.mod", "own_pkg/__init__.py"),
    "a module out of a package": ("from own_pkg import mod", "own_pkg/mod.py"),
    "relative in a package": ("from own_pkg import uncle", "own_pkg/mod.py"),
    "all of a package": ("from own_pkg import *", "own_pkg/mod.py"),
    "without init": ("import own_space.mod", "own_space/mod.py"),
    "deep without init": ("import own_space.deep.mod", "own_space/deep/mod.py"),
    "by name": ("import importlib\nimportlib.import_module('own_helper')", "own_helper.py"),
}


@pytest.fixture
def files(monkeypatch):
    for name in [n for n in sys.modules if n.startswith("own_")]:
        monkeypatch.delitem(sys.modules, name)
    write(own_helper="x = 1\n", own_middle="from own_helper import x\n")
    write(own_circle="import own_part\n", own_pkg__mod="", own_space__mod="")
    write(own_pkg__uncle="from . import mod\nfrom .mod import *\n", own_space__deep__mod="")
    Path(f"{INIT}.py").write_text("")


@pytest.mark.parametrize("how", IMPORTS)
def test_whatever_it_imports_is_part_of_its_version(files, how):
    line, file = IMPORTS[how]
    write(own_part=f"{line}\nclass A: ...\n")
    before = source_of(NAME)
    assert file in before.files
    Path(file).write_text("edited = True\n")
    assert source_of(NAME).version != before.version
    assert not any(name.startswith("own_") for name in sys.modules), "it was run"


def test_what_it_does_not_import_is_none_of_it(files):
    write(own_part="import os, torch, numpy, altgrad.model\nimport own_helper\nclass A: ...\n")
    assert list(source_of(NAME).files) == ["own_helper.py", "own_part.py"]


def test_the_packages_around_it_belong_to_it(files):
    write(own_pkg__part="class A: ...\n")
    assert list(source_of("own_pkg.part:A").files) == ["own_pkg/__init__.py", "own_pkg/part.py"]


def test_the_version_is_that_of_the_text_wherever_it_lies(tmp_path, monkeypatch, files):
    write(own_part="import own_helper\nclass A: ...\n")
    here = source_of(NAME).version
    for place in ("other", "other/pkg"):
        (tmp_path / place).mkdir()
    for name in ("own_part.py", "own_helper.py"):
        (tmp_path / "other" / name).write_text(Path(name).read_text())
    monkeypatch.chdir(tmp_path / "other")
    assert source_of(NAME).version == here
    monkeypatch.chdir(tmp_path / "other/pkg")
    monkeypatch.syspath_prepend(tmp_path / "other")
    assert source_of(NAME).version == here


def test_an_editable_install_is_ones_own(tmp_path, monkeypatch):
    folder = tmp_path / "src"
    folder.mkdir()
    (folder / "own_edited.py").write_text("class A: ...\n")

    class Finder:
        """As setuptools leaves one in `sys.meta_path`."""

        @staticmethod
        def find_spec(name, path=None, target=None):
            file = folder / f"{name}.py"
            return importlib.util.spec_from_file_location(name, file) if file.exists() else None

    monkeypatch.setattr(sys, "meta_path", [*sys.meta_path, Finder])
    assert list(source_of("own_edited:A").files) == ["own_edited.py"]
    assert load_outside("own_edited:A", setting="x").__name__ == "A"


def test_a_zip_file_on_the_path_is_hashed_whole(tmp_path, monkeypatch):
    import zipfile

    with zipfile.ZipFile(tmp_path / "own.zip", "w") as archive:
        archive.writestr("own_zipped.py", "class A: ...\n")
    monkeypatch.syspath_prepend(str(tmp_path / "own.zip"))
    assert list(source_of("own_zipped:A").files) == ["own_zipped.py"]
    assert load_outside("own_zipped:A", setting="x").__name__ == "A"


def test_a_compiled_module_is_hashed_by_its_bytes():
    write(own_part="import own_fast\nclass A: ...\n")
    Path(f"own_fast{machinery.EXTENSION_SUFFIXES[0]}").write_bytes(b"\x7fELF")
    found = source_of(NAME).files
    assert b"\x7fELF" in found.values()


@pytest.mark.parametrize(
    ("target", "version"),
    [("torch.nn:Linear", "torch "), ("os:abort", "Python "), ("json:loads", "Python ")],
)
def test_what_is_installed_goes_by_its_version(target, version):
    assert source_of(target).version.startswith(version)


@pytest.mark.parametrize(
    ("target", "text", "words"),
    [
        ("own_none:A", "", "no module 'own_none' in /"),
        ("own_part.deeper:A", "", "no module 'own_part.deeper'"),
        ("own_part:B", "class A1: ...", "has no 'B'"),
        ("own_part:Attension", "class Attention: ...", "did you mean 'Attention'?"),
        ("own_part.py:A", "", "no module 'own_part.py'"),
        ("own_part:A.b", "", "is written package.module:Class"),
        ("own_part:", "", "is written package.module:Class"),
        ("./own_part:A", "", "is written package.module:Class"),
        ("own_part:A", "import own_gone", "No module named 'own_gone' (own_part.py, line 1)"),
        ("own_part:A", "\n1 / 0", "ZeroDivisionError: division by zero (own_part.py, line 2)"),
        ("own_part:A", "class A(: ...", "cannot be imported: SyntaxError"),
        ("own_part:A", "raise SystemExit(3)", "cannot be imported: SystemExit: 3"),
    ],
)
def test_what_cannot_be_loaded_is_told_in_one_line(target, text, words):
    write(own_part=text)
    with pytest.raises(ValueError) as caught:
        load_outside(target, setting="model.attention")
    assert str(caught.value).startswith(f"model.attention={target}")
    assert words in str(caught.value)


def test_the_working_directory_is_seen_wherever_it_is(tmp_path, monkeypatch):
    """Also after it has changed, which a search path of its own start has not."""
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        monkeypatch.chdir(tmp_path / name)
        write(**{f"own_{name}": f"class A: ...\nwhere = {name!r}\n"})
        assert load_outside(f"own_{name}:where", setting="x") == name


def test_python_never_runs_an_older_text_than_was_hashed():
    write(own_part="import own_helper\nclass A: ...\n", own_helper="")
    load_outside(NAME, setting="x")
    write(own_helper="edited = 1\n")
    with pytest.raises(ValueError, match=r"own_part\.py or what it imports was edited since"):
        load_outside(NAME, setting="x")
    importlib.reload(sys.modules["own_helper"])
    importlib.reload(sys.modules["own_part"])
    load_outside(NAME, setting="x")


def test_python_never_runs_another_file_than_was_hashed(tmp_path, monkeypatch):
    write(own_part="class A: ...\n")
    load_outside(NAME, setting="x")
    (tmp_path / "other").mkdir()
    monkeypatch.chdir(tmp_path / "other")
    write(own_part="class A: ...\n")
    with pytest.raises(ValueError, match="Python has already imported own_part from"):
        load_outside(NAME, setting="x")


def test_no_other_file_of_the_package_imports_by_a_name_or_unpickles():
    """One loader; the two that unpickle read what altgrad itself wrote. `startup` stands
    in the Python of somebody's program, whose modules it hands on to their own loaders."""
    package = Path(__file__).parents[1] / "altgrad"
    kept = {
        "importlib.import_module(": {"outside.py"},
        "exec_module(": {"programs/startup/sitecustomize.py"},
        "__import__(": {"outside.py"},
        "pickle.load": {"data/worker.py", "learn/isolate.py", "learn/cockpit/jobs.py"},
        "torch.load(": set(),
        "yaml.unsafe_load": set(),
        "allow_pickle": set(),
    }
    for word, allowed in kept.items():
        files = {f for f in package.rglob("*.py") if word in f.read_text()}
        assert {f.relative_to(package).as_posix() for f in files} == allowed, word
