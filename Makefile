# make train and make test do all the set-up they need, in .venv.
PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11; do \
	$$p -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null && echo $$p && break; done)
BIN := .venv/bin

.PHONY: help setup train test cover test-slow lint type check bench bench-smoke truth reference clean

help:  ## this list
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

setup: .venv/ready  ## a virtual environment with everything needed

.venv/ready: pyproject.toml
	@test -n "$(PYTHON)" || { echo "reward needs Python 3.11, 3.12 or 3.13: install one, or name it with PYTHON=..."; exit 1; }
	@echo "setting up .venv with $(PYTHON): a few minutes the first time"
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet -e '.[dev]'
	@touch $@

train: setup  ## train on the bundled log and judge the result
	$(BIN)/python train.py

test: setup  ## the test suite, on two cores
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses 2 --dist worksteal

cover: setup  ## the test suite with coverage, which takes half as long again
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses 2 --dist worksteal --cov --cov-fail-under=98

test-slow: setup  ## the tests that take minutes: a million rows, memory, two devices, the golden run of the bundled log
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m slow --numprocesses 2 --dist worksteal

lint: setup  ## ruff: lint and format
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

type: setup  ## mypy, strict
	$(BIN)/mypy

check: lint type cover test-slow bench-smoke  ## everything CI runs

bench: setup  ## the benchmarks, each into benchmarks/results
	@for file in $(filter-out $(addprefix benchmarks/,harness.py training.py smoke.py),$(wildcard benchmarks/*.py)); do \
		echo "== $$file"; $(BIN)/python $$file || exit 1; done

bench-smoke: setup  ## each benchmark in little, in seconds; nothing is written
	@OMP_NUM_THREADS=1 POLARS_MAX_THREADS=1 $(BIN)/python benchmarks/smoke.py

truth: setup  ## estimates against randomised data, where these are at hand (REWARD_DATA=folder)
	$(BIN)/python benchmarks/truth.py

reference: setup  ## docs/reference from docstrings: the list, and full pages in docs/reference/pages
	$(BIN)/python -m pip install --quiet -e '.[docs]'
	$(BIN)/python docs/reference/write.py --pages

clean:  ## remove what tools wrote; runs are kept
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .coverage build *.egg-info
