# What a person types. `make help` lists it.

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
SHELL := /bin/sh

VENV := .venv
BIN := $(VENV)/bin
ARGS ?=

# The first Python that is new enough; PYTHON=... names another.
PYTHON ?= $(shell for name in python3 python3.13 python3.12 python3.11 python3.14; do \
	$$name -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$name && break; done)

# --no-deps: the lock is complete, and leaves out on purpose what some packages only claim to need (see
# requirements/*overrides.txt). --no-compile: Python compiles the few modules that are used, at their first import.
INSTALL := $(BIN)/python -m pip install --disable-pip-version-check --no-input --no-deps --no-compile

.PHONY: help setup demo dev test faults soak check format lock bench clean
help: ## list these commands
	@awk -F ':.*## ' '/^[a-z]+:.*## /{printf "  make %-8s %s\n", $$1, $$2}' Makefile

setup: $(VENV)/ready ## virtual environment from a hashed lock in .venv, model pack prepared

demo: setup ## the whole system on sample photos; ARGS=--exit ends after the result
	@$(BIN)/facepass demo $(ARGS)

dev: setup ## everything with embedded parts in the foreground; ARGS="--port 8000 --photos DIR"
	@$(BIN)/facepass dev $(ARGS)

test: $(VENV)/ready-dev ## all tests, with line and branch coverage; ARGS="-k name" for some of them
	@rm -f .coverage .coverage.*
	$(BIN)/coverage run -m pytest -n 2 --dist loadfile $(ARGS)
	@$(BIN)/coverage combine --quiet
	@$(BIN)/coverage report $(if $(ARGS),--fail-under=0)
	@$(BIN)/coverage json --quiet --fail-under=0 -o .coverage.json
	@$(BIN)/python -c 'import json, sys; t = json.load(open(".coverage.json"))["totals"]; \
		shares = t["percent_statements_covered"], t["percent_branches_covered"]; \
		print("lines %.1f %%, branches %.1f %%, each at least 80 %%" % shares); \
		sys.exit(min(shares) < $(if $(ARGS),0,80))'

# Its test files are named so that plain pytest leaves them alone; all that is random comes from the seed.
FAULTS = seed=$${FACEPASS_FAULT_SEED:-$$(od -An -N4 -tu4 /dev/urandom | tr -d ' ')}; \
	echo "FACEPASS_FAULT_SEED=$$seed makes the same run again"; \
	FACEPASS_FAULT_SEED=$$seed FACEPASS_STATEFUL_EXAMPLES=100 $(BIN)/python -m pytest --hypothesis-seed=$$seed \
	-v -o python_files='fault_*.py test_stateful_model.py'

faults: $(VENV)/ready-dev ## kills, outages, floods of duplicates: nothing is lost; FACEPASS_FAULT_SEED=... repeats a run
	@$(FAULTS) -n 2 --dist loadfile --no-loadscope-reorder tests/storage/shards/test_stateful_model.py tests/faults $(ARGS)

soak: $(VENV)/ready-dev ## thirty minutes of sessions created, searched and deleted
	@FACEPASS_SOAK_SECONDS=1800; export FACEPASS_SOAK_SECONDS; $(FAULTS) tests/faults/fault_14_churn.py $(ARGS)

check: $(VENV)/ready-dev ## ruff, mypy strict, import-linter, .env.example and locks up to date
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m pytest -q tests/project/test_packaging.py

format: $(VENV)/ready-dev ## ruff's formatting and its safe mendings
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(VENV)/ready-bench ## speed beside the bare libraries; ARGS=--json
	@$(BIN)/facepass bench $(ARGS)

COMPILE := $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-annotate --no-header

# Each lock holds to the versions of the one before it.
lock: $(VENV)/ready-dev ## compile requirements/*.lock from pyproject.toml; ARGS=--upgrade for newer versions
	$(COMPILE) $(ARGS) pyproject.toml --override requirements/overrides.txt -o requirements/production.lock
	$(COMPILE) $(ARGS) pyproject.toml --extra local --group build --override requirements/overrides.txt \
		--override requirements/demo-overrides.txt -c requirements/production.lock -o requirements/runtime.lock
	$(COMPILE) $(ARGS) pyproject.toml --extra local --group build --group bench \
		--override requirements/overrides.txt -c requirements/runtime.lock -o requirements/bench.lock
	$(COMPILE) $(ARGS) pyproject.toml --extra local --group dev --override requirements/overrides.txt \
		-c requirements/bench.lock -o requirements/dev.lock

clean: ## remove .venv and what tools leave behind
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis .coverage .coverage.*

$(VENV)/created:
	@test -n "$(PYTHON)" || { \
		echo "FacePass needs Python 3.11 or newer; there is $$(python3 --version 2>&1 || echo none)." \
			"Install one, or name it: make setup PYTHON=/path/to/python3.11"; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
		echo "FacePass needs Python 3.11 or newer, not $$($(PYTHON) --version 2>&1)."; exit 1; }
	@$(PYTHON) -c 'import venv, ensurepip' 2>/dev/null || { \
		echo "$(PYTHON) cannot make virtual environments: install its venv module" \
			"(Debian, Ubuntu: apt-get install python3-venv)."; exit 1; }
	@echo "==> virtual environment in $(VENV), with $$($(PYTHON) --version)"
	@$(PYTHON) -m venv $(VENV)
	@touch $@

$(VENV)/ready: $(VENV)/created requirements/runtime.lock pyproject.toml
	@echo "==> packages from requirements/runtime.lock (about 350 MB to download, 0.9 GB installed)"
	@$(INSTALL) --require-hashes -r requirements/runtime.lock
	@$(INSTALL) --quiet --no-build-isolation -e .
	@echo "==> model pack"
	@$(BIN)/facepass prepare
	@touch $@

$(VENV)/ready-dev: $(VENV)/ready requirements/dev.lock
	@echo "==> tools for tests and development from requirements/dev.lock"
	@$(INSTALL) --quiet --require-hashes -r requirements/dev.lock
	@touch $@

$(VENV)/ready-bench: $(VENV)/ready requirements/bench.lock
	@echo "==> what the loop that peers run imports, from requirements/bench.lock"
	@$(INSTALL) --quiet --require-hashes -r requirements/bench.lock
	@touch $@
