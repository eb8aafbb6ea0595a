# `make help` lists what there is. Everything is installed into .venv and a user cache, nothing system-wide.

.DEFAULT_GOAL := help
VENV := .venv
PY := $(VENV)/bin/python
# The packages run from the checkout: nothing is built, and a change counts at once.
export PYTHONPATH := $(CURDIR)/operator:$(CURDIR)/tests
export PYTHONUNBUFFERED := 1
# Else each worker and each operator of a test compiles everything anew, where a machine forbids to keep it.
export PYTHONDONTWRITEBYTECODE :=
# For the one-off choice of an interpreter: make PYTHON=/path/to/python3.12 test
export PYTHON

# How many tests run at once: on two cores some wait while others compute. Each that needs a control plane has its own.
WORKERS ?= 5
SHARED_OUT = -n $(WORKERS) --dist loadgroup --no-loadscope-reorder
# Each test on one of its majors, which the seed chooses. `ONE_WORLD=` is on all that it has by default, ALL=1 on all there are.
ONE_WORLD = $(if $(filter 1,$(ALL)),,--one-world)

.PHONY: help setup demo check test lint guard programs pytest devcluster-test devcluster-if-changed cluster run \
	static types layers format collected quick cluster-down lock chart chart-test compat reference docs docs-serve release-check \
	release-files image-test

help: ## list the commands
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: setup ## show a CipherStorage from apply to Ready, break it, watch it heal; ends by itself
	@$(PY) -m demo

check: setup guard ## lint, types, layer contracts, docs and the quick tests that need no cluster: a minute
	@$(SIDE_BY_SIDE) types quick layers format docs

test: static programs devcluster-if-changed ## everything: lint, types, layers, docs and every test (ALL=1: each on all its majors)
	$(PY) -m pytest $(SHARED_OUT) $(ONE_WORLD) $(ARGS)

lint: setup guard ## ruff, mypy --strict and the layer contracts
	@$(SIDE_BY_SIDE) types layers format

# What reads the files and starts nothing. Types last longest: with one core left, the others are done beside them.
static: setup guard
	@$(SIDE_BY_SIDE) types layers format docs collected

# A test that cannot be imported is told before servers are started. And each worker finds compiled what it collects.
collected: setup
	@said=$$($(PY) -m pytest --collect-only -qq 2>&1) || { printf '%s\n' "$$said"; exit 1; }

quick: setup
	$(PY) -m pytest -q -n 2 --dist loadgroup -m "not cluster and not lengthy" --ignore tests/postgres --ignore tests/e2e $(ARGS)

SIDE_BY_SIDE := $(MAKE) --no-print-directory --jobs 2 --output-sync=target

types: setup
	$(VENV)/bin/mypy

layers: setup
	$(VENV)/bin/lint-imports

format: setup
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .

cluster: setup ## start a control plane and PostgreSQL that stay up, install the CRD, print how to use them
	@lines=$$($(PY) -m devcluster up) && eval "$$lines" && kubectl apply -k crds >&2 && printf '%s\n' "$$lines"

run: setup ## run the operator from the checkout against the current kubeconfig
	$(PY) -m cipher_operator run --blocked-ranges none --server-secrets-namespace cipher-system \
	  --health-address 127.0.0.1:0 --metrics-address 127.0.0.1:0 $(ARGS)

cluster-down: setup ## stop what `make cluster` started and throw its data away
	@$(PY) -m devcluster down

chart: setup ## make the parts of the Helm chart that come from crds/, manifests/, the flags and values.yaml
	$(PY) -m release.chart write

reference: setup ## make the pages of docs/reference from crds/
	$(PY) -m release.reference write

docs: setup ## build the docs site into dist/docs; a broken link or anchor fails
	$(PY) -m release.reference check
	$(PY) -m sphinx --fail-on-warning --keep-going --quiet -d dist/doctrees docs dist/docs
	@echo "docs: dist/docs/index.html"

docs-serve: docs ## show the docs site on http://127.0.0.1:8000 (ARGS=PORT for another port)
	$(PY) -m http.server --bind 127.0.0.1 --directory dist/docs $(or $(ARGS),8000)

release-check: setup ## the version is one, and the chart is made from what is there (ARGS='--tag v0.1.0': and may be released)
	$(PY) -m release.versions check $(ARGS)
	$(PY) -m release.chart check
	$(PY) -m pytest -q tests/delivery -m "not cluster"

chart-test: programs ## the chart by Helm 3 and 4, which the first run builds: rendered, installed, upgraded, rolled back, removed
	HELM=1 $(PY) -m pytest -q tests/delivery tests/devcluster/test_helm.py $(ARGS)

# Beside the minor that `make test` runs on: the oldest that is supported and the newest that there is.
COMPAT ?= 1.31 1.37
COMPAT_TESTS = tests/delivery/test_kubernetes_versions.py tests/crd tests/kube/test_refusals.py \
	tests/manifests/test_admission_fences.py tests/manifests/test_servers_only.py tests/e2e/test_rights.py \
	tests/e2e/test_servers_only.py tests/e2e/test_lifecycle.py tests/e2e/test_servers.py

compat: setup ## CRDs, rights, fences and stories from apply to delete, on the oldest and the newest Kubernetes (COMPAT='1.31')
	@failed=; for minor in $(COMPAT); do \
		export CIPHER_TEST_KUBERNETES=$$minor; \
		$(PY) -m devcluster setup && $(PY) -m pytest $(SHARED_OUT) $(COMPAT_TESTS) $(ARGS) || failed="$$failed $$minor"; \
	done; test -z "$$failed" || { echo "compat: failed on Kubernetes$$failed" >&2; exit 1; }

release-files: setup ## install.yaml, chart and notes into dist/ (ARGS='--image NAME --digest sha256:… --repository OWNER/NAME')
	$(PY) -m release.files $(ARGS)

image-test: setup ## build the image with buildah, weigh it, run every failure and a life with it; as root, on Debian or Ubuntu
	$(PY) -m release.image $(ARGS)

lock: setup ## write the lock files anew (ARGS=--upgrade: with the newest versions)
	@test -x $(VENV)/bin/uv || $(PY) -m pip install --quiet --only-binary :all: 'uv>=0.9,<1'
	$(LOCK) pyproject.toml -o requirements.lock
	$(LOCK) pyproject.toml --group dev -o requirements-dev.lock
	echo hatchling | $(LOCK) - -o requirements-build.lock

LOCK := $(VENV)/bin/uv pip compile --universal --generate-hashes --no-header --no-annotate --quiet $(ARGS)

setup: ## make .venv as requirements-dev.lock says (all others do it themselves)
	@.ci/setup $(VENV)

guard: setup
	@.ci/guard $(PY)

programs: setup
	@$(PY) -m devcluster setup

pytest: setup ## some tests: make pytest ARGS='tests/core -x'
	$(PY) -m pytest $(ARGS)

devcluster-test: setup ## the tests of tests/devcluster itself, which `make test` runs when it changed
	$(PY) -m pytest tests/devcluster $(ARGS)
	@$(if $(ARGS),:,.ci/devcluster-changed $(PY) --passed)

devcluster-if-changed: setup
	@if .ci/devcluster-changed $(PY); then $(MAKE) --no-print-directory devcluster-test ARGS=; fi
