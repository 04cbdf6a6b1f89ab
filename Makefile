# Everything a developer and a newcomer types. `make help` lists it.
.DEFAULT_GOAL := help
SHELL := /bin/bash
PYTHON ?= python3
PORT ?= 8765
SIZE_GB ?= 2
PRESET ?= phi-3-mini-4k-instruct
METHOD ?= qlora
# One process more than cores, for tests wait for processes of their own; each holds torch, so that
# many are more memory than they are worth.
WORKERS ?= --numprocesses=$(shell n=$$(($$(nproc) + 1)); echo $$((n < 8 ? n : 8))) --dist=worksteal
export ARGOTUNE_HOME ?= $(HOME)/.argotune
# Where it is set, as in many images, each process of the tests would compile all that it imports.
unexport PYTHONDONTWRITEBYTECODE

# uv of this machine, else one of our own in .tools.
UV := $(shell command -v uv 2>/dev/null || echo .tools/bin/uv)
ARGOTUNE := .venv/bin/argotune

VERSION := $(shell sed -n 's/^version = "\(.*\)"$$/\1/p' pyproject.toml)

# For `make images` and `make push-images`; what else there is: images/README.md.
STEPS ?= $(shell images/build list)
REGISTRY ?= localhost
TAG ?= $(VERSION)
IMAGES = REGISTRY='$(REGISTRY)' TAG='$(TAG)' VERSION='$(VERSION)' images/build

.PHONY: help setup tiny demo test test-gpu test-vllm test-cosign test-kills test-sources check lint fix golden e2e e2e-weekly e2e-all leaks images push-images base-digests \
  bench bench-gpu gpu-check clean

help:  ## List the targets
	@grep -hE '^[a-z0-9-]+:.*  ## ' $(MAKEFILE_LIST) | sed -E 's/:.*  ## /\t/' | expand -t 12

.tools/bin/uv:
	$(PYTHON) -m venv .tools
	.tools/bin/pip install --quiet --disable-pip-version-check --require-hashes \
	  --requirement images/uv.txt

# The stamp is newer than the lock file when the environment is what the lock file says.
.venv/.ready: uv.lock pyproject.toml | $(filter .tools/bin/uv,$(UV))
	$(UV) sync --quiet --all-extras --locked --compile-bytecode
	@touch $@

setup: .venv/.ready  ## Make .venv with everything; the command is then .venv/bin/argotune

tiny: setup  ## Make the weights of preset tiny in the model cache (under a minute)
	@$(ARGOTUNE) tiny

demo: setup  ## The whole pipeline on this machine: data, tuning, image, service, answers
	@.venv/bin/python -m argotune.workflows.demo --port $(PORT) $(if $(RESUME),--resume)

test: setup  ## All tests that need no cluster
	.venv/bin/pytest $(WORKERS)

test-gpu: setup  ## The tests that need a CUDA device
	.venv/bin/pytest -m gpu

VLLM_VENV ?= $(HOME)/.cache/argotune/vllm
test-vllm: setup  ## The tests before a real vLLM on the CPU, for which it makes a venv of 6 GB: [VLLM_VENV=...]
	ARGOTUNE_VLLM_PYTHON=$$(tests/steps/vllm/real/venv $(VLLM_VENV)) .venv/bin/pytest -m vllm tests/steps/vllm

COSIGN_DIR ?= $(HOME)/.cache/argotune/cosign
test-cosign: setup  ## The tests before the real cosign, which Go compiles, minutes of it: [COSIGN_DIR=...]
	[ -x $(COSIGN_DIR)/cosign ] || GOBIN=$(COSIGN_DIR) go install github.com/sigstore/cosign/v2/cmd/cosign@v2.6.5
	PATH=$(COSIGN_DIR):$$PATH .venv/bin/pytest -m cosign tests/workflows/cli/commands

test-kills: setup  ## Kill each step at all of its writes, where `test` does at some
	KILL_POINTS=all .venv/bin/pytest -s -k killed --override-ini timeout=0 tests/steps

test-sources: setup  ## Train on the same rows from every kind of source, where `test` does from two
	SOURCES=all .venv/bin/pytest tests/steps/test_one_adapter.py

