# make run          environment, then mode smoke; MODE=... and ARGS=... are passed on to snakemake
# make test         environment, then every test and check (makes .venv-crate/, for one of them)
# make test-long   the tests that take long, and rarely find anything: not in CI, but every night
# make test-root    the tests that need root, which make test skips without it
# make test-cluster the workflow on a real Slurm on this machine (Debian, root; installs slurm-wlm)
# make coverage     which lines under scripts/ none of the tests above has run; fails unless tests/coverage/exceptions.toml has a reason
#                   (SINCE=main: of the lines that changed since, after a run of some of the tests)
# make soak         runs that are killed at random must end as if nothing had happened: SECONDS=1800 MODELS="a b"
# make fuzz         the property-based tests for FUZZ_SECONDS=600
# make gpu-evidence mixed precision and GPU inference, observed: ends in results/gpu_evidence/evidence.zip, one file to send.
#                   STAGES=.venv-gpu is the environment; where a GPU or the environment is missing it says what to type,
#                   and goes on with what there is only with ANYWAY=1: docs/gpu.md
# make test-generations  the chain on two Paddle generations (makes .venv-paddle-2.6/)
# make test-gpu     the GPU path on stand-ins for devices (makes .venv-paddle-gpu-2.6/)
# make test-gpu-whole    the same for all eight models, which takes half an hour: not in CI
# make test-browser the conclusions page in a real browser (Debian, root; installs chromium)
# make bench        against PaddleSeg's original chain and the engines' own harnesses: docs/bench.md (makes .venv-bench/);
#                   PARTS="latency memory" for some parts, ARGS=--quick to see that it works
# make env          the environment (.venv/) alone
# make env-gpu      the stages' environment with the GPU build of Paddle (.venv-gpu/): PADDLE_INDEX=ADDRESS, docs/gpu.md
# make env-paddle-2.6    the stages' environment with that Paddle (.venv-paddle-2.6/): python: in the configuration
# make lock         renew the pins in envs/ from envs/*.in (needs uv)
# make format       format rules and Python
# make docs         renew the pages that are made from the code

PYTHON ?= python3
MODE ?= smoke
CORES ?= all
ARGS ?=
SECONDS ?= 1800
MODELS ?= pp_humanseg_lite pp_humanseg_mobile
FUZZ_SECONDS ?= 600
# Of gpu-evidence: the stages' environment, and whether to go on where it or a GPU is missing.
STAGES ?= .venv-gpu
ANYWAY ?=
# The package index of a CUDA version, for env-gpu.
PADDLE_INDEX ?=
# Progress bars where a person watches, plain lines in a log.
LOGGER ?= $(shell test -t 2 && echo --logger rich)
# The modes of the shipped configuration: asked for before 1 GB is installed.
MODES := $(shell sed -n '/^modes:/,/^[^ \#]/s/^  \([a-z0-9_]*\):.*/\1/p' config/config.yaml)
VENV := .venv
BIN := $(VENV)/bin
# Each line under scripts/ that a test runs is marked, in whatever process: tests/coverage/.
FOLLOW := $(BIN)/python tests/coverage/judge.py --follow
MARKED := SEGCERT_LINES=$(CURDIR)/tests/coverage/marks.py
PIP_INSTALL := -m pip install --quiet --disable-pip-version-check --no-input --no-deps --require-hashes --no-compile

.PHONY: run known-mode gpu-evidence test test-long test-root test-cluster test-generations test-gpu test-gpu-whole test-browser coverage bench soak fuzz env env-dev env-gpu env-bench env-crate lock format docs
# Not a file that is only on the way to another.
.PRECIOUS: .venv-paddle-%/.complete
.DELETE_ON_ERROR:

# A file of one's own (--configfile) may add modes: then Snakemake says what is wrong.
known-mode:
	$(if $(filter $(MODE),$(MODES))$(findstring --configfile,$(ARGS))$(findstring modes=,$(ARGS)),,$(error \
	  MODE=$(MODE): config/config.yaml has no such mode; it has: $(MODES)))

# Set by gpu-evidence: the interpreter of the stages.
STAGE_PYTHON :=
CONFIG_WORDS = mode=$(MODE)$(if $(STAGE_PYTHON), python=$(STAGE_PYTHON))
run: known-mode env
	$(BIN)/snakemake --cores $(CORES) $(LOGGER) \
	  $(if $(findstring --config ,$(ARGS)),$(subst --config ,--config $(CONFIG_WORDS) ,$(ARGS)),--config $(CONFIG_WORDS) $(ARGS))

gpu-evidence:
	$(PYTHON_CHECK)
	@PYTHONDONTWRITEBYTECODE=1 $(PYTHON) scripts/gpu_ready.py --stages $(STAGES) $(if $(ANYWAY),--anyway)
	@$(MAKE) --no-print-directory run MODE=gpu_evidence STAGE_PYTHON=$(wildcard $(STAGES)/bin/python)

test: env-dev env-crate
	$(FOLLOW) $(BIN)/python
	$(MARKED) $(BIN)/python -m pytest -n 3 --dist loadfile -m 'not long'

test-long: env-dev
	$(BIN)/python -m pytest -n 2 -m long

test-root: env-dev
	test "$$(id -u)" = 0
	$(FOLLOW) $(BIN)/python
	$(MARKED) $(BIN)/python -m pytest tests/test_faults.py

test-cluster: env-dev
	command -v slurmctld > /dev/null || { apt-get update -qq && apt-get install -y -qq --no-install-recommends slurm-wlm munge; } > $(VENV)/slurm-install.log 2>&1 \
	  || { cat $(VENV)/slurm-install.log; exit 1; }
	$(FOLLOW) $(BIN)/python
	$(MARKED) $(BIN)/python -m pytest tests/cluster

