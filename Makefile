# Two commands do everything on a fresh machine: `make train` and `make test`.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
TORCH := torch==2.13.0

.PHONY: train test test-slow lint types setup clean

train: setup
	$(BIN)/altgrad train

test: $(VENV)/.dev-installed
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -n 2

test-slow: $(VENV)/.dev-installed
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -n 2 -m slow

lint: $(VENV)/.dev-installed
	$(BIN)/ruff check . && $(BIN)/ruff format --check .

types: $(VENV)/.dev-installed
	$(BIN)/mypy

setup: $(VENV)/.installed

# torch first and pinned, so that no dependency brings another build of it along.
$(VENV)/.installed: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; sys.exit(0 if (3, 11) <= v <= (3, 13) else "altgrad needs Python 3.11 to 3.13, this is %d.%d; try: make PYTHON=python3.11 $(MAKECMDGOALS)" % v)'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(PIP) install -q $(TORCH) -c constraints.txt
	# What torch's compiler makes once a machine, on the other core meanwhile.
	$(BIN)/python -P altgrad/compiler.py >/dev/null 2>&1 & $(PIP) install -q -c constraints.txt -e .
	touch $@

$(VENV)/.dev-installed: $(VENV)/.installed
	$(PIP) install -q -c constraints.txt -e '.[dev]'
	# An oracle of tests/optim. Alone: it would bring torchvision and seaborn, which nothing here uses.
	$(PIP) install -q --no-deps mup==1.0.0
	touch $@

clean:
	rm -rf $(VENV)
