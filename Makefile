# Needs python3 (3.11 or newer), pip and git to begin; everything else is installed below, into this folder.
# Two environments, like the two images: .venv (operator and tools, never torch) and .venv-runtime (torch and vLLM).

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

PYTHON ?= python3
TORCH ?= torch==2.13.0
export DEEPSEEK_RUNTIME_PYTHON ?= $(CURDIR)/.venv-runtime/bin/python
UV ?= uv==0.13.9
WORKERS ?= 2
PIP := -m pip --disable-pip-version-check --no-input -qq
bin := .venv/bin
# Bytecode is compiled here, in parallel: without it the first start of an engine takes twice as long.
install := .venv/bin/uv pip install -q --require-hashes --no-deps --compile-bytecode --python

.PHONY: help
help: ## this text
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' Makefile

.venv/ready: requirements-dev.lock operator/requirements.lock operator/pyproject.toml runtime/pyproject.toml
	@echo "-- installing the operator and its tools into .venv (about 25 s)"
	@$(PYTHON) -m venv .venv
	@$(bin)/python $(PIP) install '$(UV)'
	@$(install) .venv -r requirements-dev.lock
	@$(bin)/uv pip install -q --python .venv --no-deps --no-build-isolation -e runtime -e operator
	@touch $@

# torch comes first and from outside the lock: the CPU build and the index's build have other hashes.
.venv-runtime/ready: runtime/requirements-cpu.lock runtime/pyproject.toml | .venv/ready
	@echo "-- installing torch and vLLM for CPU into .venv-runtime (about 80 s)"
	@$(PYTHON) -m venv .venv-runtime
	@.venv-runtime/bin/python $(PIP) install '$(TORCH)'
	@$(install) .venv-runtime -r runtime/requirements-cpu.lock
	@echo '$(CURDIR)/runtime' > "$$(.venv-runtime/bin/python -c 'import site; print(site.getsitepackages()[0])')/deepseek-runtime.pth"
	@touch $@

.PHONY: setup
setup: .venv/ready .venv-runtime/ready ## install everything into .venv and .venv-runtime

.PHONY: demo
demo: setup ## plan, serve, meter and rebalance a small model on this machine; no cluster, no GPU
	@$(bin)/python -m deepseek_operator.local.demo

# As root on Debian the alert tests install what they need; else they name the command and are skipped.
.PHONY: prometheus
prometheus:
	@if ! command -v promtool > /dev/null || ! command -v prometheus-alertmanager > /dev/null; then \
	  if [ "$$(id -u)" = 0 ] && command -v apt-get > /dev/null; then echo "-- installing prometheus and prometheus-alertmanager"; \
	    apt-get update -q > /dev/null && DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends prometheus prometheus-alertmanager > /dev/null; \
	  else echo "-- alert tests need: apt-get install prometheus prometheus-alertmanager"; fi; fi

.PHONY: test
test: setup prometheus ## every test; TESTS=path narrows, DEEPSEEK_TEST_KUBECONFIG names the API server for the cluster tests
	@$(bin)/python -m pytest -n $(WORKERS) --dist loadgroup $(TESTS)

.PHONY: verify
verify: .venv/ready ## format, lint, types, import contracts, generated files
	@$(bin)/ruff format --check .
	@$(bin)/ruff check .
	@$(bin)/mypy
	@$(bin)/lint-imports --no-cache
	@$(bin)/deepseek-operator crds --check
	@$(bin)/deepseek-operator crds --check --dir charts/deepseek-operator/files/crds
	@$(bin)/deepseek-operator rules --check
	@$(bin)/deepseek-operator docs --check

.PHONY: generate
generate: .venv/ready ## write what verify checks: CRDs, alert rules, reference docs
	@$(bin)/ruff format .
	@$(bin)/deepseek-operator crds
	@$(bin)/deepseek-operator crds --dir charts/deepseek-operator/files/crds
	@$(bin)/deepseek-operator rules
	@$(bin)/deepseek-operator docs

.PHONY: e2e
e2e: .venv/ready ## the whole loop on the cluster of KUBECONFIG; E2E_LOAD_IMAGE says how images get there (see e2e/README.md)
	@$(bin)/python e2e/run

.PHONY: bench
bench: .venv/ready ## speed, memory, exactness and cost of plans beside bounds and peers; OUT=docs/reference writes the page
	@PYTHONPATH=operator:runtime:tests $(bin)/python tests/bench/run.py $(if $(OUT),--out $(OUT))

# Locks name no index. uv comes from PyPI; LOCK_OPTIONS=--find-links=DIR where a CPU build of torch lies on disk.
.PHONY: lock
lock: .venv/ready ## resolve the requirement locks anew
	@compile="$(bin)/uv pip compile -q --upgrade --generate-hashes --python-version 3.11 --no-header --no-annotate $(LOCK_OPTIONS)"; \
	$$compile operator/pyproject.toml --no-emit-package deepseek-runtime -o operator/requirements.lock; \
	$$compile operator/pyproject.toml --group pyproject.toml:dev -c operator/requirements.lock --no-emit-package deepseek-runtime -o requirements-dev.lock; \
	$$compile runtime/pyproject.toml --extra cpu $(foreach p,torch torchvision torchaudio torchcodec triton,--no-emit-package $(p)) -o runtime/requirements-cpu.lock; \
	$$compile runtime/pyproject.toml --extra cuda $(foreach p,torch triton,--no-emit-package $(p)) -o runtime/requirements-cuda.lock

.PHONY: clean
clean: ## remove the environments and caches
	@rm -rf .venv .venv-runtime .cache .pytest_cache .mypy_cache .ruff_cache .hypothesis
