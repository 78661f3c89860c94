# make demo   set everything up and run the whole job on the bundled catalogue, offline after the install
# make test   set everything up for development and run the fast tests
# make lint   formatting, style, types, layers
# make check  lint and test

PYTHON ?= python3
BIN := .venv/bin
TEST_ARGS ?=

.PHONY: demo test lint check clean

demo: .venv/.user
	$(BIN)/reeltag demo

test: .venv/.dev
	$(BIN)/pytest -n 2 $(TEST_ARGS)

lint: .venv/.dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

check: lint test

clean:
	rm -rf .venv runs dist build .pytest_cache .mypy_cache .ruff_cache .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

.venv/bin/python:
	$(PYTHON) -m venv .venv

.venv/.user: pyproject.toml | .venv/bin/python
	$(BIN)/python -m pip install --quiet --editable '.[all]'
	touch $@

.venv/.dev: pyproject.toml | .venv/bin/python
	$(BIN)/python -m pip install --quiet --editable '.[dev]'
	touch $@ .venv/.user