test-generations: env-dev env-paddle-2.6
	$(FOLLOW) $(BIN)/python
	$(FOLLOW) .venv-paddle-2.6/bin/python
	$(MARKED) $(BIN)/python -m pytest tests/generations

test-gpu: env-dev env-paddle-gpu-2.6
	$(FOLLOW) $(BIN)/python
	$(MARKED) $(BIN)/python -m pytest -n 2 --dist loadfile tests/gpu

test-gpu-whole: env-dev env-paddle-gpu-2.6
	RIG=whole $(BIN)/python -m pytest tests/gpu/test_rig.py

test-browser: env-dev
	{ command -v chromium && command -v chromedriver; } > /dev/null || { apt-get update -qq && apt-get install -y -qq --no-install-recommends chromium chromium-driver; } > $(VENV)/chromium-install.log 2>&1 \
	  || { cat $(VENV)/chromium-install.log; exit 1; }
	$(FOLLOW) $(BIN)/python
	$(MARKED) $(BIN)/python -m pytest tests/browser

coverage:
	$(PYTHON) tests/coverage/judge.py $(if $(SINCE),--since $(SINCE))

soak: env
	$(BIN)/python bench/soak.py --seconds $(SECONDS) --models $(MODELS)

fuzz: env-dev
	$(BIN)/python bench/fuzz.py --seconds $(FUZZ_SECONDS)

bench: env-dev env-bench
	$(BIN)/python bench/run.py $(if $(PARTS),--parts $(PARTS)) $(ARGS)

env: $(VENV)/.complete-cpu
env-dev: $(VENV)/.complete-dev
env-gpu: .venv-gpu/.complete
env-bench: .venv-bench/.complete
env-crate: .venv-crate/.complete
env-paddle-%: .venv-paddle-%/.complete ;

define PYTHON_CHECK
	@$(PYTHON) -c 'import sys; v = sys.version_info; \
	  sys.exit(None if (3, 11) <= v < (3, 13) else f"Python 3.11 or 3.12 is needed, {sys.executable} is {v.major}.{v.minor}: make PYTHON=/path/to/python3.11 ...")'
endef

# The target's folder becomes a virtual environment with the pins of the first prerequisite.
define VENV_WITH_PINS
	$(PYTHON_CHECK)
	@echo "making the environment in $(@D) (about $(SIZE) is downloaded)"
	@rm -rf $(@D)
	$(PYTHON) -m venv $(@D)
	$(@D)/bin/python $(PIP_INSTALL) -r $<
endef

define VENV_COMPLETE
	@# Without compiled bytecode every start of Paddle costs several seconds more.
	$(@D)/bin/python -m compileall -q -j 0 $(@D)/lib > $(@D)/compileall.log 2>&1 || true
	@touch $@
endef

define FRESH_VENV
	$(VENV_WITH_PINS)
	$(VENV_COMPLETE)
endef
SIZE := 1 GB

$(VENV)/.complete-cpu: envs/cpu.txt
	$(FRESH_VENV)

.venv-paddle-%/.complete: envs/paddle-%.txt
	$(FRESH_VENV)

.venv-bench/.complete: envs/bench.txt
	$(FRESH_VENV)

.venv-crate/.complete: SIZE := 20 MB
.venv-crate/.complete: envs/crate.txt
	$(FRESH_VENV)

# Paddle's GPU build has CUDA libraries of its own, which that index alone has: so here pip follows requirements, held
# to the pins. Its name and version are pinned, not its hash: it is another file for each CUDA version.
.venv-gpu/.complete: SIZE := 5 GB
.venv-gpu/.complete: envs/gpu.txt envs/gpu-paddle.txt
	$(if $(PADDLE_INDEX),,$(error PADDLE_INDEX is needed: make env-gpu PADDLE_INDEX=ADDRESS, where ADDRESS is the package index of \
	  your CUDA version, from the pip section of https://www.paddlepaddle.org.cn/en/install/quick; see docs/gpu.md))
	$(VENV_WITH_PINS)
	sed -e '/^ *--hash=/d' -e 's/ *\\$$//' envs/gpu.txt > $(@D)/pins.txt
	@$(@D)/bin/python -m pip install --quiet --disable-pip-version-check --no-input --no-compile \
	  -c $(@D)/pins.txt --index "$(PADDLE_INDEX)" -r envs/gpu-paddle.txt
	$(VENV_COMPLETE)

$(VENV)/.complete-dev: envs/dev.txt $(VENV)/.complete-cpu
	$(BIN)/python $(PIP_INSTALL) -r envs/dev.txt
	@touch $@

LOCK := uv pip compile --quiet --python-version 3.11 --generate-hashes --no-header --no-annotate \
	--upgrade --override overrides.txt
lock:
	cd envs && $(LOCK) --universal cpu.in -o cpu.txt
	cd envs && $(LOCK) --universal dev.in -o dev.txt
	cd envs && $(LOCK) --universal --no-deps gpu-onnxruntime.in -o gpu-onnxruntime.txt
	# For Linux alone: what Paddle 2.6 asks for on Windows fits no current ONNX Runtime.
	cd envs && for pins in paddle-*.in bench.in crate.in; do $(LOCK) --python-platform x86_64-unknown-linux-gnu $$pins -o $${pins%.in}.txt; done
	$(PYTHON) envs/derive.py

format: env-dev
	$(BIN)/snakefmt Snakefile rules
	$(BIN)/ruff format scripts tests docs bench
	$(BIN)/ruff check --fix scripts tests docs bench

docs: env-dev
	$(BIN)/python docs/generate.py
