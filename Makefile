# Everything a person or a CI does with a clone. `make` alone lists it. Needs: git, make, Python 3.11 or later.
# Set-up happens by itself, once: .venv/.ready is older than the lock files only when they have changed.

SHELL := /bin/bash
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
MAKEFLAGS += --no-print-directory

# The first of these that is new enough. Name another with `make PYTHON=/path/to/python3`.
PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11; do \
	"$$p" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1 && { echo "$$p"; exit; }; done; echo python3)
BIN := .venv/bin
READY := .venv/.ready

# Options for `inventorybot up`, e.g. make run UP="--port 9000 --data /srv/inventory"; for pytest, e.g. make test T="-k ledger".
UP ?=
T ?=

.PHONY: help setup run test check sabotage quick fix bench train-count clean

help: ## list the commands
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(READY) ## all the set-up: .venv, packages, jars (a second time: nothing)

$(READY): requirements.lock pyproject.toml services/local/uv.lock services/local/jars.lock
	@$(PYTHON) -m services.local.setup
	@touch $@

run: $(READY) ## set up, start everything, play a warehouse day, keep running (UP="--port 9000 …")
	@exec $(BIN)/inventorybot up $(UP)

test: quick ## set up, then every check and every test (T="-k ledger" for some)
	@$(BIN)/lint-imports
	@exec $(BIN)/python -m pytest $(T)

check: test ## the same

sabotage: $(READY) ## show that the crash test can fail: take out each guard of the ledger (15 minutes)
	@exec $(BIN)/python -m pytest -m sabotage -s tests/e2e/test_sabotage.py

quick: $(READY) ## the part of `test` that takes seconds: ruff and mypy (also a pre-commit hook)
	@$(BIN)/ruff check
	@$(BIN)/ruff format --check
	@$(BIN)/mypy

fix: $(READY) ## let ruff repair what it can
	@$(BIN)/ruff check --fix-only
	@$(BIN)/ruff format

bench: $(READY) ## measure the ledger, the count model and memory on this machine (B=planning, B="batch --series 1000", B=--help …)
	@exec $(BIN)/python -m benchmarks $(B)

train-count: $(READY) ## train the count model anew: TRAIN="--bins BINS.zip" (an hour on two cores)
	@exec $(BIN)/inventorybot train count --members 2 --out runs/count --resume $(TRAIN)

clean: ## remove what building and testing left (not .venv, not .data)
	@rm -rf build dist ./*.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis .import_linter_cache
	@find . -name __pycache__ -type d -not -path './.venv/*' -prune -exec rm -rf {} +
