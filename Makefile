# `make demo` sets up .venv and runs the main job, `make test` checks everything, `make docs` builds the site of the docs.

PYTHON ?= python3
BIN := .venv/bin
INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt

.PHONY: demo test docs

demo: .venv/ready
	$(BIN)/mmgrec run --baselines popularity,itemknn,lightgcn

test: .venv/ready-test
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2

docs: .venv/ready-docs
	$(BIN)/python docs/generate.py --check
	$(BIN)/python -m sphinx -W --keep-going -n -q -b html docs docs/_build/html

.venv/ready: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(INSTALL) -e .
	touch $@

.venv/ready-test: .venv/ready
	$(INSTALL) -e '.[test]'
	touch $@

.venv/ready-docs: .venv/ready
	$(INSTALL) -e '.[docs]'
	touch $@
