"""Code from outside, `package.module:name`: found without running it, its whole source, loaded.

It is found where Python would find it, the working directory first, by looking at the disk alone:
asking what a name would run must not run it. Its source is the file, the `__init__` of every
package around it, and everything that these import, as far as it lies outside Python's library,
site-packages and altgrad. Imports are read from the syntax tree, those inside functions too; one
whose name is put together at run time is not seen, nor are data files.
"""

import ast
import hashlib
import importlib
import os
import platform
import sys
import sysconfig
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from importlib import machinery, metadata
from pathlib import Path
from typing import Any

from altgrad import trust
from altgrad.settings import check_name, closest

SUFFIXES = [
    *machinery.EXTENSION_SUFFIXES,
    *machinery.SOURCE_SUFFIXES,
    *machinery.BYTECODE_SUFFIXES,
]
INSTALLED = {"site-packages", "dist-packages"}
OWN = Path(__file__).resolve().parent


@dataclass(frozen=True)
class Module:
    """path: None for one built into Python, and for a package without `__init__`. folders: of a
    package, where its modules lie."""

    name: str
    path: Path | None
    folders: tuple[str, ...] = ()

    @property
    def is_outside(self) -> bool:
        """Whether it is anybody's own: neither Python's, nor installed, nor altgrad's."""
        places = [self.path] if self.path else [Path(folder) for folder in self.folders]
        if not places:
            return False
        path = places[0].resolve()
        library = Path(sysconfig.get_path("stdlib")).resolve()
        return not (INSTALLED & set(path.parts) or {library, OWN} & set(path.parents))

    @property
    def root(self) -> str:
        """The folder that Python's search path leads to it by."""
        if self.path is None:
            return "Python"
        parents = self.path.resolve().parents
        return str(parents[min(self.name.count(".") + bool(self.folders), len(parents) - 1)])

    @property
    def file(self) -> str:
        """`package/module.py`: its place below its root."""
        assert self.path is not None
        packages = self.name.split(".")[: None if self.folders else -1]
        return "/".join([*packages, self.path.name])


@dataclass(frozen=True)
class Source:
    """What a name stands for. modules: all of it that is outside, by name."""

    target: str
    module: Module
    modules: dict[str, Module]

    @cached_property
    def files(self) -> dict[str, bytes]:
        """`package/module.py` -> content."""
        found = (self.modules[name] for name in sorted(self.modules))
        return {m.file: _whole(m.path).read_bytes() for m in found if m.path is not None}

    @property
    def version(self) -> str:
        """Hash of all its files; of what is installed, the package's version."""
        return digest(self.files) if self.files else _installed_version(self.module)

    @property
    def folders(self) -> set[str]:
        return {m.root for m in [self.module, *self.modules.values()]}


def digest(files: dict[str, bytes]) -> str:
    """One hash, 16 characters, of names and contents."""
    made = hashlib.sha256()
    for name, content in sorted(files.items()):
        made.update(f"{name}\0{len(content)}\0".encode() + content)
    return made.hexdigest()[:16]


def load_outside(target: str, *, setting: str) -> Any:
    """The object behind `package.module:name`. `setting` is the full name, for the message.

    Raises:
        ValueError: in one line: no such module or name, the module cannot be imported, or a file
            named it and the person never did (`trust.py`).
    """
    source = accept(target, setting=setting)
    attribute = target.partition(":")[2]
    module = _import(source, f"{setting}={target}")
    if hasattr(module, attribute):
        return getattr(module, attribute)
    public = [n for n in vars(module) if not n.startswith("_")]
    near = closest(attribute, public)
    hint = f"; did you mean {near!r}?" if near else ""
    raise ValueError(f"{setting}={target}: {_shown(source.module)} has no {attribute!r}{hint}")


def lookup(table: Mapping[str, Any], name: str, setting: str) -> Any:
    """`table[name]`, or the object that `package.module:thing` names.

    Raises:
        ValueError: the name is unknown (with the nearest match), or as `load_outside` does.
    """
    if ":" in name:
        return load_outside(name, setting=setting)
    check_name(setting, name, sorted(table))
    return table[name]


