"""On PYTHONPATH: an environment without any of the extras, as `make setup` leaves it.

ALTGRAD_WITHOUT: the modules that cannot be found, with commas.
"""

import importlib.metadata
import importlib.util
import os
import sys

ABSENT = set(os.environ.get("ALTGRAD_WITHOUT", "").split(",")) - {""}


class Absent:
    """Finds nothing of what is absent, and keeps others from finding it."""

    @staticmethod
    def find_spec(name, path=None, target=None):
        if name.partition(".")[0] in ABSENT:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)


def find_spec(name, package=None, real=importlib.util.find_spec):
    return None if name.partition(".")[0] in ABSENT else real(name, package)


def distribution(name, real=importlib.metadata.distribution):
    if name.lower().replace("-", "_") in ABSENT:
        raise importlib.metadata.PackageNotFoundError(name)
    return real(name)


if ABSENT:
    sys.meta_path.insert(0, Absent)
    importlib.util.find_spec = find_spec
    importlib.metadata.distribution = distribution
