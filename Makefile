# One command per task. `make help` lists them.
# ARGS goes to the program behind the target:  make run ARGS="--nodes 3 --base-port 9000"

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

BIN := .venv/bin
ARGS ?=
SEEDS ?= 100

.PHONY: help setup run compiled test test-compiled check lint sim mutants model demo demo-elastic bench bench-quick bench-growth bench-clients trial-listing trial-expiry fmt clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-13s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: ## install what is missing: system packages, .venv, Python packages (scripts/setup.sh)
	@scripts/setup.sh

run: setup ## set up, then a cluster of five nodes in the foreground; Ctrl-C stops it (ARGS: of `ringkeep up`)
	@$(BIN)/python scripts/compile.py --background
	@PYTHONPATH=$$($(BIN)/python scripts/compile.py --path) \
		exec $(BIN)/python scripts/foreground.py $(BIN)/ringkeep up $(ARGS)

# Two at a time, file by file, as a file's tests share what they start. In the order of the folders: the many
# short files of tests/unit come last, so that neither of the two ends long after the other.
test: setup ## set up, then the import rules and the whole test suite (ARGS: of pytest; -n 0: one by one)
	@$(BIN)/lint-imports --no-logo
	@exec $(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder $(ARGS)

# But for what is marked `plain`: it replaces rules of the core while it runs, or pickles it.
test-compiled: compiled ## the test suite over the compiled core (ARGS: of pytest)
	@export PYTHONPATH=$$($(BIN)/python scripts/compile.py --path); \
	$(BIN)/python -c 'from ringkeep.core import node; assert not node.__file__.endswith(".py"), node.__file__'; \
	exec $(BIN)/python -m pytest -m 'not plain' $(ARGS)

check: setup lint ## format, lint, types, import rules, sizes, unit tests: under a minute
	@exec $(BIN)/python -m pytest -q -n 2 tests/unit $(ARGS)

# The part of `check` that runs nothing of the project. It goes on after a failure, to show all there is.
lint:
	@failed=; \
	for tool in 'ruff format --check .' 'ruff check .' mypy pyright 'lint-imports --no-logo'; do \
		echo "--- $$tool"; $(BIN)/$$tool || failed=yes; \
	done; \
	[[ -z $$failed ]]

sim: setup ## run seeds of the simulated world on all cores (SEEDS=100; ARGS: of `ringkeep simulate`)
	@if (( $(SEEDS) >= 1000 )); then $(BIN)/python scripts/compile.py || echo 'going on with plain Python'; fi
	@PYTHONPATH=$$($(BIN)/python scripts/compile.py --path) exec $(BIN)/ringkeep simulate --seeds $(SEEDS) $(ARGS)

mutants: setup ## break every rule on purpose, and see the simulator catch each (half an hour)
	@ALL_MUTANTS=yes exec $(BIN)/python -m pytest -n 2 -rA tests/sim/test_mutants.py $(ARGS)

model: setup ## explore the heart of the protocol exhaustively, within small bounds (ARGS: of the model)
	@exec $(BIN)/python -m ringkeep.sim.model $(ARGS)

demo: setup ## a short tour: write, kill a node, read, watch it heal
	@exec $(BIN)/python scripts/foreground.py $(BIN)/python bench/demo.py $(ARGS)

demo-elastic: setup ## grow and shrink a cluster under load, lose a node, and count what moves (ARGS="--small")
	@exec $(BIN)/python scripts/foreground.py $(BIN)/python bench/demo_elastic.py $(ARGS)

bench: ## measure beside etcd, ZooKeeper and Redis: ten minutes (ARGS: of bench/peers.py)
	@scripts/setup.sh --bench
	@$(BIN)/python scripts/compile.py || echo 'going on with plain Python'
	@PYTHONPATH=$$($(BIN)/python scripts/compile.py --path) exec $(BIN)/python bench/peers.py $(ARGS)

bench-quick: ## measure against etcd on this machine in under two minutes (ARGS: of bench/quick.py)
	@scripts/setup.sh --bench
	@$(BIN)/python scripts/compile.py || echo 'going on with plain Python'
	@PYTHONPATH=$$($(BIN)/python scripts/compile.py --path) exec $(BIN)/python bench/quick.py $(ARGS)

bench-growth: compiled ## measure what happens as keys, values, partitions, nodes, connections grow (ARGS: of bench/growth.py)
	@PYTHONPATH=$$($(BIN)/python scripts/compile.py --path) exec $(BIN)/python bench/growth.py $(ARGS)

bench-clients: ## measure what a call costs in Python, in clients and servers: four minutes (ARGS: of bench/clients.py)
	@scripts/setup.sh --bench
	@$(BIN)/python scripts/compile.py || echo 'going on with plain Python'
	@PYTHONPATH=$$($(BIN)/python scripts/compile.py --path) exec $(BIN)/python bench/clients.py $(ARGS)

trial-listing: compiled ## list a million keys while nodes die, join and leave: minutes (ARGS: of bench/trials/listing.py)
	@export PYTHONPATH=$$($(BIN)/python scripts/compile.py --path); cd bench && exec ../$(BIN)/python -m trials.listing $(ARGS)

trial-expiry: compiled ## let a million keys expire at once beside clients: minutes (ARGS: of bench/trials/expiry.py; --one)
	@export PYTHONPATH=$$($(BIN)/python scripts/compile.py --path); cd bench && exec ../$(BIN)/python -m trials.expiry $(ARGS)

compiled: ## compile the hot parts with mypyc (one to two minutes), and install a C compiler for it; `make run` uses them
	@scripts/setup.sh --compile
	@$(BIN)/python scripts/compile.py

fmt: setup ## put the code in its format, and fix what lint can fix
	@$(BIN)/ruff check --fix-only --quiet .
	@$(BIN)/ruff format .

clean: ## remove what tools and builds left behind; .venv and ringkeep-data stay
	@rm -rf .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis .coverage .coverage.* htmlcov build dist
	@find src tests bench scripts -name __pycache__ -type d -prune -exec rm -rf {} +