def load_own(target: str) -> Any:
    """The same for the entries of altgrad's own tables."""
    module, _, attribute = target.partition(":")
    return getattr(importlib.import_module(module), attribute)


def accept(target: str, *, setting: str) -> Source:
    """What `load_outside` would load, found and allowed, but not run. Raises as it does."""
    source = source_of(target, setting=setting)
    shown = _shown(source.module)
    trust.require(target, setting=setting, folders=source.folders, runs=shown)
    return source


def source_of(target: str, *, setting: str = "code") -> Source:
    """Everything that makes up `package.module:name`; nothing of it is run.

    Raises:
        ValueError: it is not such a name, or there is no such module.
    """
    if not trust.NAME.fullmatch(target):
        raise ValueError(f"{setting}={target}: code of your own is written package.module:Class")
    name = target.partition(":")[0]
    folders = _search_path(name)
    module = _find(name, folders)
    if module is None or (module.path is None and module.folders):
        raise ValueError(
            f"{setting}={target}: no module {name!r} in {os.getcwd()} or on the Python path"
        )
    return Source(target, module, _closure(module, folders))


# -- finding --------------------------------------------------------------------------------------


def _search_path(name: str) -> list[str]:
    """The working directory comes in only where the module lies in it: a folder that somebody sent
    must not lend its files to code that lies elsewhere."""
    here = os.getcwd()
    path = [os.path.abspath(folder) for folder in sys.path]
    return [here, *path] if _look(name.partition(".")[0], [here]) else path


def _find(name: str, folders: Sequence[str]) -> Module | None:
    if name == "__main__":
        return _loaded(name)
    top, *rest = name.split(".")
    if machinery.BuiltinImporter.find_spec(top) or machinery.FrozenImporter.find_spec(top):
        return None if rest else Module(name, None)
    found = _look(top, folders) or _offered(top)
    for tail in rest:
        found = _look(tail, found.folders) if found else None
    return replace(found, name=name) if found else _loaded(name)


def _look(tail: str, folders: Sequence[str]) -> Module | None:
    """As Python's own finder looks through folders, in its order."""
    portions = []
    for folder in folders:
        place = os.path.join(folder, tail)
        is_package = os.path.isdir(place)
        inits = [os.path.join(place, f"__init__{s}") for s in SUFFIXES] if is_package else []
        for file in [*inits, *(place + suffix for suffix in SUFFIXES)]:
            if os.path.isfile(file):
                return Module(tail, Path(file), (place,) if file in inits else ())
        portions += [place] if is_package else []
    return Module(tail, None, tuple(portions)) if portions else None


def _offered(top: str) -> Module | None:
    """By the hooks of editable installs, and by zip files on the path."""
    finders = (finder for finder in sys.meta_path if hasattr(finder, "find_spec"))
    for finder in finders:
        spec = finder.find_spec(top, None)
        if spec is not None and spec.has_location and spec.origin:
            return Module(top, Path(spec.origin), tuple(spec.submodule_search_locations or ()))
    return None


def _loaded(name: str) -> Module | None:
    """What the person's program has imported by ways of its own, or is: `__main__`."""
    module = sys.modules.get(name)
    file = getattr(module, "__file__", None)
    return Module(name, Path(file), tuple(getattr(module, "__path__", ()))) if file else None


def _whole(path: Path) -> Path:
    """The file itself, or the zip file that holds it."""
    return next((p for p in (path, *path.parents) if p.is_file()), path)


# -- what belongs to it ---------------------------------------------------------------------------


def _closure(module: Module, folders: Sequence[str]) -> dict[str, Module]:
    found: dict[str, Module] = {}
    waiting, seen = _prefixes(module.name), set[str]()
    while waiting:
        name = waiting.pop()
        if name in seen:
            continue
        seen.add(name)
        if name.endswith(".*"):
            waiting += _submodules(_find(name[:-2], folders))
            continue
        part = module if name == module.name else _find(name, folders)
        if part is not None and part.path is not None and part.is_outside:
            found[name] = part
            waiting += [p for n in _imports_of(part, part.path) for p in _prefixes(n)]
    return found


