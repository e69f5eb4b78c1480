# The two commands of the README are `make run` and `make test`. Everything that they need is installed into
# .venv the first time; a stamp there keeps later calls from installing anything, so that they work offline.
#
#   PYTHON=python3.12 make test      another interpreter (3.11 or newer)
#   make run ONCE=1                  stops after the first message
#   make test ARGS="-k starttls"     arguments for pytest

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
ARGS ?=
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check
DESCRIBED := setup.cfg pyproject.toml
# Every daemon that a test starts would compile the whole package anew.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help run test lint docs wheel guards options crash peers fuzz bench clean
.DELETE_ON_ERROR:
.NOTPARALLEL:

help:
	@sed -n 's/^## //p' $(MAKEFILE_LIST)

## make run      a relay and a laptop under ./run, a first message between them, then serves (ONCE=1: ends)
run: $(VENV)/.relay
	$(BIN)/relay demo --dir ./run $(if $(filter 1 yes true,$(ONCE)),--once)

## make test     every test
test: $(VENV)/.test
	$(BIN)/python -m pytest $(ARGS)

## make lint     ruff and mypy --strict
lint: $(VENV)/.lint
	$(BIN)/ruff check .
	$(BIN)/mypy

## make docs     the documentation as HTML, in docs/_build
docs: $(VENV)/.docs
	$(BIN)/sphinx-build -W --keep-going -q -b html docs docs/_build/html

## make wheel    the package, in dist
wheel: $(VENV)/.test
	rm -rf build dist
	$(BIN)/python -m build --wheel --outdir dist .

## make guards   takes out each guard of tests/guards.toml; its test must notice
guards: $(VENV)/.test
	$(BIN)/python tests/play_guards.py $(ARGS)

## make options  ignores each TLS option of the configuration; its test must notice
options: $(VENV)/.test
	$(BIN)/python tests/play_options.py $(ARGS)

## make crash    kills daemons under load: ROUNDS=200 for each of several cases
crash: $(VENV)/.test
	RELAY_KILLS=$(or $(ROUNDS),200) $(BIN)/python -m pytest -q -s tests/system/test_killed.py

## make peers    real Exim and Postfix for the interop tests (Debian, root)
peers:
	tests/interop/install-peers

## make fuzz     a lot of noise for every parser and machine (SECONDS=60 for each)
fuzz: $(VENV)/.test
	RELAY_FUZZ=$(or $(EXAMPLES),20000) $(BIN)/python -m pytest -q tests/fuzz tests/esmtp/test_server_model.py
	@$(PIP) atheris || echo "fuzz: atheris does not install here"
	$(BIN)/python tests/fuzz/drive.py --seconds $(or $(SECONDS),60) $(ARGS)

## make bench    the benchmarks
bench: $(VENV)/.test
	@test -e bench/__main__.py || { echo "bench: there are no benchmarks yet" >&2; exit 1; }
	$(BIN)/python -m bench $(ARGS)

## make clean    removes what the others made, but not .venv
clean:
	rm -rf run build dist docs/_build .mypy_cache .ruff_cache .pytest_cache .hypothesis .coverage htmlcov tests/fuzz/found *.egg-info
	find . -name __pycache__ -not -path './$(VENV)/*' -prune -exec rm -rf {} +

$(VENV)/.made:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || \
	    { echo "$(PYTHON) is missing or older than Python 3.11; try: make $(MAKECMDGOALS) PYTHON=python3.11" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || \
	    { echo "$(PYTHON) cannot make virtual environments; on Debian: apt-get install python3-venv" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	@touch $@

$(VENV)/.relay: $(VENV)/.made $(DESCRIBED)
	$(PIP) --editable .
	@touch $@

# One stamp for each extra: whoever only runs the relay does not wait for the tools of those who write it.
$(VENV)/.test $(VENV)/.lint $(VENV)/.docs: $(VENV)/.%: $(VENV)/.made $(DESCRIBED)
	$(PIP) --editable '.[$*]'
	@touch $@ $(VENV)/.relay
