# One door to everything. `make` says what there is.

PYTHON ?=
ARGS ?=
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --quiet --disable-pip-version-check --no-input
SOURCES := sigv4 quota proxy broker tests bench

.DEFAULT_GOAL := help
.PHONY: help install compile run test soak check fmt lock docs bench bench-check clean

help: ## Say what can be made
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

install: $(VENV)/.ready ## Install the pinned dependencies and the `wio` command into .venv

compile: $(VENV)/.ready ## Compile the hot path into the cache, once for the same sources
	@$(BIN)/python -m proxy.compiled --again

# Whatever the compiler says: the plain path serves as well.
run: $(VENV)/.ready ## Bring up the whole stack on loopback (ARGS="--port 9100" for more)
	@$(BIN)/python -m proxy.compiled || true
	@$(BIN)/wio up $(ARGS)

test: $(VENV)/.ready-dev ## Run all tests on real servers (ARGS="tests/cli" for some)
	@.ci/tools
	@$(BIN)/python -m broker.stack.binaries minio mc >/dev/null
	@$(BIN)/python -m proxy.compiled
	@$(BIN)/python -m pytest $(ARGS)

soak: $(VENV)/.ready-dev ## Random work on a real gate, against a model (ARGS="--minutes 60")
	@.ci/tools
	@$(BIN)/python -m broker.stack.binaries minio mc >/dev/null
	@$(BIN)/python -m proxy.compiled
	@$(BIN)/python -m bench.soak $(ARGS)

check: $(VENV)/.ready-dev ## Lint, check the formatting and the types
	@$(BIN)/ruff check $(SOURCES)
	@$(BIN)/ruff format --check $(SOURCES)
	@$(BIN)/mypy

fmt: $(VENV)/.ready-dev ## Format the code and mend what can be mended by itself
	@$(BIN)/ruff check --fix --quiet $(SOURCES) || true
	@$(BIN)/ruff format --quiet $(SOURCES)

docs: $(VENV)/.ready-dev ## Write docs/reference.md anew from the commands
	@$(BIN)/python -m broker.cli.reference > docs/reference.md.new
	@mv docs/reference.md.new docs/reference.md

bench: $(VENV)/.ready-dev ## Measure the gate beside MinIO, nginx and versitygw (ARGS="get" for one figure)
	@$(BIN)/python -m broker.stack.binaries minio >/dev/null
	@$(BIN)/python -m proxy.compiled
	@$(BIN)/python -m bench $(ARGS)

bench-check: $(VENV)/.ready-dev ## Say what costs more than bench/budget.toml allows (instructions with valgrind)
	@$(BIN)/python -m broker.stack.binaries minio >/dev/null
	@$(BIN)/python -m proxy.compiled
	@$(BIN)/python -m bench --check $(ARGS)
	@if command -v valgrind >/dev/null; then \
	  $(BIN)/python -m bench.instructions --check $(filter get head put list,$(ARGS)); \
	else echo "Instructions are not counted: valgrind is missing (apt-get install valgrind)." >&2; fi

lock: $(VENV)/.ready-dev ## Resolve the dependencies anew into the lock files
	@$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-annotate \
	  --no-header --upgrade --group build --group compile --output-file requirements.lock pyproject.toml
	@$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-annotate \
	  --no-header --upgrade --group build --group compile --group dev --constraint requirements.lock \
	  --output-file requirements-dev.lock pyproject.toml

clean: ## Remove .venv and what tools have cached here (never .wio, which holds data)
	@rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis build *.egg-info

$(BIN)/python:
	@.ci/venv "$(PYTHON)" $(VENV)

# The stamps are what makes a second `make run` do no work of pip's.
$(VENV)/.ready: requirements.lock pyproject.toml | $(BIN)/python
	@echo "Installing $$(grep -c '==' requirements.lock) pinned packages into $(VENV)…" >&2
	@$(PIP) install --require-hashes --requirement requirements.lock
	@$(PIP) install --no-deps --no-build-isolation --editable .
	@touch $@

$(VENV)/.ready-dev: requirements-dev.lock $(VENV)/.ready
	@echo "Installing what the tests and checks need…" >&2
	@$(PIP) install --require-hashes --requirement requirements-dev.lock
	@touch $@