def _prefixes(name: str) -> list[str]:
    """`a.b.c` imports `a` and `a.b` as well."""
    parts = name.split(".")
    return [".".join(parts[: i + 1]) for i in range(len(parts))]


def _submodules(package: Module | None) -> list[str]:
    if package is None or not package.is_outside:
        return []
    files = (path for folder in package.folders for path in Path(folder).glob("*.py"))
    return [f"{package.name}.{path.stem}" for path in files]


def _imports_of(module: Module, path: Path) -> list[str]:
    package = module.name.split(".")[: None if module.folders else -1]
    return _imports(_whole(path).read_bytes(), tuple(package)) if path.suffix == ".py" else []


@lru_cache(maxsize=256)
def _imports(content: bytes, package: tuple[str, ...]) -> list[str]:
    """Full names of what a module of `package` imports; `base.*` for all that a package holds."""
    try:
        tree = ast.parse(content)
    except (SyntaxError, ValueError, RecursionError):
        return []  # its import will say so
    names = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = _absolute(package, node.level, node.module or "")
            names += [f"{base}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Call) and (name := _asked_by(node)):
            level = len(name) - len(name.lstrip("."))
            names.append(_absolute(package, level, name.lstrip(".")))
    return [name for name in names if all(name.split("."))]


def _absolute(package: tuple[str, ...], level: int, name: str) -> str:
    base = package[: len(package) - level + 1] if level else ()
    return ".".join([*base, *([name] if name else [])])


def _asked_by(call: ast.Call) -> str:
    """The name in `import_module("name")` or `__import__("name")`."""
    asks = getattr(call.func, "attr", getattr(call.func, "id", ""))
    name = getattr(call.args[0], "value", None) if call.args else None
    known = asks in ("import_module", "__import__")
    return name if known and isinstance(name, str) else ""


def _installed_version(module: Module) -> str:
    top = module.name.partition(".")[0]
    if module.path is None or not INSTALLED & set(module.path.resolve().parts):
        return f"Python {platform.python_version()}"
    names = metadata.packages_distributions().get(top, [])
    versions = [f"{name} {metadata.version(name)}" for name in sorted(set(names))]
    return ", ".join(versions) or digest({module.file: _whole(module.path).read_bytes()})


# -- loading --------------------------------------------------------------------------------------

_first: dict[str, tuple[Any, str]] = {}
"""Module -> how it was imported, and the hash of its source then."""


def _import(source: Source, where: str) -> Any:
    name = source.module.name
    _see(source.module.root)
    try:
        module = importlib.import_module(name)
    except (Exception, SystemExit) as error:
        raise ValueError(
            f"{where}: {_shown(source.module)} cannot be imported: "
            f"{type(error).__name__}: {error}{_place(error)}"
        ) from error
    _refuse_another(source, module, where)
    return module


def _see(root: str) -> None:
    """Make importable what was found in the working directory."""
    importlib.invalidate_caches()
    if root == os.path.realpath(os.getcwd()) and os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())


def _refuse_another(source: Source, module: Any, where: str) -> None:
    """Python keeps what it has imported: never run other code than was found and hashed."""
    file, name = getattr(module, "__file__", None), source.module.name
    if file and source.module.path and Path(file).resolve() != source.module.path.resolve():
        raise ValueError(
            f"{where}: this is {source.module.path}, but Python has already imported {name} from "
            f"{file}; give the module another name, or restart Python"
        )
    spec, version = getattr(module, "__spec__", None), source.version
    then = _first.setdefault(name, (spec, version))
    if then[0] is spec and then[1] != version:
        raise ValueError(
            f"{where}: {file} or what it imports was edited since Python imported it; restart "
            "Python, or importlib.reload it"
        )
    _first[name] = (spec, version)


def _shown(module: Module) -> str:
    return str(module.path or f"Python's own module {module.name}")


def _place(error: BaseException) -> str:
    """` (mine.py, line 3)`: where in somebody's code it broke."""
    trace, place = error.__traceback__, ""
    while trace is not None:
        file = Path(trace.tb_frame.f_code.co_filename)
        if Module("", file).is_outside and file.is_file():
            place = f" ({file.name}, line {trace.tb_lineno})"
        trace = trace.tb_next
    return place
