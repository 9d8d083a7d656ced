# Everything here works from a fresh checkout; each target first makes sure that the environment in .venv/ is up to date.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

# The interpreter that the environment is made with; only used once.
PYTHON ?= python3
TORCH := torch==2.13.0
# Optional dependency sets of pyproject.toml other than dev; `make test-all` installs each and runs the tests marked needs_<extra>.
EXTRAS := sb3 arrow mcp tui unity export video sweep ray slurm docs
# More arguments for pytest, e.g. make test PYTEST_ARGS="-k geometry -x"
PYTEST_ARGS ?=
# More arguments for the table, e.g. make results RESULTS_ARGS="--only bc,ppo --seeds 0"
RESULTS_ARGS ?=

VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
# The real ML-Agents, which would replace packages of $(VENV), beside it: what is not there is taken from $(VENV).
MLAGENTS := $(VENV)/mlagents
PIP := $(BIN)/python -m pip --disable-pip-version-check
# pyright would otherwise ask the package index for a newer version of itself.
export PYRIGHT_PYTHON_IGNORE_WARNINGS := 1

# An environment of nothing but the wheel.
WHEEL := $(VENV)/wheel

.PHONY: help install test test-all wheel test-wheel check format demo bench results docs docs-serve pictures clean

help:
	@echo "make demo      sample scenes, two minutes of training, evaluation, report, pictures (under 5 minutes)"
	@echo "make test      the test suite"
	@echo "make test-all  the test suite, then every optional dependency set, the wheel in an environment of its own, and the real ML-Agents, with their tests"
	@echo "make wheel     the package as a wheel under dist/"
	@echo "make check     format, lint, types, layers"
	@echo "make format    rewrite the sources in the project's format"
	@echo "make pictures  the pictures of README and docs/ anew (ten minutes; needs Chromium)"
	@echo "make bench     the benchmark table; JSON under benchmarks/results/"
	@echo "make results   the table of algorithms, cell by cell; JSON under results/ (hours; goes on where it was)"
	@echo "make docs      the documentation as a site, under build/site/; make docs-serve shows it while it is being written"
	@echo "make install   the environment in $(VENV)/ alone (PYTHON=python3.12 chooses the interpreter)"
	@echo "make clean     remove caches and build products; keeps $(VENV)/, datasets/ and experiments/"

install: $(STAMP)

$(BIN)/python:
	@command -v "$(PYTHON)" > /dev/null || { \
	  echo "'$(PYTHON)' was not found; name a Python 3.11 to 3.13, e.g. make install PYTHON=python3.12" >&2; exit 1; }
	@"$(PYTHON)" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' || { \
	  echo "'$(PYTHON)' is $$("$(PYTHON)" --version 2>&1); drivetrain needs Python 3.11 to 3.13, e.g. make install PYTHON=python3.12" >&2; exit 1; }
	"$(PYTHON)" -m venv $(VENV) || { rm -rf $(VENV); exit 1; }

# torch comes first and pinned, so that the resolver does not look for another build of it.
$(STAMP): pyproject.toml | $(BIN)/python
	@echo "Installing drivetrain into $(VENV)/ (about two minutes the first time) ..."
	$(PIP) install $(TORCH)
	$(PIP) install --editable '.[dev]'
	@touch $(STAMP)

test: install
	$(BIN)/python -m pytest $(PYTEST_ARGS)

test-all: test
	@for extra in $(EXTRAS); do \
	  echo "Installing the extra '$$extra' and running its tests ..."; \
	  $(PIP) install $(TORCH) --editable ".[dev,$$extra]"; \
	  DRIVETRAIN_REQUIRE_EXTRA="$$extra" $(BIN)/python -m pytest -m "needs_$$extra" $(PYTEST_ARGS); \
	done
	@$(MAKE) --no-print-directory test-wheel
	@$(BIN)/python -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' || { \
	  echo "The real ML-Agents needs Python 3.11: its tests are left out"; exit 0; }; \
	echo "Installing the real ML-Agents into $(MLAGENTS)/ and running its tests ..."; \
	test -x $(MLAGENTS)/bin/python || $(BIN)/python -m venv $(MLAGENTS) || { rm -rf $(MLAGENTS); exit 1; }; \
	$(BIN)/python -c "import sysconfig; print('import site; site.addsitedir(%r)' % sysconfig.get_path('purelib'))" \
	  > "$$($(MLAGENTS)/bin/python -c "import sysconfig; print(sysconfig.get_path('purelib'))")/beside.pth"; \
	$(MLAGENTS)/bin/python -m drivetrain mlagents install; \
	DRIVETRAIN_REQUIRE_EXTRA=mlagents $(MLAGENTS)/bin/python -m pytest -m needs_mlagents $(PYTEST_ARGS)

wheel: install
	rm -rf dist
	$(PIP) wheel --quiet --no-deps --wheel-dir dist .
	@ls dist

# Made anew each time: what an old one still holds could hide a missing dependency.
test-wheel: wheel
	@echo "Installing the wheel into $(WHEEL)/ and using it in an empty folder ..."
	rm -rf $(WHEEL)
	$(BIN)/python -m venv $(WHEEL)
	$(WHEEL)/bin/python -m pip --disable-pip-version-check install --quiet $(TORCH)
	$(WHEEL)/bin/python -m pip --disable-pip-version-check install --quiet dist/*.whl
	DRIVETRAIN_WHEEL_PYTHON="$(abspath $(WHEEL))/bin/python" $(BIN)/python -m pytest tests/test_installed_package.py $(PYTEST_ARGS)

check: install
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/pyright
	$(BIN)/python -m pytest -q tests/test_layers.py

format: install
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

demo: install
	$(BIN)/python -m drivetrain.interfaces.demo

bench: install
	$(BIN)/python benchmarks/run.py

results: install
	$(BIN)/drivetrain results $(RESULTS_ARGS)

# A site that loads nothing from elsewhere: open build/site/index.html. Every warning is an error.
docs: $(BIN)/mkdocs
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build

docs-serve: $(BIN)/mkdocs
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs serve

pictures: install
	$(PIP) install $(TORCH) --editable '.[dev,tui]'
	$(BIN)/python docs/site/pictures.py

$(BIN)/mkdocs: | install
	$(PIP) install $(TORCH) --editable '.[dev,docs]'

clean:
	rm -rf .pytest_cache .ruff_cache .hypothesis .cache build dist
	find python tests benchmarks -name __pycache__ -type d -prune -exec rm -rf {} +
