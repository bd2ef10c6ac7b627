# `make demo` and `make test` set up everything they need in .venv, from nothing but Python 3.11, git and make.
PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
# Two processes of one thread each: two threads in one gain little at these sizes, and lose much on a shared machine.
TESTS := OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2
STAMP := $(VENV)/.installed

VLLM := .venv-vllm
VLLM_STAMP := $(VLLM)/.installed

.PHONY: setup demo test test-vllm quick check format clean

setup: $(STAMP)

$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $(STAMP)

demo: setup
	$(BIN)/timesight demo

test: setup
	$(TESTS)

# With a real vLLM server, in a separate environment (6.3 GB).
test-vllm: setup $(VLLM_STAMP)
	TIMESIGHT_VLLM_PYTHON=$(abspath $(VLLM))/bin/python OMP_NUM_THREADS=1 $(BIN)/python -m pytest tests/vllm_server

$(VLLM_STAMP): tests/vllm_server/requirements.txt
	$(PYTHON) -m venv $(VLLM)
	PIP_FIND_LINKS= PIP_CONFIG_FILE=/dev/null $(VLLM)/bin/python -m pip install --quiet --no-deps --requirement $<
	touch $@

quick: setup
	$(TESTS) -m "not slow and not browser and not gpu"

check: setup
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(TESTS)

format: setup
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

clean:
	rm -rf $(VENV) $(VLLM) build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis
