# Every target sets up .venv the first time and reuses it afterwards.
PYTHON ?= python3
BIN := .venv/bin
READY := .venv/.ready

.PHONY: demo test check format bench clean

demo: $(READY)
	$(BIN)/python -m ssl_train.demo

test: $(READY)
	$(BIN)/python -m coverage run -m pytest
	$(BIN)/python -m coverage report --fail-under=90 --skip-covered

check: $(READY)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

format: $(READY)
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: $(READY)
	$(BIN)/python -m benchmarks run augment --quick

$(READY): pyproject.toml
	@echo "Setting up .venv: this downloads PyTorch the first time (a few minutes)."
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	@touch $(READY)

clean:
	rm -rf .venv demo build dist *.egg-info .coverage .mypy_cache .pytest_cache .ruff_cache .hypothesis
