# make demo   the whole story on generated data, about 15 minutes on two cores with AVX-512
# make test   the test suite, about 7 minutes on two cores
# Both set everything up on a fresh machine, in .venv; a second run does no set-up again.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
# Two workers of pytest-xdist with one thread each suit two cores.
TEST_ENV := OMP_NUM_THREADS=1 MKL_NUM_THREADS=1
TEST_WORKERS ?= 2

.PHONY: demo test lint clean

# The pip of the machine may be set up to prefer other sources; torch and torchvision must be a
# matching pair, so uv resolves them, from the package index alone.
$(READY): requirements.txt setup.py tools/install_detectron2.py
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade uv
	$(BIN)/uv pip install --quiet --compile-bytecode --python $(BIN)/python -r requirements.txt
	$(BIN)/python tools/install_detectron2.py
	$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation -e .
	$(BIN)/python -m compileall -q $(VENV)/lib/python*/site-packages/detectron2
	$(BIN)/python -c "import dense_ssl"
	touch $(READY)

demo: $(READY)
	$(BIN)/python tools/demo.py $(if $(DATA),--data "$(DATA)") \
		$(if $(TRAIN),--train "$(TRAIN)") $(if $(TEST),--test "$(TEST)")

test: $(READY)
	$(TEST_ENV) $(BIN)/python -m pytest -n $(TEST_WORKERS) --dist worksteal tests

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

clean:
	rm -rf $(VENV) output build dist .pytest_cache .ruff_cache *.egg-info projects/DenseSSL/*.egg-info
