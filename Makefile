# Everything here needs only make and a Python of 3.11 or newer with venv and pip.
#   make demo                    start a broker and replay a year of flights through it
#   make test                    the complete test suite, as CI runs it
#   make test PYTHON=python3.13  with another interpreter
# The same without make is in README.md and CONTRIBUTING.md.

VENV   ?= .venv
BIN    := $(VENV)/bin
# The first interpreter that is new enough; PYTHON=... on the command line wins.
PYTHON ?= $(firstword $(foreach p,python3 python3.14 python3.13 python3.12 python3.11,\
            $(shell $(p) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $(p))))
# Two workers; tests that start real processes share one of them (tests/conftest.py).
PYTEST_ARGS ?= -n 2 --dist loadgroup

.DEFAULT_GOAL := help
.PHONY: help demo test bench lint format venv clean

help: ## this list
	@grep -E '^[a-z]+:.*##' Makefile | sed -E 's/^([a-z]+):.*## /  make \1\t/'

demo: $(VENV)/.installed ## a broker, 336,776 real flights through it, and the proof that none is lost
	$(BIN)/shardmq demo

test: $(VENV)/.installed-dev ## the complete test suite (tests, types, style, layers)
	$(BIN)/python -m pytest $(PYTEST_ARGS)

bench: $(VENV)/.installed ## how fast is it here: produce and consume, 100 B messages
	$(BIN)/shardmq bench both

lint: $(VENV)/.installed-dev ## only the static checks
	$(BIN)/python -m pytest tests/test_static.py tests/test_tidy.py tests/test_repository.py

format: $(VENV)/.installed-dev ## format the source and fix what ruff can fix
	$(BIN)/ruff check --fix-only --quiet .
	$(BIN)/ruff format .

venv: $(VENV)/.installed-dev ## create .venv with everything for development

clean: ## remove .venv, caches and build products
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
	rm -rf .import_linter_cache .coverage .coverage.* htmlcov
	find actors shards router client tests scripts -name __pycache__ -type d -prune -exec rm -rf {} +

# Stamps: a change of pyproject.toml (a new package, a new dependency) installs again.
$(VENV)/.installed: pyproject.toml
	@test -n "$(PYTHON)" || { echo "no Python 3.11 or newer found; say make PYTHON=/path/to/python3" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "$(PYTHON) does not run or is older than 3.11; say make PYTHON=/path/to/python3" >&2; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e .
	@touch $@

$(VENV)/.installed-dev: $(VENV)/.installed
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[dev]'
	@touch $@
