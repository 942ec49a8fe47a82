# Thin names over `upkeep` and the development tools. Every target does its own set-up.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
export PATH := $(CURDIR)/.tools/bin:$(CURDIR)/tests/tools/node_modules/.bin:$(PATH)
WORKERS ?= 2
export REPO ?=

.PHONY: help demo up test test-long check bench lock tools clean \
  fix-consistency fix-consistency-all install-hooks install-hooks-all gitea-inventory
help: ## Show the targets
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1\t\2/p' Makefile | expand -t 30

$(VENV)/.installed: requirements.lock pyproject.toml
	@echo "installing Python packages into $(VENV) (once, about a minute)"
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Upkeep needs Python 3.11 or later; name one: make PYTHON=python3.12 …")'
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	@$(BIN)/pip install --quiet --disable-pip-version-check --no-build-isolation --no-deps -e .
	@touch $@

demo: $(VENV)/.installed ## Sample repositories, two updates, two pull requests
	@$(PYTHON) ops/install_tools.py mermaid
	@$(BIN)/upkeep demo

up: $(VENV)/.installed ## Database, Dagster and sensors as one process tree
	@$(PYTHON) ops/install_tools.py mermaid
	@$(BIN)/upkeep up

# A repository by its slug, as `upkeep repos list` shows it.
define one_repository
	@test -n "$$REPO" || { echo 'say which: make $@ REPO=slug (`$(BIN)/upkeep repos list` shows the slugs)' >&2; exit 64; }
endef

fix-consistency: $(VENV)/.installed ## REPO=slug: sync its workplans, write ids and safe corrections into the files
	$(one_repository)
	@$(BIN)/upkeep sync "$$REPO" --fix

fix-consistency-all: $(VENV)/.installed ## The same for every managed repository
	@$(BIN)/upkeep sync --all --fix

install-hooks: $(VENV)/.installed ## REPO=slug: its commits tell the hub
	$(one_repository)
	@$(BIN)/upkeep hooks install "$$REPO"

install-hooks-all: $(VENV)/.installed ## The same for every managed repository
	@$(BIN)/upkeep hooks install --all

gitea-inventory: $(VENV)/.installed ## The forges' repositories against the managed ones
	@$(BIN)/upkeep inventory

tools: $(VENV)/.installed ## The programs that tests drive: gh, bwrap, the Mermaid checker, agent CLIs, a kernel for cgroups
	@$(PYTHON) ops/install_tools.py mermaid gh agents sandbox kernel

test: tools ## The whole suite but the long tests
	@$(BIN)/pytest -n $(WORKERS) -m "not long"

test-long: tools ## Crash matrix, hostile suite, fuzz
	@$(BIN)/pytest -n $(WORKERS) -m long --timeout 1200

check: $(VENV)/.installed ## Lint, types, import contracts
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check --quiet . || { echo "run: $(BIN)/ruff format ."; exit 1; }
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-cache | tail -n 12

bench: tools ## Measure the figures of the README again
	@$(BIN)/python bench/run.py

lock: ## Pin requirements.lock anew: versions and hashes, no registry addresses
	@$(BIN)/uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-strip-extras --no-annotate \
	  --no-header --group dev pyproject.toml -o requirements.lock

clean: ## Remove what the targets installed
	@rm -rf $(VENV) .tools tests/tools/node_modules upkeep/content/mermaid_check/node_modules
