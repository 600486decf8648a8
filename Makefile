# Two commands do all: `make repro` runs the pipeline, `make test` checks it.
PYTHON ?= python3
SOURCE ?= standin
BIN := .venv/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check
LOCK := --universal --generate-hashes --no-emit-index-url --no-annotate --quiet
PARALLEL := --numprocesses=auto --dist=loadscope --no-loadscope-reorder
# the system's certificates, as pip has them: also those of a company's own network
export UV_SYSTEM_CERTS := 1
export PATH := $(CURDIR)/$(BIN):$(PATH)

.PHONY: help install repro test test-fast torture check-run lint docs bench calibrate ablation lock clean

help:  ## list these commands
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

install: .venv/installed  ## make .venv from requirements.lock (once; again costs nothing)

.venv/installed: requirements.lock pyproject.toml
	$(PYTHON) -m venv .venv
	$(PIP) uv && $(BIN)/uv pip install --quiet --python $(BIN)/python --compile-bytecode \
		--require-hashes --requirements requirements.lock \
		|| $(PIP) --require-hashes --requirement requirements.lock  # slower, with the indexes that pip knows
	$(PIP) --no-deps --no-build-isolation --editable .
	@touch $@

repro: install  ## run every stale stage, then say whether it reads better than the last commit
	dvc repro
	dvc metrics diff --all
	k49 compare HEAD workspace --if-comparable

test: install lint  ## lint and all tests, the slow ones too (what CI runs)
	pytest $(PARALLEL)

test-fast: install  ## the tests that need no training
	pytest -m "not slow" $(PARALLEL)

torture: install  ## kill, fuzz, fill disks, lie about downloads; the table into docs/reliability.md (20 minutes)
	python -m tests.torture

check-run: install  ## before a release: dvc.lock was made with this very code
	pytest tests/pipeline/check_committed_run.py

lint: install  ## style, types, and the walls between the rooms of k49/
	ruff check .
	ruff format --check .
	mypy
	lint-imports

.venv-bench/installed: .venv/installed requirements.lock benchmarks/requirements.txt
	$(PYTHON) -m venv .venv-bench
	$(BIN)/uv pip install --quiet --python .venv-bench/bin/python --compile-bytecode --require-hashes -r requirements.lock
	.venv-bench/bin/pip install --quiet --disable-pip-version-check -r benchmarks/requirements.txt
	@touch $@

bench: install .venv-bench/installed  ## compare the time of our training with other ways to do it (two hours)
	.venv-bench/bin/python -m benchmarks.epoch
	.venv-bench/bin/python -m benchmarks.search
	.venv-bench/bin/python -m benchmarks.accuracy
	python -m benchmarks.cost
	python -m benchmarks.breakdown

docs: install  ## write docs/parameters.md again
	python docs/parameters.py

calibrate: install  ## draw the stand-in with three seeds and train on it, compared with K49 (40 minutes)
	python -m benchmarks.calibration

ablation: install  ## from the report's recipe to the default one, through DVC's queue (hours; goes on)
	python -m benchmarks.ablation $(SOURCE)

lock:  ## pin the newest versions again (needs uv)
	uv pip compile pyproject.toml --extra cpu --extra dev --extra onnx --extra serve $(LOCK) --upgrade \
		--output-file requirements.lock
	uv pip compile --group server --constraint requirements.lock $(LOCK) --output-file requirements-server.lock

clean:  ## remove the environment, all that dvc can make again, and the results of searches
	rm -rf .venv .venv-bench data models/trained.keras models/model.keras models/model.onnx models/reader.html predictions/test.npz predictions/variations.npy
