# Everything here sets itself up: a virtual environment in .venv with ddkit's own wheel in it.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
SOURCES := pyproject.toml README.md $(shell find ddkit cli plugins -name '*.py' -o -name '*.toml' -o -name 'py.typed' -o -path '*/page/*' -o -path '*/templates/*')
DEMO := runs/demo
BARE := --only-binary=:all: --python-version 3.12 --implementation cp --platform manylinux_2_17_x86_64 --platform manylinux2014_x86_64

.PHONY: demo test test-all lint types docs bench device device-wheels clean

demo: $(VENV)/installed ## distil digits by Teddy, compare with random images, draw the images
	$(BIN)/ddkit distill --method teddy --data digits --ipc 1 --threads 1 --out $(DEMO)
	$(BIN)/ddkit evaluate $(DEMO) --seeds 3
	$(BIN)/ddkit show $(DEMO)

test: $(VENV)/installed ## the tests that take minutes at most, in a process per core
	OMP_NUM_THREADS=1 $(BIN)/pytest --numprocesses auto --dist loadgroup

test-all: $(VENV)/installed ## all tests, the long ones and those for a GPU too
	$(BIN)/pytest -m ''

lint: $(VENV)/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/installed
	$(BIN)/mypy

docs: $(VENV)/installed ## the documentation, in site/; a broken link fails
	$(BIN)/python -m mkdocs build --quiet

bench: $(VENV)/installed ## the ratios of benchmarks/, written to benchmarks/results/
	$(BIN)/python -m benchmarks.loader
	$(BIN)/python -m benchmarks.augmentation
	$(BIN)/python -m benchmarks.teddy_step
	$(BIN)/python -m benchmarks.tesla_step
	$(BIN)/python -m benchmarks.flat_step
	$(BIN)/python -m benchmarks.matching_step
	$(BIN)/python -m benchmarks.regression_step
	$(BIN)/python -m benchmarks.tesla_memory
	$(BIN)/python -m benchmarks.apm_memory
	$(BIN)/python -m benchmarks.pool_reads
	$(BIN)/python -m benchmarks.evaluation_seeds
	$(BIN)/python -m benchmarks.startup
	$(BIN)/python -m benchmarks.growth

device: $(VENV)/installed ## is ddkit right and fast on this device: 10 minutes; DATA=folder of CIFAR-10
	$(BIN)/python -m benchmarks.device all $(if $(DATA),--data $(DATA))

# for a machine with torch 2.11 and Python 3.12 and without a network; see docs/reproducing.md
device-wheels: $(VENV)/dependencies ## what such a machine lacks, and ddkit's wheel, in .whl/
	rm -rf .whl
	$(BIN)/python -m pip wheel --quiet --no-build-isolation --no-deps --wheel-dir .whl .
	$(BIN)/python -m pip download --quiet $(BARE) --dest .whl pydantic tomli-w
	$(BIN)/python -m pip download --quiet $(BARE) --dest .whl --no-deps torch-pruning
	ls .whl

clean:
	rm -rf $(VENV) build dist site

$(VENV)/dependencies: pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet '.[dev]'
	touch $@

# the wheel, not an editable install: tests then see what users get
$(VENV)/installed: $(VENV)/dependencies $(SOURCES)
	$(BIN)/python -m pip install --quiet --no-build-isolation --no-deps --force-reinstall .
	touch $@
