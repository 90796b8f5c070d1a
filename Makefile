# One environment, one word per job. Needs Python >= 3.11, make and a C library; everything else comes from the package index.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.DEFAULT_GOAL := help
.PHONY: help demo test check bench fuzz conformance clean

help:
	@sed -n 's/^\([a-z]*\):.*## /\1\t/p' Makefile

$(STAMP): pyproject.toml constraints.txt
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "installing into $(VENV) (about 700 MB: Presidio brings spaCy)"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	@touch $@

demo: $(STAMP) ## an agent meets a governed shop, end to end
	@$(BIN)/hoop-mcp demo --dir demo

check: $(STAMP)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/hoop-mcp policy check policies
	$(BIN)/hoop-mcp policy test policies

test: check ## format, lint, types, layers, policy check and test, pytest
	$(BIN)/python -m pytest -n 2

bench: $(STAMP) ## the tables README quotes: ours beside a bare server and raw asyncpg, in one run
	@$(BIN)/python benchmarks/side_by_side.py
	-@$(BIN)/python benchmarks/analysis.py

fuzz: $(STAMP) ## long fuzzing: non-interference over 20,000 statements, about 20 minutes (FUZZ="--count 500" for fewer)
	@PYTHONPATH=tests $(BIN)/python -m property.noninterference $(FUZZ)

conformance: $(STAMP) ## the protocol suites
	@echo "not built yet"; exit 2

clean:
	rm -rf $(VENV) dist .mypy_cache .ruff_cache .pytest_cache .hypothesis demo
