# make run          environment, then mode smoke; MODE=... and ARGS=... are passed on to snakemake
# make test         environment, then every test and check
# make test-cluster the workflow on a real Slurm on this machine (Debian, root; installs slurm-wlm)
# make gpu-evidence mixed precision and GPU inference, observed, as far as this machine can
# make env          the environment (.venv/) alone
# make lock         renew the pins in envs/ from envs/*.in (needs uv)
# make format       format rules and Python

PYTHON ?= python3
MODE ?= smoke
CORES ?= all
ARGS ?=
# Progress bars where a person watches, plain lines in a log.
LOGGER ?= $(shell test -t 2 && echo --logger rich)
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --no-input \
	--no-deps --require-hashes --no-compile

.PHONY: run gpu-evidence test test-cluster env env-dev lock format
.DELETE_ON_ERROR:

run: env
	$(BIN)/snakemake --cores $(CORES) $(LOGGER) \
	  $(if $(findstring --config ,$(ARGS)),$(subst --config ,--config mode=$(MODE) ,$(ARGS)),--config mode=$(MODE) $(ARGS))

gpu-evidence: MODE := gpu_evidence
gpu-evidence: run

test: env-dev
	$(BIN)/python -m pytest

test-cluster: env-dev
	command -v slurmctld > /dev/null || { apt-get update -qq && apt-get install -y -qq --no-install-recommends slurm-wlm munge; } > $(VENV)/slurm-install.log 2>&1 \
	  || { cat $(VENV)/slurm-install.log; exit 1; }
	$(BIN)/python -m pytest tests/cluster

env: $(VENV)/.complete-cpu
env-dev: $(VENV)/.complete-dev

$(VENV)/.complete-cpu: envs/cpu.txt
	@$(PYTHON) -c 'import sys; v = sys.version_info; \
	  sys.exit(None if (3, 11) <= v < (3, 13) else f"Python 3.11 or 3.12 is needed, {sys.executable} is {v.major}.{v.minor}: make PYTHON=/path/to/python3.11 ...")'
	@echo "making the environment in $(VENV) (about 1 GB is downloaded)"
	rm -rf $(VENV)
	$(PYTHON) -m venv $(VENV)
	$(PIP) -r envs/cpu.txt
	# Without compiled bytecode every start of Paddle costs several seconds more.
	$(BIN)/python -m compileall -q -j 0 $(VENV)/lib > $(VENV)/compileall.log 2>&1 || true
	touch $@

$(VENV)/.complete-dev: envs/dev.txt $(VENV)/.complete-cpu
	$(PIP) -r envs/dev.txt
	touch $@

LOCK := uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header --no-annotate
lock:
	cd envs && $(LOCK) --upgrade --override overrides.txt cpu.in -o cpu.txt
	cd envs && $(LOCK) --upgrade --override overrides.txt dev.in -o dev.txt
	cd envs && $(LOCK) --upgrade --no-deps gpu-onnxruntime.in -o gpu-onnxruntime.txt
	$(PYTHON) envs/derive.py

format: env-dev
	$(BIN)/snakefmt Snakefile rules
	$(BIN)/ruff format scripts tests
	$(BIN)/ruff check --fix scripts tests
