# Two commands: `make book` builds the book, `make test` runs every test. Each works on its own.
PYTHON ?= python3
BIN := .venv/bin
CONSTRAINTS ?= -c constraints.txt
# Python compiles what it imports; compiling all of it beforehand takes 40% of the installation.
PIP := $(BIN)/python -m pip install -q --disable-pip-version-check --no-compile $(CONSTRAINTS)
CACHE := _build/.jupyter_cache
# Chapters that are executed side by side; the one that times kernels is executed alone.
CHAPTERS := $(filter-out book/performance.ipynb,$(wildcard book/*.ipynb))
BOOK := _build/html/index.html
# Tests run side by side, so each has one thread: threads that wait for a busy core spin. Those of pages mostly wait
# for a browser: four workers keep two cores busy.
PARALLEL := OMP_NUM_THREADS=1 $(BIN)/python
WORKERS := -n 4 --dist worksteal
NPM := $(shell command -v npm 2>/dev/null)
CPP := ncamlib/kernels/rollout.cpp ncamlib/live/automaton.cpp

.PHONY: book test test-without-compiler lint results torture clean

book: $(BIN)/ready
	@$(if $(NPM),$(MAKE) -s node_modules/ready || echo "formulas are set in the reader's own fonts")
	@$(BIN)/python book/_ext/stale.py $(CACHE)
	@# One that fails is executed again by the build, which reports it.
	@$(BIN)/jcache notebook -p $(CACHE) clear -f >/dev/null
	@$(BIN)/jcache notebook -p $(CACHE) add $(CHAPTERS) >/dev/null
	OMP_NUM_THREADS=1 $(BIN)/jcache project -p $(CACHE) execute -e local-parallel -t 300 -v WARNING >/dev/null
	$(BIN)/jupyter-book build . -W --keep-going -n -q
	@echo "The book is built: open $(CURDIR)/$(BOOK)"

test: book lint
	$(PARALLEL) -m pytest $(WORKERS) tests
	$(PARALLEL) -m pytest $(WORKERS) --dist loadscope -p no:cacheprovider -W default --nbval-lax --nbval-current-env book

lint: $(BIN)/ready $(if $(NPM),node_modules/ready)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/clang-format --dry-run --Werror $(CPP)
	$(if $(NPM),node_modules/.bin/biome ci --error-on-warnings,@echo "npm is not installed: JavaScript is not checked")

# What differs on a machine without a C++ compiler.
test-without-compiler: $(BIN)/ready
	$(PARALLEL) tests/without_compiler.py $(BIN)/python -m pytest $(WORKERS) -k "not triton" \
	  tests/test_kernels.py tests/test_cli.py tests/test_model.py tests/test_sliders.py

# Thousands of kills, damaged files and bad values; what was withstood is recorded and shown in the book. Half an hour.
torture: $(BIN)/ready
	$(BIN)/python -m pytest tests/test_torture.py --torture

# Measure the shipped checkpoints and PCA again (photographs, which are not here, excepted) and write the tables.
results: $(BIN)/ready
	for file in checkpoints/*.safetensors; do \
	  case $$file in *cifar10*) continue;; esac; \
	  $(BIN)/ncam evaluate $$(basename $$file .safetensors) --record || exit 1; done
	for set in chars emos heads variety full heldout; do $(BIN)/ncam data pca $$set --record || exit 1; done
	$(BIN)/ncam list --write

$(BIN)/ready: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; \
	  sys.exit(None if (3, 10) <= v <= (3, 14) else "Python 3.10 to 3.14 is needed, this is %d.%d: make PYTHON=python3.12" % v)'
	@$(PYTHON) -m venv .venv || { echo "Python's venv is missing: on Debian and Ubuntu, apt install python3-venv"; exit 1; }
	$(PIP) -e '.[book,test]'
	@touch $@

node_modules/ready: package.json package-lock.json
	npm ci --silent --no-audit --no-fund
	@touch $@

clean:
	rm -rf _build .venv node_modules
