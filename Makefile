# All targets work in a virtual environment of their own, .venv; the first one that needs it sets it up with the first
# of these that is new enough and can. Another one: make PYTHON=...
PYTHON ?= python3.11 python3 python3.12 python3.13 python3.14
VENV   := .venv
BIN    := $(VENV)/bin
PIP    := $(BIN)/python -m pip install --quiet --no-compile --disable-pip-version-check --constraint conf/constraints.txt
OUT    ?= demo-out
ARGS   ?=

.DEFAULT_GOAL := help
.PHONY: help setup demo test test-long test-runtime bench-unpack bench-trigger bench-backlog bench-score bench-workers bench-age soak check wheel clean

help:  ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(VENV)/.installed  ## install everything into .venv

OLD_ENOUGH := import sys; print("%d.%d" % sys.version_info[:2]); sys.exit(sys.version_info < (3, 11))

$(VENV)/.installed: setup.py pyproject.toml conf/constraints.txt
	@found=; for python in $(PYTHON); do \
	  if is=$$($$python -c '$(OLD_ENOUGH)' 2>/dev/null); then \
	    $$python -c 'import ensurepip, venv' 2>/dev/null && break; \
	    is="$$is without venv (Debian: install python3-venv)"; \
	  fi; \
	  command -v $$python >/dev/null && found="$$found, $$python is $${is:-broken}"; \
	  python=; \
	done; \
	if [ -z "$$python" ]; then \
	  echo "Python 3.11 or newer is needed$${found:-, no $(PYTHON) found}; name one with make PYTHON=..." >&2; exit 1; \
	fi; \
	$$python -m venv $(VENV)
	$(PIP) --editable ".[local,dev]"
	@$(BIN)/python -m jobs.command.java 2>/dev/null || { $(PIP) --editable ".[java]" 2>/dev/null; $(BIN)/python -m jobs.command.java; }
	@# Delta's jars, into Ivy's cache: two processes that both find it empty, as tests do, would break each other's downloads.
	@$(BIN)/python -c 'from jobs.command.session import spark_session; spark_session("setup").stop()' 2>$(VENV)/spark.log \
	  || { cat $(VENV)/spark.log >&2; exit 1; }
	@touch $@

demo: setup  ## a month of traffic through the monitor; the page is demo-out/dashboard/index.html (ARGS="--days 8 ...")
	$(BIN)/inference-metrics demo --out $(OUT) $(ARGS)

test: setup  ## the tests
	$(BIN)/python -m pytest

test-long: setup  ## the tests that take long, an hour or two: faults, kills at each point, demos of every scenario, the wheel
	$(BIN)/python -m pytest -m long

RUNTIME ?= 19-ml

test-runtime: setup  ## the scorers' tests with the libraries of a Databricks ML runtime (RUNTIME=18-ml), in .venv-RUNTIME
	$(BIN)/python -m venv .venv-$(RUNTIME)
	@# SQLAlchemy is for the tests' own registry: mlflow 3.8 imports FallbackAsyncAdaptedQueuePool, which 2.1 has not.
	.venv-$(RUNTIME)/bin/python -m pip install --quiet --no-compile --disable-pip-version-check \
	  --constraint tests/runtimes/$(RUNTIME).txt . torch pandas pyarrow mlflow 'sqlalchemy<2.1' textstat==0.7.13 \
	  pytest pytest-xdist hypothesis filelock
	.venv-$(RUNTIME)/bin/python -m pytest -n 0 tests/metrics/score -m 'not long'

bench-unpack: setup  ## rows a second that are unpacked, beside the dbdemos notebook's expressions
	$(BIN)/python -m tests.bench.bench_unpack $(ARGS)

bench-trigger: setup  ## what a warm trigger of 20 and of 10,000 rows costs, beside Delta's own sink
	$(BIN)/python -m tests.bench.bench_trigger $(ARGS)

bench-backlog: setup  ## rows a second of 10,000 small files, and the memory that they take
	$(BIN)/python -m tests.bench.bench_backlog $(ARGS)

bench-score: setup  ## scoring speed and deviations, beside Hugging Face evaluate's and Detoxify's ways (ARGS="--traffic FILE")
	$(BIN)/python -m tests.bench.bench_score $(ARGS)

bench-workers: setup  ## what the start of Python workers costs a batch, with our daemon and pyspark's
	$(BIN)/python -m tests.bench.bench_workers $(ARGS)

bench-age: setup  ## what a trigger costs when the tables hold a day, a month and a year (ARGS="--days 1 30")
	$(BIN)/python -m tests.bench.bench_age $(ARGS)

KILLS ?= 20
SEED  ?= 1

soak: setup  ## a monitor that is killed KILLS times at random, by SEED, and a recomputation of everything in pandas
	$(BIN)/python -m tests.soak --kills $(KILLS) --seed $(SEED) $(ARGS)

check: setup  ## ruff, mypy and import-linter
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache pyproject.toml

wheel: setup  ## the wheel, into dist
	$(BIN)/python -m pip wheel --quiet --no-deps --wheel-dir dist .

clean:  ## remove what the targets and demos made, but for .venv
	rm -rf build dist demo-*/ .venv-*/ *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis mlflow.db metastore_db derby.log spark-warehouse
	find . -path ./.venv -prune -o -name __pycache__ -prune -exec rm -rf {} +
