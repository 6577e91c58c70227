# Everything that a newcomer, a developer and CI do. `make help` lists it.
# Works from a path without spaces, with GNU Make >= 3.81 and Python >= 3.11.

PYTHON ?= python3
# Cores that Snakemake may use, and further options for it.
CORES ?= all
FLAGS ?=
# Further options for pip, such as another index for torch's CPU or CUDA build.
PIP_FLAGS ?=
# Processes and further options for pytest.
TEST_WORKERS ?= 2
TEST_FLAGS ?=

VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --no-input
PIP_INSTALL := $(PIP) install -qq --timeout 180 $(PIP_FLAGS)
# Stamps: the environment is complete up to there.
RUN := $(VENV)/installed-run
DEV := $(VENV)/installed-dev

# A parallel BLAS inside each test process would only fight over the cores.
ONE_THREAD := OMP_NUM_THREADS=1 MKL_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1

SNAKEFILES := Snakefile workflow

.DEFAULT_GOAL := figures
.DELETE_ON_ERROR:
.NOTPARALLEL:
.PHONY: figures test lint unit bench report format lock clean help

ifneq ($(words $(CURDIR)),1)
$(error the path "$(CURDIR)" has a space in it, which Make cannot handle: move the repository)
endif

figures: $(RUN) ## run the whole pipeline and list its figures (the default)
	@$(BIN)/snakemake --cores $(CORES) $(FLAGS)
	@echo "Figures:"
	@find results/figures -name '*.pdf' | LC_ALL=C sort | sed 's/^/  /'

test: lint unit ## run every check and test

lint: $(DEV) ## check style, types and the workflow's definition
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/snakefmt --check $(SNAKEFILES)
	@$(BIN)/snakemake --lint

unit: $(DEV) ## run the tests alone; TEST_FLAGS="-k fourier" picks some
	@$(ONE_THREAD) $(BIN)/python -m pytest -n $(TEST_WORKERS) --dist loadfile $(TEST_FLAGS)

bench: $(RUN) ## measure speed against the notebooks' own loops
	@$(BIN)/python -m bench.modular_addition
	@$(BIN)/python -m bench.extraction
	@$(BIN)/python -m bench.probes
	@$(BIN)/python -m bench.phase_changes

report: $(RUN) ## write Snakemake's own report of a finished run
	@$(BIN)/snakemake --report results/snakemake-report.html $(FLAGS)

format: $(DEV) ## format the code and the workflow
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .
	@$(BIN)/snakefmt $(SNAKEFILES)

lock: $(DEV) ## write envs/ anew from pyproject.toml and the installed versions
	@$(BIN)/python envs/generate.py

clean: ## remove the environment and the caches, but no result
	@rm -rf $(VENV) .mypy_cache .pytest_cache .ruff_cache .hypothesis src/mechflow.egg-info
	@find bench envs src tests workflow -name __pycache__ -type d -prune -exec rm -rf {} +

help: ## list the targets
	@sed -n 's/^\([a-z]*\):[^#]*## /  \1\t/p' $(MAKEFILE_LIST) | expand -t 12

# A changed lock gets a new environment, so that nothing unpinned is left in it.
$(RUN): envs/requirements.txt pyproject.toml
	@command -v $(PYTHON) > /dev/null || { \
	  echo "No $(PYTHON) here: install Python >= 3.11, or name one: make PYTHON=/path/to/python" >&2; \
	  exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "mechflow needs Python >= 3.11; this is $$($(PYTHON) --version 2>&1)." >&2; \
	  echo "Name a newer one: make PYTHON=python3.11" >&2; \
	  exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2> /dev/null || { \
	  echo "$(PYTHON) has no venv or no ensurepip: on Debian, apt-get install python3-venv" >&2; \
	  exit 1; }
	@cmp -s envs/requirements.txt $@ || { \
	  echo "Installing the pinned packages into $(VENV): once, a few minutes ..." && \
	  $(PYTHON) -m venv --clear $(VENV) && \
	  $(PIP_INSTALL) -r envs/requirements.txt; }
	@$(PIP_INSTALL) --no-deps --no-build-isolation -e .
	@cp envs/requirements.txt $@

$(DEV): $(RUN) envs/requirements-dev.txt
	@$(PIP_INSTALL) -r envs/requirements-dev.txt
	@cp envs/requirements-dev.txt $@
