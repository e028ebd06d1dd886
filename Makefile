# Two commands do everything: `make train` and `make test`. ARGS="--corpus gutenberg:1597" passes flags to training.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: install train test test-slow test-browser test-cluster soak check clean

GPUS = $(shell nvidia-smi -L 2>/dev/null | grep -c ^GPU)
# Compiling all modules takes as long as downloading them, and most are never imported: Python compiles those that are.
INSTALL := $(BIN)/pip install --quiet --no-compile --constraint constraints.txt --editable

# What training needs comes first: alone it takes half as long as with what the tests need.
.venv/trains: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	# Its name until November 2026: two of them would offer each plugin twice.
	$(BIN)/pip uninstall --quiet --yes charrnn
	$(INSTALL) .
	touch $@

install: .venv/installed

.venv/installed: .venv/trains
	$(INSTALL) '.[dev]'
	touch $@

# Several GPUs want a process each, which Accelerate starts; it says more than one process wants to hear.
train: .venv/trains
	$(BIN)/$(if $(filter-out 0 1,$(GPUS)),accelerate launch --quiet -m charrnn.train,charrnn train) $(ARGS)

test: install
	$(BIN)/pytest -m "not slow and not soak and not browser and not cluster" $(ARGS)

test-slow: install
	$(BIN)/pytest -m slow $(ARGS)

test-browser: install
	command -v chromium >/dev/null || { apt-get update --quiet && apt-get install --quiet --yes chromium; }
	$(BIN)/pytest -m browser $(ARGS)

test-cluster: install
	$(BIN)/pytest -m cluster $(ARGS)

soak: install
	$(BIN)/pytest -m soak $(ARGS)

check: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

clean:
	rm -rf .venv build *.egg-info
