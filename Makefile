# Everything a visitor or a contributor runs. Needs only make and Python 3.11 or newer.
#
#   make demo     train three against seven on real digits and save one picture
#   make test     set up a virtual environment and pass the tests
#   make eager    pass them again with nothing recorded (but those that choose for themselves)
#   make bare     pass them in an environment that has NumPy alone
#   make oracle   add PyTorch 2.13.0 to it, so that `make test` also compares with that
#   make lint     style and types
#   make size     what this weighs: the wheel, and what installing it brings
#   make clean    remove the virtual environment and the caches

PYTHON ?= python3
VENV ?= .venv
WORKERS ?= auto
TESTS ?= tests
DEMO ?= examples/course/06_three_or_seven.py

RUN := $(VENV)/bin/python
PIP := $(RUN) -m pip install --quiet --disable-pip-version-check

.DEFAULT_GOAL := help
.PHONY: help demo test eager bare oracle lint size clean

help:
	@sed -n 's/^#   //p' Makefile

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "kkori needs Python 3.11 or newer: make PYTHON=/path/to/python3.11"; exit 1; }
	@echo "setting up $(VENV)"
	@$(PYTHON) -m venv $(VENV)

# A stamp is newer than what it was installed from, so a second `make` installs nothing.
$(VENV)/.examples: pyproject.toml | $(VENV)/bin/python
	@$(PIP) --editable '.[examples]'
	@touch $@

$(VENV)/.dev: pyproject.toml requirements/dev.txt | $(VENV)/bin/python
	@$(PIP) --requirement requirements/dev.txt --editable '.[dev]'
	@touch $@ $(VENV)/.examples

$(VENV)/.oracle: requirements/oracle.txt requirements/dev.txt | $(VENV)/bin/python
	@$(PIP) --requirement requirements/oracle.txt --requirement requirements/dev.txt
	@touch $@

demo: $(VENV)/.examples
	@$(VENV)/bin/kkori run $(DEMO)

test: $(VENV)/.dev
	$(RUN) -m pytest -q -n $(WORKERS) $(TESTS)

eager: $(VENV)/.dev
	KKORI_EAGER=1 $(RUN) -m pytest -q -n $(WORKERS) --ignore=tests/hot --ignore=tests/codegen tests

$(VENV)-bare/.dev: requirements/bare.txt
	@$(PYTHON) -m venv $(VENV)-bare
	@$(VENV)-bare/bin/python -m pip install --quiet --disable-pip-version-check \
	  --requirement requirements/bare.txt
	@touch $@

bare: $(VENV)-bare/.dev
	PYTHONPATH=. $(VENV)-bare/bin/python -m pytest -q -n $(WORKERS) tests

oracle: $(VENV)/.oracle $(VENV)/.dev

lint: $(VENV)/.dev
	$(VENV)/bin/ruff check .
	$(VENV)/bin/mypy

size: | $(VENV)/bin/python
	@$(RUN) scripts/size_report.py

clean:
	rm -rf $(VENV) $(VENV)-bare build dist .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
