# `make demo` and `make test` do all the set-up themselves, in a virtual environment of their own.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
OUT ?= out

.PHONY: demo test test-slow lint format docs clean

demo: $(VENV)/.installed
	$(BIN)/kogata export samples/home_intents/checkpoint -o $(OUT)/home-intents --name home-intents \
		--bits 4 --task samples/home_intents/test.jsonl --force
	@echo
	$(BIN)/kogata run -q $(OUT)/home-intents "dim the bedroom lamp to thirty percent at nine"
	$(BIN)/kogata run -q $(OUT)/home-intents "明日の朝7時に起こして"
	@echo
	@echo "The bundle is in $(OUT)/home-intents: open $(OUT)/home-intents/parity/report.html, or see README.md there."

test: lint
	$(BIN)/python -m pytest -m "not slow" -n auto

test-slow: $(VENV)/.installed-dev
	$(BIN)/python -m pytest -m slow -n auto

lint: $(VENV)/.installed-dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

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
	rm -rf $(VENV) $(OUT) build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis
