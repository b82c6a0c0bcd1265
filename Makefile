# kubernaut: `make help` lists what there is.

SHELL := /bin/bash
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
COVERED = $(BIN)/coverage run $(BIN)/pytest
CLUSTER ?= local
REGISTRY ?=
UPGRADE ?=
SOAK ?= 20

# Without bytecode every pytest worker, and every program that a test starts, compiles the whole package and its tests again.
export PYTHONDONTWRITEBYTECODE :=

.DEFAULT_GOAL := help
.PHONY: help install demo demo-jenkins check lint test test-jenkins soak bench up down purge requirements clean

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

install: $(VENV)/installed ## Make the virtual environment with everything, from pinned requirements

$(VENV)/installed: requirements-dev.txt pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "kubernaut needs Python 3.11 or newer: make PYTHON=/path/to/python3.11")'
	@$(PYTHON) -c 'import ensurepip' 2>/dev/null || { echo "$(PYTHON) cannot make virtual environments: apt-get install python3-venv" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --require-hashes -r requirements-dev.txt
	# editable_mode=compat: the clone itself is on the path, so that a script beside a clone called kubernaut/ imports the package in it
	$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation --config-settings editable_mode=compat -e .
	@touch $@

demo: install ## Bring up a real Kubernetes, ship hello-world to it, call it (or: CLUSTER=current REGISTRY=host/prefix)
	@$(BIN)/python examples/demo.py --cluster $(CLUSTER) $(if $(REGISTRY),--registry $(REGISTRY))

demo-jenkins: install ## Bring up a CI server too: a push to a repository becomes a running release (or: KEEP=1, to look around there)
	@$(BIN)/python examples/demo_jenkins.py $(if $(KEEP),--keep)

check: install ## The fast inner loop: lint, types and the tests that need no root and no cluster
	@$(MAKE) --no-print-directory lint
	$(BIN)/pytest -q -m "not platform and not slow" -n 4 --dist worksteal --hypothesis-profile=quick

lint: install ## Style, spelling, types, which package may import which, and whether every import is a declared dependency
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/deptry . --extend-exclude '(tests|benchmarks|examples)/'
	$(BIN)/deptry . tests benchmarks examples --ignore DEP004
	$(BIN)/codespell

test: install ## Everything, with coverage: lint, all tests, the last of them on a real cluster, which they bring up themselves
	@$(MAKE) --no-print-directory lint
	rm -rf .coverage
	$(COVERED) -q -m "not platform and not slow" -n 4
	$(COVERED) -q -m "slow and not platform" -n 4
	# the platform's own tests first: they compare the host before and after; then two platforms side by side
	$(COVERED) -q -m platform --durations=10 tests/local
	$(COVERED) -q -m platform --durations=20 --ignore tests/local -n 2 --dist loadfile
	$(BIN)/coverage combine --quiet
	$(BIN)/coverage report

# The values come and go through the environment: a token in an argument could be read by anybody on the machine.
test-jenkins: export KUBERNAUT_TEST_JENKINS := 1
test-jenkins: install ## The CI scenario on a genuine Jenkins of yours: JENKINS_URL=… JENKINS_USER=… JENKINS_TOKEN=…, see jenkins/README.md
	@for name in JENKINS_URL JENKINS_USER JENKINS_TOKEN KUBECONFIG KUBERNAUT_REGISTRY; do \
		[ -n "$${!name}" ] || { echo "$$name is not set; what make test-jenkins needs stands in jenkins/README.md" >&2; exit 2; }; done
	$(BIN)/pytest -m platform tests/e2e/test_jenkins.py tests/e2e/test_jenkins_genuine.py

soak: install ## The state machine by chance and for long, in memory and on a real cluster (SOAK=20: twenty times as much)
	SOAK=$(SOAK) $(BIN)/pytest --timeout 0 tests/unit/deploy/test_machine.py tests/faults/test_machine.py

bench: install ## Time kubernaut beside the shell pipeline, how soon failures are explained, what locks, kills and races cost, the server, and what a CI server adds
	@missed=0; for bench in ship rollout race serve ci; do $(BIN)/python benchmarks/$$bench.py || missed=$$?; done; exit $$missed

up: install ## Bring up the local platform
	@$(BIN)/kubernaut local up

down: install ## Stop the local platform; its data stays
	@$(BIN)/kubernaut local down

purge: install ## Stop the local platform and remove its data
	@$(BIN)/kubernaut local down --purge

requirements: ## Pin what pyproject.toml asks for (UPGRADE=--upgrade: the newest of everything)
	$(PYTHON) -m venv $(VENV)-pin && $(VENV)-pin/bin/pip install --quiet uv
	$(VENV)-pin/bin/uv pip compile --quiet --python-version 3.11 --generate-hashes --no-emit-index-url --no-header $(UPGRADE) \
		--all-extras --group dev --output-file requirements-dev.txt pyproject.toml
	$(VENV)-pin/bin/uv pip compile --quiet --python-version 3.11 --generate-hashes --no-emit-index-url --no-header \
		--constraint requirements-dev.txt --extra local --output-file requirements.txt pyproject.toml
	rm -rf $(VENV)-pin

clean: ## Remove what the tools left in the checkout
	rm -rf $(VENV) build *.egg-info .coverage .mypy_cache .pytest_cache .ruff_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
