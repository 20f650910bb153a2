# What each target does is in its ## comment; `make` lists them.
SHELL := bash
.SHELLFLAGS := -eu -o pipefail -c
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
T ?= tests

.PHONY: help demo run test interop docs simulate soak fuzz bench check lint format types layers man clean

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: $(VENV)/ready ## two nodes, real calls, one node killed, the bill written
	$(BIN)/python -m tools.demo

run: $(VENV)/ready ## the same pair, kept up until Ctrl-C
	$(BIN)/python -m tools.run

test: $(VENV)/ready ## the whole suite under trial (T=tests.sip for a part)
	$(BIN)/python -m tools.run_tests $(T)

interop: $(VENV)/ready ## lines that are cut between nodes (as root), and clients that we did not write: sipp, sipsak, baresip, linphone, SIPVicious; promtool, fail2ban, schemathesis
	$(BIN)/python -m pip install --quiet 'sipvicious>=0.3.4' 'schemathesis>=4.0'
	$(BIN)/python -m tools.interop

docs: $(VENV)/ready ## the documentation as a site, in build/docs
	$(BIN)/python -m pip install --quiet --editable '.[docs]'
	$(BIN)/python -m sphinx -q -n -W --keep-going -b html docs build/docs

simulate: $(VENV)/ready ## the simulator of replication for a while (MINUTES=10, SEED=n to repeat)
	MINUTES=$(or $(MINUTES),10) $(BIN)/python -m tests.simulation.run

soak: $(VENV)/ready ## long runs: the simulator, calls over a lossy network (MINUTES=5 each), 20 kills under load
	MINUTES=$(or $(MINUTES),5) $(BIN)/python -m tests.simulation.run
	$(BIN)/python -m tools.soak --minutes $(or $(MINUTES),5)
	$(BIN)/python -m tools.kill

fuzz: $(VENV)/ready ## coverage-guided fuzzing of what strangers send (SECONDS=60)
	$(BIN)/python -m pip install --quiet 'atheris>=2.3'
	$(BIN)/python -m fuzz.run --seconds $(or $(SECONDS),60)

bench: $(VENV)/ready ## the benchmarks (BENCH=parse for one)
	$(BIN)/python -m tools.run_bench $(BENCH)

check: lint types layers test ## all that a submission needs

lint: $(VENV)/ready ## ruff: style and formatting
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

format: $(VENV)/ready ## put the code into shape
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

types: $(VENV)/ready ## mypy --strict
	$(BIN)/mypy sipxha tests tools bench fuzz

layers: $(VENV)/ready ## arrows point down
	$(BIN)/lint-imports

man: $(VENV)/ready ## man pages of the sipxha command, in build/man
	$(BIN)/python -m tools.man build/man

clean: ## remove what the targets made
	rm -rf $(VENV) build *.egg-info .mypy_cache .ruff_cache .hypothesis .import_linter_cache _trial_temp*

# Editable, with the plugin visible from every folder.
$(VENV)/ready: setup.cfg pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null \
	  || { echo "sipxha needs Python 3.11 or newer (Debian: apt install python3-venv make)"; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null \
	  || { echo "Python's venv is missing (Debian: apt install python3-venv)"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --editable '.[dev]'
	@touch $@
