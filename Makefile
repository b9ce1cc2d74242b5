# greencv: every target sets up what it needs; nothing is installed outside .venv/.
STUDY ?= quick
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
UV_VERSION := 0.13.9
# A bundle has its own study; another one is taken if it is named.
FINISHED = $(if $(RUNS),$(if $(filter-out file,$(origin STUDY)),$(call quoted,$(STUDY))) --runs $(call quoted,$(RUNS)),$(call quoted,$(STUDY)) --no-train)
# One word for the shell, whatever characters a file's name has.
quoted = '$(subst ','\'',$(1))'
# Of the bundles that come with the project, the first that is there: measured, then estimated.
PUBLISHED := $(firstword $(wildcard bundles/gpu.parquet bundles/reference.parquet))

.DEFAULT_GOAL := help
.PHONY: help book test test-all train html pdf published lab lint lock audit clean

help: ## list these targets
	@echo "greencv: usage: make TARGET [STUDY=studies/quick.yaml]"
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  %-9s %s\n", $$1, $$2}'

book: $(READY) ## the whole study: train what is missing, execute the notebooks, build the HTML
	@$(BIN)/greencv book $(call quoted,$(STUDY))

test: $(READY) lint ## lint, check types and imports, run the tests that find most faults soonest
	@$(BIN)/python -m pytest -m "not slow and not realtime" --numprocesses 2 --dist worksteal

test-all: test ## and the slow tests: whole studies, the browser on every page, metering in real time
	@$(BIN)/python -m pytest -m "slow and not realtime" --numprocesses 2 --dist worksteal
	@$(BIN)/python -m pytest -m realtime --numprocesses 2 --dist loadfile

train: $(READY) ## train and meter what is missing, build nothing
	@$(BIN)/greencv run $(call quoted,$(STUDY))

html: $(READY) ## build the report from the runs there are, or RUNS=BUNDLE.parquet, train nothing
	@$(BIN)/greencv book $(FINISHED)

pdf: $(READY) ## the same, and print it as one PDF: _build/greencv.pdf; needs Chromium or Chrome
	@$(BIN)/greencv book $(FINISHED) --pdf

published: $(READY) ## the report and the PDF that are published: of the runs that come with the project
	@$(BIN)/greencv book --runs $(PUBLISHED) --pdf

lab: $(READY) ## open the notebooks in JupyterLab
	@$(BIN)/jupyter lab --notebook-dir=notebooks --LabApp.news_url=None \
		--LabApp.check_for_updates_class=jupyterlab.handlers.announcements.NeverCheckForUpdate

lint: $(READY)
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports

lock: $(READY) ## renew requirements.lock from pyproject.toml
	@echo '# Exact versions and hashes of everything that greencv runs with. Made by `make lock`; do not edit.' > requirements.lock.new
	@$(BIN)/uv pip compile pyproject.toml --quiet --universal --upgrade --python-version 3.11 \
		--extra dev --generate-hashes --no-emit-index-url --no-header --no-annotate >> requirements.lock.new
	@mv requirements.lock.new requirements.lock

audit: $(READY) ## look up known vulnerabilities of the locked packages; needs a network
	@$(BIN)/pip-audit --disable-pip --require-hashes --strict --progress-spinner off -r requirements.lock

clean: ## remove the environment and what was built; the runs in runs/ stay
	@rm -rf $(VENV) _build book/notebooks *.egg-info .mypy_cache .pytest_cache .ruff_cache .import_linter_cache
	@find greencv_core tests -name __pycache__ -type d -prune -exec rm -rf {} +

# The environment is brought up to date when the lock or the project's metadata changed.
$(READY): requirements.lock pyproject.toml
	@python=$$(for p in "$$PYTHON" python3 python3.14 python3.13 python3.12 python3.11; do \
		[ -n "$$p" ] && "$$p" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null \
		&& echo "$$p" && break; done; true); \
	[ -n "$$python" ] || { echo "error: greencv needs Python 3.11 or later; found none (set PYTHON=/path/to/python3)" >&2; exit 1; }; \
	echo "Setting up $(VENV): some minutes, once"; \
	[ -x $(BIN)/pip ] || "$$python" -m venv $(VENV) || { rm -rf $(VENV); exit 1; }
	@# A pip.conf may name a mirror, which is used, or another place to install in, which is not.
	@$(BIN)/python -m pip download --quiet --disable-pip-version-check --no-deps --dest $(VENV)/uv uv==$(UV_VERSION)
	@PIP_CONFIG_FILE=/dev/null $(BIN)/python -m pip --isolated install --quiet --no-index $(VENV)/uv/uv-$(UV_VERSION)-*.whl
	@$(BIN)/uv pip install --quiet --python $(BIN)/python --compile-bytecode --require-hashes -r requirements.lock
	@$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation -e .
	@touch $@
