# Everything here makes the environment first if it is missing. PYTHON chooses the interpreter.
PYTHON ?= python3
BIN := .venv/bin
READY := .venv/.ready
DEMO := runs/demo
# fasterai has an environment of its own.
PEERS := .venv-peers
# A folder of the original Pets images for `make bench`, as --data-dir wants it; the embedded data set without.
DATA ?=

.PHONY: help setup demo check-verdict test test-slow test-chaos test-ray test-peers test-browser smoke bench lint format schema docs clean

help:  ## Show the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-12s %s\n", $$1, $$2 }' Makefile

setup: $(READY)  ## Make the environment .venv

$(READY): pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --editable '.[dev]'
	@touch $@

demo: $(READY)  ## The tutorial's claims and the experiments on the embedded data set, and a small comparison
	$(BIN)/lthrun reproduce fasterai-tutorial --config configs/smoke/tutorial.yaml --seeds 3 --out $(DEMO)
	$(BIN)/lthrun baseline --config configs/smoke/baseline.yaml --out $(DEMO)
	$(BIN)/lthrun ticket --config configs/smoke/ticket.yaml --out $(DEMO)
	$(BIN)/lthrun ticket --config configs/smoke/rewind.yaml --out $(DEMO)
	$(BIN)/lthrun supermask --config configs/smoke/supermask.yaml --out $(DEMO)
	$(BIN)/lthrun compare --config configs/smoke/compare.yaml --out $(DEMO)
	$(BIN)/lthrun runs --out $(DEMO)

# A process per core, each with one thread: the networks of the tests are too small for more.
test: $(READY)  ## The tests
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --dist worksteal

test-peers: $(PEERS)/.ready  ## The masks beside those of fasterai 0.4.1, in an environment that has it
	$(PEERS)/bin/python -m pytest -m peers

test-slow: $(READY)  ## The tests that take minutes and gigabytes: every model through the command line
	$(BIN)/python -m pytest -m slow

test-chaos: $(READY)  ## A run killed a hundred times at random moments, and resumed each time: minutes
	$(BIN)/python -m pytest -m chaos

test-ray: $(READY)  ## A comparison on a Ray cluster of this machine, a worker of which is killed: a minute
	$(BIN)/python -m pytest -m ray

test-browser: $(READY)  ## report.html in a real browser: Debian's chromium, or CHROMIUM=PATH
	$(BIN)/python -m pytest -m browser

smoke: $(READY)  ## Every command once, through the installed lthrun
	tests/smoke.sh $(BIN)/lthrun

check-verdict: $(READY)  ## Error rates and power of the verdict in simulated studies: minutes
	$(BIN)/python -m tests.analysis.check_verdict

bench: $(READY)  ## lthrun beside the floor, plain PyTorch and fasterai; DATA=DIR for your copy of Pets
	-@$(MAKE) --no-print-directory $(PEERS)/.ready
	$(BIN)/lthrun bench --overhead --set data.dataset=synthetic --set data.image_size=16 \
	  --set training.batch_size=480 --set training.epochs=3
	$(BIN)/lthrun bench $(if $(DATA),--data-dir '$(DATA)',--set data.dataset=synthetic) --peers $(PEERS)/bin/python

$(PEERS)/.ready: pyproject.toml
	$(PYTHON) -m venv $(PEERS)
	$(PEERS)/bin/python -m pip install --quiet --editable '.[dev,peers]'
	@touch $@

lint: $(READY)  ## Formatting, linting, types, direction of imports
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache

format: $(READY)  ## Format, and mend what the linter can
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

schema: $(READY)  ## Write configs/schema.json
	$(BIN)/lthrun config schema > configs/schema.json

docs: $(READY)  ## Write docs/reference.md
	$(BIN)/python docs/make_reference.py

clean:  ## Remove environment and caches; never runs/
	rm -rf .venv $(PEERS) .pytest_cache .mypy_cache .ruff_cache .hypothesis build dist *.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
