"""Can the tests fail? Breaks the program on purpose, one line at a time, and runs the tests.

    python tests/mutation/run.py                          # everything, on one core
    python tests/mutation/run.py --packages optim --part 1/8
    python tests/mutation/run.py --idea 'ln 2' -v

The mutants are a table by hand, `mutants/ROOM.toml`: each is an error that somebody could make, in
words, with the tests that should notice it. They are applied to a copy of the package in a
temporary folder, never to the tree itself. A parent that has loaded torch, scipy and transformers
forks a child for each, which imports the mutated package and runs the tests up to the first
failure. A set of tests is first run on the unchanged package, so that red means something.

killed: a test failed, or ran out of time. survived: none did. equivalent: no test could (the table
says why; not run). stale: the snippet is not in the package exactly once any more.
"""

import argparse
import compileall
import dataclasses
import importlib
import json
import os
import py_compile
import re
import shutil
import signal
import sys
import tempfile
import time
import tomllib
import traceback
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
COPIED = ("altgrad", "tests", "docs", "experiments", "benchmarks")
PRELOADED = (
    *("torch", "numpy", "scipy.stats", "scipy.optimize", "pandas", "yaml", "omegaconf", "hydra"),
    *("lightning_fabric", "safetensors.torch", "rich.console", "pytest", "tiktoken"),
    *("transformers.models.gpt2.modeling_gpt2", "transformers.models.llama.modeling_llama"),
    *("matplotlib.pyplot", "statsmodels.stats.api", "ml_dtypes", "gfloat", "tokenizers"),
)
STATES = ("killed", "survived", "equivalent", "stale", "no tests", "red before")


@dataclasses.dataclass(frozen=True)
class Mutant:
    """module: dotted name. find, replace: the snippet, once in that module, and what replaces it.
    idea: the error in words. tests: files below tests/. equivalent: why no test can notice."""

    package: str
    module: str
    find: str
    replace: str
    idea: str
    tests: tuple[str, ...]
    equivalent: str = ""

    @property
    def name(self) -> str:
        return f"{self.package}: {self.module}: {self.idea}"


def read_table(packages: list[str]) -> list[Mutant]:
    """All mutants of these packages, or of all; `[tests]` holds the tests of a module's mutants."""
    made = []
    for path in sorted((HERE / "mutants").glob("*.toml")):
        if packages and path.stem not in packages:
            continue
        table = tomllib.loads(path.read_text())
        for row in table["mutant"]:
            tests = row.pop("tests", None) or table["tests"][row["module"]]
            made.append(Mutant(path.stem, tests=tuple(tests), **row))
    return made


def copy_of_the_tree(folder: Path) -> None:
    for name in COPIED:
        if (ROOT / name).is_dir():
            skip = shutil.ignore_patterns("__pycache__", "*.bin")
            shutil.copytree(ROOT / name, folder / name, ignore=skip)
    for path in ROOT.glob("*.*"):
        if path.is_file():
            shutil.copy2(path, folder / path.name)
    # Compiled once. By hash, since a mutant may have the old file's size, made in the same second.
    by_hash = py_compile.PycInvalidationMode.CHECKED_HASH
    compileall.compile_dir(folder / "altgrad", quiet=1, invalidation_mode=by_hash)


def source_of(mutant: Mutant, copy: Path) -> Path | None:
    """The file that holds the snippet exactly once: the module's, or another if that has moved."""
    named = copy / (mutant.module.replace(".", "/") + ".py")
    candidates = [named] if named.is_file() else sorted((copy / "altgrad").rglob("*.py"))
    found = [p for p in candidates if p.read_text().count(mutant.find) == 1]
    return found[0] if len(found) == 1 else None


def test_files(names: tuple[str, ...], copy: Path, without: set[str]) -> list[str]:
    """Test files, or tests (`file::test`), as paths; a file that has moved is looked up by name."""
    found = []
    for name in names:
        file, colons, test = name.partition("::")
        if file in without:
            continue
        path = copy / "tests" / file
        moved = [] if path.exists() else sorted((copy / "tests").rglob(path.name))
        found += [f"{p}{colons}{test}" for p in ([path] if path.exists() else moved)]
    return found


class FirstFailure:
    """Notes which test failed first."""

    def __init__(self, note: Path) -> None:
        self.note = note

    def pytest_runtest_logreport(self, report) -> None:
        if report.failed:
            self.note.write_text(report.nodeid)

    def pytest_collectreport(self, report) -> None:
        if report.failed:
            self.note.write_text(f"{report.nodeid or 'import'} (import)")


