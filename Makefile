# ddbias: `make run` and `make test` do all the set-up themselves. Relative paths only, so that the folder may have a
# space in its name; the tools are run as modules, because console scripts in such a folder have broken first lines.
MAKEFLAGS += --no-print-directory --no-builtin-rules
.DEFAULT_GOAL := help
.PHONY: help run status estimate check-data advise report export ledger config-reference test test-fast test-slurm lint bench lock audit docs dist clean distclean env env-dev env-slurm env-audit env-docs env-profile

PYTHON ?=
CONFIG ?=
CORES ?= all
SCALE ?=
PROFILE ?=
TO ?=
ARGS ?=
VERBOSE ?=
export PYTHON CONFIG CORES SCALE PROFILE TO VERBOSE  # recipes read them from the environment: no quoting trouble

VENV_PYTHON := .venv/bin/python
LAUNCH := $(VENV_PYTHON) workflow/launch.py --config="$$CONFIG" --cores="$$CORES" --scale="$$SCALE" --profile="$$PROFILE"

# Sets $$py to a Python from 3.11 to 3.14, if possible one that can make environments; PYTHON=... names one.
define FIND_PYTHON
if [ -n "$$PYTHON" ]; then set -- "$$PYTHON"; else set -- python3 python3.12 python3.13 python3.11 python3.14; fi; \
py=; for needs in sys,ensurepip sys; do for p in "$$@"; do \
  [ -n "$$py" ] || ! "$$p" -c "import $$needs; sys.exit(not (3, 11) <= sys.version_info < (3, 15))" >/dev/null 2>&1 || py=$$p; \
done; done; \
if [ -z "$$py" ]; then \
  echo "ddbias: Python 3.11 to 3.14 is needed (tried: $$*); install one or name it with PYTHON=/path/to/python3" >&2; \
  exit 1; \
fi
endef

# A finished environment costs one bare interpreter start; PYTHON=... always goes through the installer, to compare.
define INSTALL
{ [ -z "$$PYTHON" ] && $(VENV_PYTHON) -I -S envs/install.py --check $(1) 2>/dev/null; } || \
{ $(FIND_PYTHON); exec "$$py" -I envs/install.py $(1); }
endef

# What writes a lock: the newest versions that fit all platforms and Pythons, with the hashes of all their files.
# pip and setuptools are in envs/bootstrap.lock only; torch and what it brings for a GPU have no hashes.
LOCK := $(VENV_PYTHON) -m uv pip compile --quiet --upgrade --universal --python-version 3.11 --generate-hashes \
  --fork-strategy fewest --no-annotate --custom-compile-command "make lock" --excludes envs/requirements-torch.lock
LOCKED_BEFORE := --no-emit-package pip --no-emit-package setuptools

help: ## list the targets
	@awk -F ' ## ' '/^[a-z-]+:.* ## /{split($$1, t, ":"); printf "make %-12s %s\n", t[1], $$2}' Makefile
	@echo "Options: CONFIG=studies/x.yaml CORES=4 SCALE=quick PROFILE=slurm TO=folder VERBOSE=1 ARGS='more Snakemake or pytest arguments' PYTHON=python3.12"

run: env-profile ## run the study config.yaml, or CONFIG=..., and make its tables, figures and page
	@$(LAUNCH) -- $(ARGS)

# Looks only: it must never renew the environment that a run beside it uses. The stamp is there when that is installed;
# an older one will do, as the run has it, too.
status: ## show how far a study is, what its jobs do and what failed, from another terminal or after a run
	@[ -x $(VENV_PYTHON) ] && [ -e .venv/ddbias-run.stamp ] || \
	{ echo "ddbias: nothing was run here yet, or what runs need is still being installed; make run does both" >&2; exit 1; }
	@$(VENV_PYTHON) workflow/status.py --config="$$CONFIG" --cores="$$CORES" --scale="$$SCALE"

estimate: env ## show jobs, time and memory of a study, stage by stage, expected and taken so far
	@$(VENV_PYTHON) workflow/estimate.py --config="$$CONFIG" --cores="$$CORES" --scale="$$SCALE" --profile="$$PROFILE"

check-data: env-profile ## count, compare and check the data sets of the study, and name their problems
	@$(LAUNCH) -- check --quiet rules progress reason host $(ARGS)

advise: env-profile ## say whether the study's training sets have a bias, without attribute labels, and what to do
	@$(LAUNCH) -- advice --quiet rules progress reason host $(ARGS)

