# make demo   an environment of its own, a LeNet trained on Fashion-MNIST, and its compression with recipes/quickstart.toml
# make test   style, types and the test suite
# make docs   the documentation as a site: build/site/index.html
#
# PyTorch's default wheel on Linux brings CUDA. For the CPU build, point pip at PyTorch's CPU wheel index
# (PIP_EXTRA_INDEX_URL) before the first make.

PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
DEMO   ?= demo
TORCH  ?= torch==2.13.0

.PHONY: demo test lint types suite docs clean

demo: export OMP_NUM_THREADS = 1
demo: $(VENV)/.ready
	rm -rf $(DEMO)
	$(BIN)/compressor train lenet --data fashion-mnist --download --fallback --epochs 8 --out $(DEMO)/model.pt
	$(BIN)/compressor optimize $(DEMO)/model.pt --recipe recipes/quickstart.toml --out $(DEMO)/run --set data.fallback=true

test: $(VENV)/.dev lint types suite

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/.dev
	$(BIN)/mypy

suite: $(VENV)/.dev
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile

docs: $(VENV)/.docs
	$(BIN)/python docs/tools/site.py

$(VENV)/.ready: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet "$(TORCH)"
	$(BIN)/pip install --quiet --editable .
	touch $@

$(VENV)/.dev: $(VENV)/.ready
	$(BIN)/pip install --quiet --editable ".[dev]"
	touch $@

$(VENV)/.docs: $(VENV)/.ready
	$(BIN)/pip install --quiet --editable ".[docs]"
	touch $@

clean:
	rm -rf $(VENV) $(DEMO) build dist
