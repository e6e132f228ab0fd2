# Every target sets up .venv the first time and reuses it afterwards.
PYTHON ?= python3
BIN := .venv/bin
READY := .venv/.ready

.PHONY: demo fuzz test test-oldest test-oldest-triton test-clients test-matrix check format bench gpu-check clean

demo: $(READY)
	$(BIN)/python -m ssl_train.demo

# Two workers of one core each, or they would get into each other's way; a file goes to one of them, the slow folders first.
PYTEST := -m pytest -n 2 --dist loadfile --no-loadscope-reorder
test test-oldest test-oldest-triton test-clients: export OMP_NUM_THREADS = 1

test: $(READY)
	$(BIN)/python $(PYTEST) --cov --cov-fail-under=90 --cov-report=term:skip-covered

# The oldest supported versions, in an environment of their own; on Python 3.12 where the machine has it.
OLDEST_PYTHON ?= $(shell python3.12 -c "" 2>/dev/null && echo python3.12 || echo $(PYTHON))
OLDEST := .venv-oldest/bin

test-oldest: .venv-oldest/.ready
	$(OLDEST)/python $(PYTEST)

.venv-oldest/.ready: pyproject.toml oldest.txt
	$(OLDEST_PYTHON) -m venv .venv-oldest
	$(OLDEST)/python -m pip install --quiet --disable-pip-version-check --constraint oldest.txt --editable '.[dev]'
	@touch $@

# The Triton kernels in the interpreter and compiler of the oldest supported Triton, beside the torch of .venv: the interpreter needs none.
OLDEST_TRITON := $(shell sed -n 's/^triton==//p' oldest.txt)

test-oldest-triton: $(READY) .triton-oldest/.ready
	PYTHONPATH=.triton-oldest $(BIN)/python -m pytest tests/parity/test_triton.py tests/parity/test_triton_code.py

.triton-oldest/.ready: oldest.txt
	rm -rf .triton-oldest
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --target .triton-oldest 'triton==$(OLDEST_TRITON)'
	@touch $@

# Programs of other libraries that take a DataLoader. TIMM_TRAIN is the path of timm's train.py, from its repository.
test-clients: $(READY)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[clients]'
	TIMM_TRAIN=$(abspath $(TIMM_TRAIN)) $(BIN)/python -m pytest tests/clients/test_*.py tests/clients/client_*.py

# Every supported torch, with the Triton that it brings; writes docs/versions.md. ROWS names some of them, such as 2.11.
test-matrix:
	$(PYTHON) tests/version_matrix.py $(ROWS)

# Broken files for everything that reads files; FOLDER keeps what was found for the next run. make fuzz MINUTES=60 FOLDER=fuzz
MINUTES ?= 1
fuzz: $(READY)
	$(BIN)/python -m tests.fuzz --minutes $(MINUTES) $(if $(FOLDER),--folder $(FOLDER))

check: $(READY)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

format: $(READY)
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: $(READY)
	$(BIN)/python -m benchmarks run augment scaling decode --quick --repeats 10 --json bench/bench.json
	$(BIN)/python -m benchmarks report bench/bench.json -o bench/report.html --png bench

gpu-check: $(READY)
	$(BIN)/python -m benchmarks gpu-check

$(READY): pyproject.toml
	@echo "Setting up .venv: this downloads PyTorch the first time (a few minutes)."
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	@touch $(READY)

clean:
	rm -rf .venv .venv-oldest .triton-oldest .matrix bench gpu-check.json gpu-check.html gpu-check.png demo build dist *.egg-info .coverage .mypy_cache .pytest_cache .ruff_cache .hypothesis