report: env-profile ## build the study's page, and what it still needs
	@$(LAUNCH) -- report $(ARGS)

export: env-profile ## write the finished distilled sets for Hugging Face, Croissant and DD-Ranking, to TO=folder
	@$(LAUNCH) --to="$$TO" -- export --quiet rules progress reason host $(ARGS)

ledger: env ## write every published number that a study covers, and ours beside it, to results/ledger or TO=folder
	@$(VENV_PYTHON) workflow/ledger.py --config="$$CONFIG" --to="$$TO"

config-reference: env ## write docs/config.md: every key of a study file, with default and source
	@$(VENV_PYTHON) workflow/config_reference.py

test: env-dev ## run all tests
	@echo "ddbias: running the tests"
	@$(VENV_PYTHON) -m pytest -n logical --maxprocesses 4 --dist loadfile --no-loadscope-reorder $(ARGS)

test-fast: env-dev ## run the quick tests of the library, without compiling and without the workflow
	@echo "ddbias: running the fast tests"
	@$(VENV_PYTHON) -m pytest -n logical --maxprocesses 4 --dist loadfile --no-loadscope-reorder -m "not slow and not slurm and not thorough" --ignore=tests/workflow --ignore=tests/accelerator $(ARGS)

test-slurm: env-dev env-slurm ## run the tests on a SLURM cluster of its own (as root, with SLURM's packages)
	@echo "ddbias: running the tests on SLURM"
	@$(VENV_PYTHON) -m pytest -m slurm tests/workflow/slurm $(ARGS)

lint: env-dev ## check code and workflow: ruff, snakefmt, snakemake --lint
	@echo "ddbias: checking code and workflow"
	@$(VENV_PYTHON) -m ruff check .
	@$(VENV_PYTHON) -m ruff format --check .
	@$(VENV_PYTHON) -m snakefmt --check Snakefile workflow/Snakefile workflow/rules
	@$(LAUNCH) -- --lint

bench: env-dev ## measure speed beside plain loops, in one table
	@$(VENV_PYTHON) benchmarks/bench.py $(ARGS)

lock: env-audit ## renew envs/*.lock from envs/*.in (torch and torchvision by hand)
	@$(LOCK) envs/bootstrap.in -o envs/bootstrap.lock
	@$(LOCK) envs/requirements.in envs/requirements-torch.in -o envs/requirements.lock $(LOCKED_BEFORE)
	@agreed="-c envs/requirements.lock"; for kind in dev slurm audit docs; do \
	  $(LOCK) envs/requirements.in envs/requirements-$$kind.in $$agreed \
	    -o envs/requirements-$$kind.lock $(LOCKED_BEFORE) \
	    $$(sed -n 's/^\([a-z0-9-]*\)==.*/\1/p' envs/requirements.lock | grep -vxFf envs/requirements-$$kind.in \
	      | sed 's/^/--no-emit-package /') || exit 1; \
	  agreed="$$agreed -c envs/requirements-$$kind.lock"; \
	done

audit: env-audit ## ask whether a locked package has a known vulnerability
	@status=0; for lock in envs/*.lock; do \
	  $(VENV_PYTHON) -m pip_audit --strict --disable-pip --no-deps --progress-spinner off -r "$$lock" || status=1; \
	done; exit $$status

docs: env-docs ## make a site of docs/ in site/, which opens without a server, and check its links
	@NO_MKDOCS_2_WARNING=1 $(VENV_PYTHON) -m mkdocs build --quiet --strict -f website/mkdocs.yml
	@echo "ddbias: site/index.html is made"

dist: env-dev ## build wheel and sdist in dist/
	@$(VENV_PYTHON) -m hatchling build -d dist

clean: ## remove results/ and .snakemake/
	@$(FIND_PYTHON); "$$py" -I workflow/launch.py --clean

distclean: clean ## remove .venv too
	@echo "ddbias: removing .venv"
	@rm -rf .venv .pytest_cache .ruff_cache .hypothesis

env:
	@$(call INSTALL,run)

env-dev:
	@$(call INSTALL,dev)

env-slurm:
	@$(call INSTALL,slurm)

env-audit:
	@$(call INSTALL,audit)

env-docs:
	@$(call INSTALL,docs)

# A profile that submits to SLURM needs a package more.
env-profile:
	@if grep -qs "^executor: *[\"']*slurm" "workflow/profiles/$$PROFILE/config.yaml" "$$PROFILE/config.yaml"; \
	then $(MAKE) env-slurm; else $(MAKE) env; fi
