# Requires Python 3.11 or newer, make and a package index.
#   make mnist                       install, then run the main job
#   make test                        install, then run the tests
#   make test PYTHON=python3.13      the same with another Python, in a separate environment

PYTHON ?= python3
VENV ?= $(if $(filter python3,$(PYTHON)),.venv,.venv-$(notdir $(PYTHON)))
BIN := $(VENV)/bin
PIP_INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt
# Compiled programs and bytecode are kept for the other test workers, the second pass and later runs.
KEPT := PYTHONDONTWRITEBYTECODE= JAX_COMPILATION_CACHE_DIR=$(CURDIR)/$(VENV)/xla JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS=0 JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES=-1
# Each worker starts with one half of the tests in a row, since neighbours share what is compiled.
PYTEST := $(KEPT) $(BIN)/python -m pytest -p no:cacheprovider -n auto --dist worksteal
BY_HAND := slow or faults or tfds

.PHONY: docs install mnist format lint types test test-long test-slow test-typed test-plain test-tfds faults accelerator gallery bench check clean help

help: ## show this list
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/\t/' | expand -t 16

$(VENV)/.made:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python must be 3.11 or newer; got %d.%d. Name another: make PYTHON=python3.11" % sys.version_info[:2])'
	$(PYTHON) -m venv $(VENV)
	@touch $@

$(VENV)/.installed: $(VENV)/.made pyproject.toml constraints.txt
	$(PIP_INSTALL) -e .
	@touch $@

$(VENV)/.installed-test: $(VENV)/.installed
	$(PIP_INSTALL) -e '.[test]'
	@touch $@

$(VENV)/.installed-docs: $(VENV)/.installed
	$(PIP_INSTALL) -e '.[docs]'
	@touch $@

install: $(VENV)/.installed ## install the package and its dependencies into .venv

mnist: $(VENV)/.installed ## run the main job: MNIST, ten seeds, the claim of 98.04 %
	$(BIN)/jaxresearch run mnist --seeds 10

format: $(VENV)/.installed-test ## rewrite the sources in the house format
	$(BIN)/ruff check --fix --quiet
	$(BIN)/ruff format --quiet

lint: $(VENV)/.installed-test ## check style and docstrings
	$(BIN)/ruff check
	$(BIN)/ruff format --check

types: $(VENV)/.installed-test ## check static types
	$(BIN)/pyright --pythonpath $(BIN)/python

test: test-typed test-plain ## run the short tests and the doctests, each once

# Those of messages, pages and sources call few functions of arrays; some tests pass wrong shapes on purpose (tests/conftest.py).
UNTYPED := $(addprefix --ignore=tests/,cli docs faults test_conventions.py)

# The checks of annotations only add failures, so that no test has to run without them as well.
test-typed: $(VENV)/.installed-test ## run the short tests of functions of arrays, with every array annotation checked at run time
	$(PYTEST) -m typed --jaxtyping-packages=jaxresearch,beartype.beartype $(UNTYPED) tests

test-plain: $(VENV)/.installed-test ## run the other short tests, and the doctests
	$(PYTEST) -m 'not (typed or long or $(BY_HAND))'

test-long: $(VENV)/.installed-test ## run the tests of more than five seconds each
	$(PYTEST) -m 'long and not ($(BY_HAND))' tests

test-slow: $(VENV)/.installed-test ## run the tests of whole runs: minutes each
	$(PYTEST) -m slow

faults: $(VENV)/.installed-test ## run the fault-injection tests (200 kills, 1,000 flipped bits): minutes
	$(PYTEST) -m faults

test-tfds: $(VENV)/.installed-test ## run the tests that prepare a TFDS set: installs TensorFlow
	$(PIP_INSTALL) -e '.[test,tfds]'
	$(BIN)/python -m pytest -p no:cacheprovider -m tfds

docs: $(VENV)/.installed-docs ## build the documentation into docs/_build/html; warnings are errors
	$(BIN)/python -m sphinx -W --keep-going -q -d docs/_build/doctrees docs docs/_build/html

gallery: $(VENV)/.installed ## carry out the published runs that have no record in runs/gallery: three to four hours
	$(BIN)/python docs/gallery.py $(GALLERY)

.venv-bench/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv-bench
	.venv-bench/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[bench]'
	@touch $@

accelerator: $(VENV)/.installed ## check guarantees and speed on this GPU or TPU: ten minutes at most
	$(BIN)/python -m benchmarks.accelerator $(ACCELERATOR)

bench: .venv-bench/.installed ## compare the speed with Keras and PyTorch; BENCH='--case NAME --pairs N'
	.venv-bench/bin/python -m benchmarks $(BENCH)

check: lint types test test-long ## run all checks that must pass before a change lands

clean: ## remove the environments and build outputs
	rm -rf .venv .venv-* build dist docs/_build docs/reference/api .ruff_cache .pytest_cache
