# Everything a person or a machine does with this checkout. `make` lists it. No target needs root.

PYTHON ?= python3
UV     ?= uv
JOBS   ?= 3

# Of `make chaos`; without a SEED, a random one, which is printed.
SEED    ?=
MINUTES ?= 1
RATE    ?= 3

# Of `make bench`: --quick, --only live,starts, --targets machpay,usual, --results DIRECTORY.
ARGS ?=

VENV  := .venv
BIN   := $(VENV)/bin
STAMP := $(VENV)/.installed
DRAWS := $(VENV)/.draws

# A venv does not survive being moved or copied: its scripts name their Python by absolute path.
HOME_OF_VENV := $(VENV)/.home
ifneq ($(shell cat $(HOME_OF_VENV) 2>/dev/null),$(CURDIR))
.PHONY: $(STAMP)
endif

PIP   := $(BIN)/python -m pip install --quiet --disable-pip-version-check

.DEFAULT_GOAL := help
.PHONY: help setup demo dev test chaos bench docs docs-links screenshots lint format lock

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-11s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: $(STAMP) ## install everything into .venv, as pinned by requirements.lock

demo: $(STAMP) ## start the system, stream a story through a cut connection, stop the system
	@$(BIN)/python -m ops demo

dev: $(STAMP) ## run the system until Ctrl-C (PORT=8080; MACHPAY_REDIS_URL replaces the embedded Valkey)
	@$(BIN)/python -m ops dev || [ $$? -eq 130 ]  # Ctrl-C is how it ends

test: $(STAMP) ## run the whole test suite (JOBS=3 processes: they wait more than they compute)
	$(BIN)/python -m pytest -n $(JOBS) --dist loadfile

chaos: $(STAMP) ## kill, stop and cut everything and judge what clients saw (SEED=7 MINUTES=1 RATE=3)
	@$(BIN)/python -m tests.chaos $(if $(SEED),--seed $(SEED)) --minutes $(MINUTES) --rate $(RATE)

bench: $(STAMP) $(DRAWS) ## measure everything, ours and rivals, into bench/results (ARGS=--quick)
	@$(BIN)/python -m bench $(ARGS)

docs: $(STAMP) ## build docs/ into a site, build/site, or fail on a dead link
	@$(BIN)/python -m ops docs

docs-links: $(STAMP) ## look at the links in docs/ to other sites, too (needs internet)
	@$(BIN)/python -m ops docs --links

screenshots: $(STAMP) ## take the README's pictures of the playground anew (needs Chromium)
	@$(BIN)/python -m ops screenshots

lint: $(STAMP) ## check style, types and which package imports which
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(STAMP) ## rewrite the code in the house's style
	$(BIN)/ruff check --fix-only .
	$(BIN)/ruff format .

# --universal: one file for every platform and Python that pyproject.toml allows. No annotations
# and no index lines: where packages come from is the machine's business, the hashes are ours.
LOCK := pip compile --quiet --universal --generate-hashes --no-annotate --no-header \
	--no-emit-index-url --no-emit-find-links $(LOCKFLAGS) pyproject.toml

lock: ## pin the dependencies anew (needs uv; LOCKFLAGS=--upgrade moves every pin)
	$(UV) $(LOCK) --group dev --output-file requirements.lock
	$(UV) $(LOCK) --group server --constraint requirements.lock --output-file requirements-server.lock
	$(UV) $(LOCK) --group bench --constraint requirements.lock --output-file requirements-bench.lock

# Only a picture is at stake: who can't install what draws it gets all figures all the same.
$(DRAWS): requirements-bench.lock $(STAMP)
	@$(PIP) --require-hashes -r requirements-bench.lock && touch $(DRAWS) || \
	  echo "matplotlib could not be installed: there will be no plot." >&2

$(STAMP): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "MachPay needs Python 3.11 or newer; $(PYTHON) is $$($(PYTHON) --version 2>&1)." >&2; \
	  echo "Name another one: make PYTHON=python3.12 $(MAKECMDGOALS)" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
	  echo "$(PYTHON) can't make virtual environments: on Debian and Ubuntu," >&2; \
	  echo "ask for the package python3-venv (apt install python3-venv)." >&2; exit 1; }
	@echo "Setting up $(VENV) (once, and again when a pin changes) ..."
	@rm -f $(STAMP)
	@[ "$$(cat $(HOME_OF_VENV) 2>/dev/null)" = "$(CURDIR)" ] && $(BIN)/python -c '' 2>/dev/null || { \
	  $(PYTHON) -m venv --clear $(VENV) && echo "$(CURDIR)" > $(HOME_OF_VENV); }
	@$(PIP) --require-hashes -r requirements.lock
	@$(PIP) --no-deps --no-build-isolation --editable .
	@touch $(STAMP)
