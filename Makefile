# Two commands do everything on a machine with Python 3.11+ and make: `make demo` and `make test`.
# Each sets up a virtual environment of its own in .venv, once.

PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
READY  := $(VENV)/.ready

.PHONY: demo test check statistical faults cluster kill mutants clean

demo: $(READY)          ## run the main job: two programs on the embedded LM
	$(BIN)/mipro demo

test: $(READY)          ## run the tests, on two processes
	$(BIN)/python -m pytest -n 2

check: $(READY)         ## format, lint, types
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

statistical: $(READY)   ## the longer tier: distributions, regret, orderings over seeds
	$(BIN)/python -m pytest -m statistical

faults: $(READY)        ## whole runs: every fault of an endpoint, every kind of damage to a file
	$(BIN)/python -m pytest -m faults

cluster: $(READY)       ## evaluation and runs on Dask's scheduler, on this machine
	$(BIN)/python -m pytest -m cluster

kill: $(READY)          ## kill -9 at 200 points of a run, each resumed to the same end (minutes)
	$(BIN)/python -m pytest -m kill -s

mutants: $(READY)       ## 200 small faults put into copies of mipro/tpe: do its tests see them?
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[mutants]'
	$(BIN)/python tests/mutation/mutants.py

$(READY): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	    { echo "mipro needs Python 3.11 or later; say which: make PYTHON=python3.12"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	@touch $@

clean:                  ## remove the virtual environment and what tools left behind
	rm -rf $(VENV) build *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
