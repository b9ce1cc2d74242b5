# greencv: every target sets up what it needs; nothing is installed outside .venv/.
STUDY ?= quick
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
UV_VERSION := 0.13.9
# TORCH=cpu installs PyTorch without CUDA. The choice is kept in .venv/.torch.
CHOSEN := $(shell cat $(VENV)/.torch 2>/dev/null)
TORCH ?= $(CHOSEN)
TORCH_INDEX ?= https://download.pytorch.org/whl/cpu
# A bundle has its own study; another one is used if it is named.
FINISHED = $(if $(RUNS),$(if $(filter-out file,$(origin STUDY)),$(call quoted,$(STUDY))) --runs $(call quoted,$(RUNS)),$(call quoted,$(STUDY)) --no-train)
# One word for the shell, whatever characters a file's name has.
quoted = '$(subst ','\'',$(1))'
# The first of the project's bundles that exists: measured, then estimated.
PUBLISHED := $(firstword $(wildcard bundles/gpu.parquet bundles/reference.parquet))

SLOW = slow and not realtime
PDF = --try-pdf

.DEFAULT_GOAL := help
.PHONY: help book test test-all train html pdf published lab lint lock audit clean

help: ## list these targets
	@echo "greencv: make TARGET [STUDY=NAME] [TORCH=cpu]"
	@echo
	@echo "  make published               the finished report, without training: about 5 minutes"
	@echo "  make book                    your own report: about 15 minutes on a laptop"
	@echo "  make book STUDY=laptop       a longer study; a path such as STUDY=my/study.yaml works, too"
	@echo "  make book TORCH=cpu          the same without CUDA: 4 GB less to install"
	@echo
	@echo "The report is _build/html/index.html, the runs are in runs/. Ctrl-C is safe: finished runs stay."
	@echo
	@echo "Studies (time to train on a laptop):"
	@echo "  smoke 1 minute, quick 5 minutes, reference 10 minutes, laptop 1 hour, gpu half an hour on"
	@echo "  a data-centre GPU, paper weeks on a GPU and years on a CPU (see: greencv plan paper)"
	@echo
	@echo "Targets:"
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  %-9s %s\n", $$1, $$2}'

book: $(READY) ## train what is missing, execute the notebooks, build the report
	@$(BIN)/greencv book $(call quoted,$(STUDY))

test: $(READY) lint ## check style, types, imports and prose; run the fast tests
	@$(BIN)/python -m pytest -m "not slow and not realtime" --numprocesses 2 --dist worksteal

test-all: test ## run the slow tests, too: whole studies, every page in a browser, real-time metering
	@$(BIN)/python -m pytest -m $(call quoted,$(SLOW)) --numprocesses 2 --dist worksteal
	@$(BIN)/python -m pytest -m realtime --numprocesses 2 --dist loadfile

train: $(READY) ## train and meter what is missing; build nothing
	@$(BIN)/greencv run $(call quoted,$(STUDY))

html: $(READY) ## build the report from finished runs or RUNS=BUNDLE.parquet; train nothing
	@$(BIN)/greencv book $(FINISHED)

pdf: $(READY) ## the same, and _build/greencv.pdf; needs Chromium or Chrome
	@$(BIN)/greencv book $(FINISHED) --pdf

published: $(READY) ## build the report of the runs that come with greencv; with a browser, its PDF too
	@$(BIN)/greencv book --runs $(PUBLISHED) $(PDF)

lab: $(READY) ## open the notebooks in JupyterLab
	@$(BIN)/jupyter lab --notebook-dir=notebooks --LabApp.news_url=None \
		--LabApp.check_for_updates_class=jupyterlab.handlers.announcements.NeverCheckForUpdate

lint: $(READY)
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports
	@$(BIN)/python -m tests.support.prose

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
	@case "$(TORCH)" in ''|cpu|cuda) ;; *) echo "error: TORCH=$(TORCH): must be cpu or cuda" >&2; exit 1;; esac
	@python=$$(for p in "$$PYTHON" python3 python3.14 python3.13 python3.12 python3.11; do \
		[ -n "$$p" ] && "$$p" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null \
		&& echo "$$p" && break; done; true); \
	[ -n "$$python" ] || { echo "error: greencv needs Python 3.11 or later, and found none. Install one without root:" >&2; \
		echo "  python3 -m pip install --user uv && python3 -m uv python install 3.12" >&2; \
		echo '  make book PYTHON="$$(python3 -m uv python find 3.12)"' >&2; exit 1; }; \
	echo "Setting up $(VENV): some minutes, once"; \
	[ -x $(BIN)/pip ] || "$$python" -m venv $(VENV) || { rm -rf $(VENV); exit 1; }
	@# A pip.conf may name a mirror, which is used, or another place to install in, which is not.
	@$(BIN)/python -m pip download --quiet --disable-pip-version-check --no-deps --dest $(VENV)/uv uv==$(UV_VERSION)
	@PIP_CONFIG_FILE=/dev/null $(BIN)/python -m pip --isolated install --quiet --no-index $(VENV)/uv/uv-$(UV_VERSION)-*.whl
	@echo "$(TORCH)" > $(VENV)/.torch
ifeq ($(TORCH),cpu)
	@awk -f .binder/without_cuda.awk requirements.lock > $(VENV)/cpu.lock
	@$(BIN)/uv pip install --quiet --python $(BIN)/python --compile-bytecode --no-deps --require-hashes -r $(VENV)/cpu.lock
	@# Its wheels have other hashes than the lock's; the versions are the same.
	@$(BIN)/uv pip install --quiet --python $(BIN)/python --compile-bytecode --no-deps --index-url $(call quoted,$(TORCH_INDEX)) \
		$$(sed -nE 's/^((torch|torchvision)==[^ ]+).*/\1/p' requirements.lock)
else
	@$(BIN)/uv pip install --quiet --python $(BIN)/python --compile-bytecode --require-hashes -r requirements.lock
endif
	@$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation -e .
	@touch $@

# Another choice than before: the packages of CUDA are then superfluous, or missing.
ifneq ($(filter-out cuda,$(TORCH)),$(filter-out cuda,$(CHOSEN)))
$(READY): changed-torch
.PHONY: changed-torch
changed-torch:
	@[ ! -e $(READY) ] || { echo "Making $(VENV) again for TORCH=$(TORCH)"; rm -rf $(VENV); }
endif
