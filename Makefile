# `make demo` and `make test` do all the set-up themselves, in a virtual environment of their own.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
OUT ?= out

PYTEST := $(BIN)/python -m pytest -n auto --dist worksteal -rs

.PHONY: demo test test-slow test-ios test-kotlin test-clients clients-table lint kernels format docs clean

demo: $(VENV)/.installed
	$(BIN)/kogata export samples/home_intents/checkpoint -o $(OUT)/home-intents --name home-intents \
		--bits 4 --task samples/home_intents/test.jsonl --force
	@echo
	$(BIN)/kogata run -q $(OUT)/home-intents "dim the bedroom lamp to thirty percent at nine"
	$(BIN)/kogata run -q $(OUT)/home-intents "明日の朝7時に起こして"
	@echo
	@echo "The bundle is in $(OUT)/home-intents: open $(OUT)/home-intents/parity/report.html, or see README.md there."

test: $(VENV)/.installed-dev
	$(MAKE) --jobs=2 lint kernels
	$(PYTEST) -m "not slow"
	@if ios-demo/scripts/toolchain.sh --on-path >/dev/null; then $(MAKE) test-ios; \
		else echo "left out: the tests of ios-demo, because there is no Swift on PATH (make test-ios)"; fi
	@if tests/kotlin/toolchain.sh --on-path >/dev/null; then $(MAKE) test-kotlin; \
		else echo "left out: the tests of the Kotlin code, because there is no kotlinc on PATH (make test-kotlin)"; fi

test-slow: $(VENV)/.installed-dev
	$(PYTEST) -m slow

# The Swift package and the demo app. It needs Swift; as root on Debian it installs it (ios-demo/scripts/toolchain.sh).
test-ios: $(VENV)/.installed-dev
	ios-demo/scripts/check.sh $(BIN)/python

# The Kotlin that `kogata pack --for android` writes. It needs a JDK; kotlinc comes from npm where it isn't on PATH.
test-kotlin: $(VENV)/.installed-dev
	bin=$$(tests/kotlin/toolchain.sh) && PATH="$$bin:$$PATH" $(BIN)/python -m pytest -rs -m kotlin tests/kotlin

# The clients that people open an ONNX folder with, some in Node and in Chromium (docs/clients.md). It needs Node.js 20 or
# newer with npm, and chromium; the JavaScript packages go to the user's cache.
test-clients: $(VENV)/.installed-dev
	tests/clients/install.sh
	$(BIN)/python -m pytest -rs -m clients tests/clients

clients-table: $(VENV)/.installed-dev
	KOGATA_WRITE_CLIENTS=1 $(MAKE) test-clients

lint: $(VENV)/.installed-dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# Compiled once, for all workers and all runs of the tests, which look there too.
kernels: $(VENV)/.installed-dev
	NUMBA_CACHE_DIR=$(CURDIR)/.numba_cache $(BIN)/python -c "from exporter.compress.kernels import clusters_compiled, fit_compiled"

docs: $(VENV)/.installed-dev
	$(BIN)/python -m exporter.cli.reference docs

format: $(VENV)/.installed-dev
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip

$(VENV)/.installed: $(BIN)/python pyproject.toml constraints.txt
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[demo]"
	touch $@

$(VENV)/.installed-dev: $(VENV)/.installed
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[demo,dev]"
	touch $@

clean:
	rm -rf $(VENV) $(OUT) build dist ios-demo/KogataKit/.build .mypy_cache .ruff_cache .pytest_cache .hypothesis .numba_cache .import_linter_cache
