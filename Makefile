# `make run` and `make test` need nothing but Python 3.11 or newer; they make .venv on first use. Another interpreter gets
# an environment of its own: `make test PYTHON=/usr/bin/python3 VENV=.venv-debian`.

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/installed
UV := $(shell command -v uv 2>/dev/null)

.DEFAULT_GOAL := help
.PHONY: help run serve test test-all container-test check format clean

help: ## Show the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## */\t/' | expand -t 12

$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Python 3.11 or newer is needed; $(PYTHON) is $$($(PYTHON) -V 2>&1)"; exit 1; }
ifdef UV
	$(UV) venv --quiet --allow-existing --python $(PYTHON) $(VENV)
	$(UV) pip install --quiet --python $(BIN)/python --constraint constraints.txt --editable '.[dev]'
else
	@$(PYTHON) -m venv $(VENV) || { echo "No virtual environment; on Debian or Ubuntu: apt-get install python3-venv"; exit 1; }
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
endif
	@$(BIN)/python -c 'import cv2' || \
		{ echo "OpenCV needs two system libraries; on Debian or Ubuntu: apt-get install libgl1 libglib2.0-0"; exit 1; }
	@touch $@

# Whoever names weights for people has cameras and clips of people.
run: $(STAMP) ## Start the demo on http://127.0.0.1:8000, or the service if DAFLOW_POSE_WEIGHTS is set
	$(BIN)/daflow $(if $(DAFLOW_POSE_WEIGHTS),serve,demo)

serve: $(STAMP) ## Start the service on http://127.0.0.1:8000
	$(BIN)/daflow serve

# Two processes that each compute on all cores would wait for each other most of the time. Without bytecode on disk, every
# service and every decoder that a test starts would compile its modules again. Options for pytest, such as what to measure,
# go into PYTEST_ADDOPTS.
PYTEST := OMP_NUM_THREADS=1 PYTHONDONTWRITEBYTECODE= $(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder

test: $(STAMP) ## Run the tests, two files at a time, without the slow ones
	$(PYTEST) -m 'not slow' --hypothesis-profile quick

# Stores, bus and streams; `make test-all BACKENDS=tests/service` takes every test of the service that opens a database.
BACKENDS ?= $(addprefix tests/,service/notifications service/api/test_incidents.py service/cameras/test_store.py \
	service/storage/test_database.py service/storage/test_lease.py service/incidents service/clips/test_store.py \
	service/clips/test_worker.py service/clips/test_uploads.py service/test_retention.py system/test_backup.py \
	system/test_replicas.py system/test_schema.py)

test-all: $(STAMP) ## Run all tests, and what touches the store and the bus once more on PostgreSQL and Redis
	$(PYTEST)
	$(PYTEST) --backends=servers $(BACKENDS)

container-test: $(STAMP) ## Build the images from what is committed, run them on a Docker engine, and look from outside
	$(BIN)/python -m pytest -x -s tests/container

# Where there is a network: `make check AUDIT=--strict`.
check: $(STAMP) ## Check format, lint, types and known weaknesses of the pinned packages
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/python .ci/audit.py $(AUDIT)

format: $(STAMP) ## Format the code
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

clean: ## Remove everything that make made; data stays
	rm -rf .venv .venv-* build dist *.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