def run_child(copy: Path, tests: list[str], note: Path) -> None:
    """In the forked process: the copy's package, the tests, and out without any clean-up."""
    import pytest

    os.setsid()
    os.chdir(copy)
    os.environ["PYTHONPATH"] = str(copy)
    sys.path[:0] = [str(copy)]
    quiet = os.open(str(copy / "output.txt"), os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(quiet, 1)
    os.dup2(quiet, 2)
    options = ["-x", "-q", "-p", "no:cacheprovider", "-p", "no:xdist", "--timeout=0"]
    options += [
        "-W",
        "ignore::pytest.PytestAssertRewriteWarning",
        "--hypothesis-seed=0",
        f"--basetemp={copy / 'tmp'}",
    ]
    os._exit(int(pytest.main([*options, *tests], plugins=[FirstFailure(note)])))


def run_tests(copy: Path, tests: list[str], limit_s: float) -> tuple[str, str]:
    """`passed`, `failed` or `none`, and the test that failed."""
    note = copy / "first_failure.txt"
    note.unlink(missing_ok=True)
    child = os.fork()
    if child == 0:
        try:
            run_child(copy, tests, note)
        except BaseException:  # whatever happens, the child must not go on as a second parent
            traceback.print_exc()
            os._exit(3)
    end = time.monotonic() + limit_s
    while time.monotonic() < end:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            code = os.waitstatus_to_exitcode(status)
            words = note.read_text() if note.exists() else f"exit code {code}"
            return {0: "passed", 4: "none", 5: "none"}.get(code, "failed"), words
        time.sleep(0.02)
    os.killpg(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return "failed", f"no end within {limit_s:.0f} s"


class Runner:
    """Runs mutants in one copy, one after the other; remembers which tests are green without."""

    def __init__(self, copy: Path, limit_s: float, without: set[str], *, checks: bool) -> None:
        self.copy, self.limit_s, self.without, self.checks = copy, limit_s, without, checks
        self.green: dict[str, bool] = {}

    def state(self, mutant: Mutant) -> tuple[str, str]:
        if mutant.equivalent:
            return "equivalent", mutant.equivalent
        source = source_of(mutant, self.copy)
        if source is None:
            return "stale", mutant.find.splitlines()[0]
        tests = test_files(mutant.tests, self.copy, self.without)
        if not tests:
            return "no tests" if not self.without else "survived", ""
        if self.checks and not self._green(" ".join(tests)):
            return "red before", tests[0]
        return self._mutated(mutant, source, tests)

    def _green(self, tests: str) -> bool:
        if tests not in self.green:
            found, _ = run_tests(self.copy, tests.split(), 4 * self.limit_s)
            self.green[tests] = found == "passed"
        return self.green[tests]

    def _mutated(self, mutant: Mutant, source: Path, tests: list[str]) -> tuple[str, str]:
        text = source.read_text()
        changed = text.replace(mutant.find, mutant.replace)
        compile(changed, str(source), "exec")
        source.write_text(changed)
        try:
            found, words = run_tests(self.copy, tests, self.limit_s)
        finally:
            source.write_text(text)
        return {"passed": "survived", "failed": "killed", "none": "no tests"}[found], words


def preload() -> None:
    """What children share. Whatever is missing is left to the tests, which skip or fail."""
    for name in PRELOADED:
        try:
            importlib.import_module(name)
        except ImportError as error:
            print(f"not loaded beforehand: {error}", file=sys.stderr)
    loaded = [name for name in sys.modules if name.split(".")[0] in ("altgrad", "tests")]
    assert not loaded, f"the children must load these themselves: {loaded}"


def results(mutants: list[Mutant], options: argparse.Namespace) -> Iterator[tuple[Mutant, str]]:
    with tempfile.TemporaryDirectory(prefix="mutation-") as name:
        copy = Path(name)
        copy_of_the_tree(copy)
        checks = not options.trust_tests
        runner = Runner(copy, options.timeout, set(options.without), checks=checks)
        for mutant in mutants:
            began = time.monotonic()
            state, words = runner.state(mutant)
            if options.verbose or state not in ("killed", "equivalent"):
                took = f"{time.monotonic() - began:5.1f} s"
                print(f"{state:10} {took} {mutant.module}: {mutant.idea} [{words}]", flush=True)
            yield mutant, state


def table(found: list[tuple[str, str]]) -> str:
    """Markdown: a line a package, `(package, state)` of every mutant."""
    counts = Counter(found)
    lines = [f"| package | mutants | {' | '.join(STATES)} | noticed |", "| --- " * 9 + "|"]
    packages = sorted({package for package, _ in found})
    for package in [*packages, "all"]:
        row = [sum(counts[r, s] for r in packages if package in (r, "all")) for s in STATES]
        judged = row[0] + row[1]
        share = f"{row[0] / judged:.0%}" if judged else ""
        lines.append(f"| {package} | {sum(row)} | {' | '.join(map(str, row))} | {share} |")
    return "\n".join(lines)


def read_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--packages", default="", help="names of tables, with commas")
    parser.add_argument("--part", default="1/1", help="2/8: the second of eight parts")
    parser.add_argument("--idea", default="", help="regular expression over module and idea")
    parser.add_argument("--tests", nargs="*", default=[], help="run these instead of the table's")
    parser.add_argument("--without", nargs="*", default=[], help="test files to leave out")
    parser.add_argument("--trust-tests", action="store_true", help="they are known to be green")
    parser.add_argument("--timeout", type=float, default=120.0, help="seconds for a mutant")
    parser.add_argument("--again", type=Path, help="only what survived in this file of results")
    parser.add_argument("--json", type=Path, help="add the results to this file")
    parser.add_argument("-v", "--verbose", action="store_true", help="killed ones, too")
    return parser.parse_args()


def chosen(options: argparse.Namespace) -> list[Mutant]:
    mutants = read_table([r for r in options.packages.split(",") if r])
    mutants = [m for m in mutants if re.search(options.idea, f"{m.module} {m.idea}")]
    if options.again:
        before = json.loads(options.again.read_text())
        mutants = [m for m in mutants if before.get(m.name) == "survived"]
    if options.tests:
        mutants = [dataclasses.replace(m, tests=tuple(options.tests)) for m in mutants]
    number, of = map(int, options.part.split("/"))
    return mutants[number - 1 :: of]


def main() -> int:
    options = read_options()
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    mutants = chosen(options)
    preload()
    found = list(results(mutants, options))
    if options.json:
        before = json.loads(options.json.read_text()) if options.json.is_file() else {}
        new = {m.name: state for m, state in found}
        options.json.write_text(json.dumps({**before, **new}, indent=1) + "\n")
    print(table([(m.package, state) for m, state in found]))
    return 0


if __name__ == "__main__":
    sys.exit(main())