check: lint  ## Format, lint, types, import contracts, golden files, tests; changes nothing
	.venv/bin/pytest --quiet $(WORKERS)

lint: setup  ## What `check` does before the tests
	.venv/bin/ruff format --check .
	.venv/bin/ruff check .
	.venv/bin/mypy
	.venv/bin/mypy images/sbom.py
	.venv/bin/lint-imports
	.venv/bin/python -m tests.tiers
	.venv/bin/python -m argotune.workflows.templates --check
	.venv/bin/python -m argotune.workflows.workspace.reference --check

fix: setup  ## Format and mend what can be mended
	.venv/bin/ruff check --fix .
	.venv/bin/ruff format .

golden: setup  ## Write workflows/rendered, the reference of the input file, outputs in the READMEs, images/uv.txt
	.venv/bin/python -m argotune.workflows.templates
	.venv/bin/python -m argotune.workflows.workspace.reference
	.venv/bin/python -m tests.transcripts
	$(UV) export --quiet --frozen --no-header --no-annotate --only-group uv --output-file images/uv.txt

# What they want, and what is in a shard: tests/e2e/README.md.
E2E = .venv/bin/pytest --force-enable-socket --durations=10 tests/e2e

e2e: tiny  ## The smoke tests against the cluster that KUBECONFIG names: [SHARDS="shard1 shard3"]
	$(if $(filter-out shard1 shard2 shard3 shard4 shard5,$(SHARDS)),$(error SHARDS is '$(SHARDS)'; there are shard1 to shard5))
	$(E2E) -m "smoke$(SHARDS:%= or %)"

e2e-weekly:  ## The tests against the cluster of the weekly tier: fifty runs at once, 10 minutes
	$(E2E) -m weekly

e2e-all: tiny  ## All tests against the cluster that KUBECONFIG names
	$(E2E) -m cluster

images: setup  ## Build the step images, and write what is in them to dist/sbom: [STEPS="plan push"] [BASE=...] [REGISTRY=...] [TAG=...] [EXTRAS=...]
	@.venv/bin/python images/sbom.py --uv '$(UV)' --version '$(TAG)' --base '$(BASE)' \
	  --python '$(BASE_PYTHON)' --extras '$(EXTRAS)' $(STEPS)
	@$(IMAGES) build $(STEPS)

push-images:  ## Push what `images` built: REGISTRY=... [TAG=...] [STEPS=...]
	@$(IMAGES) push $(STEPS)

base-digests:  ## Hold the base of the images to the digest that its tag has now: images/bases.lock
	@images/build base-digests

# TRL and what it needs, on top of what `setup` makes.
.venv/.bench: .venv/.ready
	$(UV) sync --quiet --all-extras --group bench --locked --compile-bytecode
	@touch $@

# All of them, whatever goal one misses on this machine.
BENCHES = 'dataset --size-gb $(SIZE_GB)' tokens data engine_overhead status runs serve tune.prepare tune.load tune.overhead tune.speed

leaks: setup  ## Print who takes away a node that is left behind, when, and what it has cost
	.venv/bin/pytest -q -s tests/steps/nodes/test_leaks.py

bench: .venv/.bench tiny  ## Measure: dataset, local engine, server, and tuning against TRL and Kaito
	@missed=; for bench in $(BENCHES); do \
	  echo ".venv/bin/python -m tests.bench.$$bench"; \
	  .venv/bin/python -m tests.bench.$$bench || missed+=" $${bench%% *}"; \
	done; \
	if [[ -n $$missed ]]; then echo "with a goal missed or an error:$$missed" >&2; exit 1; fi

gpu-check: setup  ## Check and measure tune on this machine's GPU, in a quarter of an hour: [STAGES="kernels mini"]
	.venv/bin/python -m tests.gpu $(STAGES)

bench-gpu: .venv/.bench  ## Measure tuning on this machine's GPU: [PRESET=...] [METHOD=lora|qlora]
	.venv/bin/python -m tests.bench.tune.gpu --preset $(PRESET) --method $(METHOD)

clean:  ## Remove what the other targets made here; runs and models in ARGOTUNE_HOME stay
	rm -rf .venv .tools dist .pytest_cache .mypy_cache .ruff_cache .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
