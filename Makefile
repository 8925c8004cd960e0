# `make sync` and `make test` set everything up by themselves; a second run starts at once.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

VENV := .venv
BIN := $(VENV)/bin
STAMPS := $(VENV)/stamps
LOCK := requirements/lock.txt
PROTOS := $(wildcard protos/blocksync/v1/*.proto)
GENERATED := protos/blocksync/v1/coordinator_pb2_grpc.py
# Real services and processes; two files at a time, since most of it is waiting.
LIVE_TESTS := tests/integration
# These measure the processor, or what others' programs do, so they share the machine with nothing.
LONE_TESTS := tests/integration/test_api_flood.py tests/interop tests/observing
IGNORE_LIVE := $(LIVE_TESTS:%=--ignore=%)
IGNORE_LONE := $(LONE_TESTS:%=--ignore=%)
BASELINE := protos/baseline.binpb
PYTHON ?=

PIP := $(BIN)/python -m pip --quiet --disable-pip-version-check --no-input
LOCK_OPTIONS := --quiet --extra dev --strip-extras --generate-hashes --allow-unsafe \
	--no-emit-index-url --no-emit-trusted-host --no-emit-find-links --no-header

# The contracts' style, and that clients of the baseline still understand them.
CHECK_CONTRACTS := $(BIN)/buf lint protos && $(BIN)/buf breaking protos --against $(BASELINE)

# A variable set for the caller's Python must not reach ours.
unexport PYTHONPATH PYTHONHOME

.PHONY: help setup sync test test-compose lint format protos baseline rpc-docs dashboards lock wheel bench clean

help: ## this list
	@sed -nE 's/^([a-z-]+):[^#]*## (.*)/  make \1|\2/p' $(MAKEFILE_LIST) | awk -F'|' '{ printf "%-14s %s\n", $$1, $$2 }'

setup: $(STAMPS)/ready ## virtual environment, dependencies, generated gRPC code

sync: $(STAMPS)/ready ## the main job: real mainnet blocks from one stack to another
	@$(BIN)/python -m trisync.cli.demo

test: $(STAMPS)/ready ## lint, formatting, types, and every test
	@echo "lint, formatting and types …"
	@$(BIN)/ruff check --quiet .
	@$(BIN)/ruff format --quiet --check .
	@$(BIN)/mypy
	@$(CHECK_CONTRACTS)
	@echo "tests that open no port, on every processor …"
	@TRISYNC_REQUIRE_INTEROP=0 $(BIN)/python -m pytest tests $(IGNORE_LIVE) $(IGNORE_LONE) -n auto --dist worksteal $(PYTEST_ARGS)
	@echo "tests of live services and processes, two at a time …"
	@TRISYNC_REQUIRE_INTEROP=0 $(BIN)/python -m pytest $(LIVE_TESTS) $(IGNORE_LONE) -n 2 --dist loadfile $(PYTEST_ARGS)
	@echo "tests that want the machine for themselves, and those with other programs …"
	@$(BIN)/python -m pytest $(LONE_TESTS) $(PYTEST_ARGS)

test-compose: $(STAMPS)/ready ## the stack in containers; needs a Docker engine
	@TRISYNC_REQUIRE_INTEROP=0 $(BIN)/python -m pytest tests/compose -m compose $(PYTEST_ARGS)

lint: $(STAMPS)/ready ## lint, formatting and types only
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(CHECK_CONTRACTS)

format: $(STAMPS)/ready ## rewrite the sources in the project's format
	@$(BIN)/ruff check --fix-only --quiet .
	@$(BIN)/ruff format .

protos: $(STAMPS)/dependencies ## generate the gRPC code again
	@$(BIN)/python protos/generate.py

baseline: $(STAMPS)/ready ## accept the contracts as they are: what breaks them from now on is an error
	@$(BIN)/buf build protos --exclude-source-info --output $(BASELINE)

rpc-docs: $(STAMPS)/ready ## write docs/rpc.md anew from the contracts
	@$(BIN)/python -m tools.rpc_docs

dashboards: $(STAMPS)/ready ## write the Grafana dashboards, and the rules for Kubernetes, again
	@$(BIN)/python -m tools.dashboards
	@$(BIN)/python -m tools.kubernetes_rules

lock: $(STAMPS)/python ## pin all dependencies again, with hashes
	@$(PIP) install "pip-tools>=7.4"
	@$(BIN)/python -m piptools compile $(LOCK_OPTIONS) $(LOCK_ARGS) --output-file $(LOCK) pyproject.toml

wheel: $(STAMPS)/ready ## what pip installs, in dist/
	@$(BIN)/python -m hatchling build -t wheel

bench: $(STAMPS)/ready ## measure the sync of the bench chain
	@$(BIN)/python -m bench.sync

clean: ## remove everything that was made
	rm -rf $(VENV) .cache .mypy_cache .pytest_cache .ruff_cache .hypothesis build dist
	rm -f protos/blocksync/v1/*_pb2*.py*
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(STAMPS)/python:
	@python="$$(sh tools/find_python.sh "$(PYTHON)")"; \
	echo "set-up: $(VENV) with $$("$$python" --version)"; \
	"$$python" -m venv $(VENV) || { \
		echo "set-up: $$python cannot make a virtual environment; install its venv package (Debian: python3-venv)" >&2; \
		exit 1; \
	}
	@mkdir -p $(STAMPS)
	@touch $@

$(STAMPS)/dependencies: $(STAMPS)/python $(LOCK) tools/build_ethash.sh
	@sh tools/build_ethash.sh "$(BIN)/python -m pip" $(LOCK)
	@echo "set-up: dependencies from $(LOCK)"
	@$(PIP) install --require-hashes -r $(LOCK)
	@touch $@

$(STAMPS)/project: $(STAMPS)/dependencies pyproject.toml
	@$(PIP) install --no-deps --no-build-isolation --editable .
	@touch $@

$(GENERATED): $(STAMPS)/dependencies $(PROTOS) protos/generate.py
	@echo "set-up: gRPC code from protos/"
	@$(BIN)/python protos/generate.py
	@touch $@

$(STAMPS)/ready: $(STAMPS)/project $(GENERATED)
	@touch $@
