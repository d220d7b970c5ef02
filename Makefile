# All targets work in a virtual environment of their own, .venv; the first one that needs it sets it up.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
OUT    ?= demo-out

.DEFAULT_GOAL := help
.PHONY: help setup demo test check wheel clean

help:  ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(VENV)/.installed  ## install everything into .venv

$(VENV)/.installed: setup.py pyproject.toml conf/constraints.txt
	@$(PYTHON) -c 'import sys; v = sys.version_info; v >= (3, 11) or sys.exit("Python 3.11 or newer is needed, found %d.%d; name one with make PYTHON=..." % v[:2])'
	@java -version >/dev/null 2>&1 || { echo "Java 17 or newer is needed, and no java is on the PATH"; exit 1; }
	@v=$$(java -version 2>&1 | sed -n 's/.*version "\([0-9]*\).*/\1/p' | head -n 1); [ "$${v:-0}" -ge 17 ] || { echo "Java 17 or newer is needed, found $$v"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --no-compile --disable-pip-version-check --editable ".[local,dev]" --constraint conf/constraints.txt
	@touch $@

demo: setup  ## a month of demo traffic through the monitor; the page is demo-out/dashboard/index.html
	$(BIN)/inference-metrics demo --out $(OUT)

test: setup  ## the tests
	$(BIN)/python -m pytest

check: setup  ## ruff and mypy
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

wheel: setup  ## the wheel, into dist
	$(BIN)/python -m pip wheel --quiet --no-deps --wheel-dir dist .

clean:  ## remove what the targets made, but for .venv
	rm -rf build dist demo-out *.egg-info .mypy_cache .ruff_cache .pytest_cache
