# `make run` shows what Ramify does, `make test` tests it; both set up .venv first, once.
PYTHON ?= python3
WORKERS ?= 2

BIN := .venv/bin
READY := .venv/.ready
TESTING := .venv/.testing
GGUF := .venv/.gguf
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest

# Tests are compiled once: without their bytecode every run would rewrite all assertions anew, which takes seconds.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: run test test-slow check bench docs embedded-model setup clean

run: $(READY)  ## open the studio on a demonstration workspace
	@mkdir -p .cache
	@$(BIN)/ramify studio .cache/demo.ramify --demo

# A file's tests stay in one process, so that its server, browser and models are made once.
test: $(TESTING)  ## all tests but the slow ones
	$(PYTEST) -m "not slow" -n $(WORKERS) --dist loadfile

test-slow: $(TESTING) $(GGUF)  ## the tests that take minutes, those of llama.cpp among them
	$(PYTEST) -m slow

check: $(READY)  ## style, types, layers
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy --strict
	$(PYTEST) -q tests/test_layers.py tests/test_house.py

bench: $(READY)  ## us and transformers side by side
	$(BIN)/python -m benchmarks

docs: $(READY)  ## docs/cli.md from the commands themselves
	$(BIN)/python -m ramify.cli.reference docs/cli.md

embedded-model: $(READY)  ## train the embedded model `tiny` again; about three hours
	OMP_WAIT_POLICY=PASSIVE $(BIN)/python -m recipes.tiny.build

setup: $(READY)  ## make .venv

# torch first: it is by far the largest, and its own dependencies are left to it.
$(READY): pyproject.toml constraints.txt package-lock.json
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Ramify needs Python 3.11 or newer; make PYTHON=… names one"; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt "$$(grep '^torch==' constraints.txt)"
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
# Without npm all but the studio works, and `ramify studio` says what is missing.
	-@$(BIN)/python -c 'import pathlib; from ramify.web import modules; modules.missing() and modules.install(pathlib.Path("."))'
	@touch $(READY)

# What only tests need: the studio's type checker and axe from npm, a browser, and the sandbox for a model's code. Without them those
# tests are left out, and say so.
$(TESTING): $(READY)
	-@command -v npm > /dev/null && npm ci --silent
	-@command -v chromium > /dev/null || { apt-get update -qq && apt-get install -y -qq chromium; } > /dev/null
	-@command -v bwrap > /dev/null || { apt-get update -qq && apt-get install -y -qq bubblewrap; } > /dev/null || echo "no bubblewrap: the tests that run a model's code are left out"
	@touch $(TESTING)

# llama.cpp has no wheel: its sources are compiled once, about six minutes on two cores (without its image models, which nobody asks
# for here). Where no compiler is found the tests that need it are left out, and say so.
$(GGUF): $(READY)
	-CMAKE_ARGS="-DLLAVA_BUILD=OFF" $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[gguf]' && touch $(GGUF)

clean:  ## what tests and tools left; .venv stays
	rm -rf build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis .cache/models_made_here
	find src tests recipes -name __pycache__ -type d -prune -exec rm -rf {} +
