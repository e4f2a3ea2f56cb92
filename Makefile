# The commands to know. Each sets up what it needs in .venv; nothing outside this folder is touched.
#
#   make demo    compress a real sentence encoder and search with it from the compressed file
#   make test    build, lint, every test: the exhaustive ones on a spread of their cases
#   make test-all  what `make test` leaves out: every case of exhaustive tests, slow tests, kernels once more with emulated
#                  instruction sets and under sanitizers
#   make lint    ruff, mypy, clang-format
#   make test-transformers4  tests of tersely.transformers with transformers 4 instead of 5
#   make emulate the kernel tests with AVX-512 and AMX in plain C++ (a part of make test-all)
#   make bench   dense against compressed on this machine (installs the CPU build of torch)
#   make bench-peers  size and speed beside zstd, zlib, ZipNN and pcodec on PEER_MODELS (safetensors files)
#   make evidence  networks, coders and engines side by side, and docs/EVIDENCE.md: MODELS=FOLDER, EVIDENCE=--quick
#   make docs    write docs/api.md and every table, after a change of docstrings or records
#   make stub    write the types of the native module after a change of its bindings
#   make fuzz    mutate files under the sanitizers for FUZZ_SECONDS (60)
#
# TORCH_INDEX=URL: where `make test` and `make bench` find CPU builds of torch, e.g.
# https://download.pytorch.org/whl/cpu
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
SOURCES := $(shell find src -name '*.cpp' -o -name '*.hpp') CMakeLists.txt pyproject.toml
FUZZ_SECONDS ?= 60
JOBS ?= $(shell nproc)

.PHONY: demo test test-all test-transformers4 lint bench bench-peers evidence evidence-page docs fuzz emulate sanitize stub clean build
.DELETE_ON_ERROR:

build: $(VENV)/built

$(VENV)/made: constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(PIP) install -q -c constraints.txt scikit-build-core nanobind ninja cmake
	$(PIP) install -q -c constraints.txt numpy ml_dtypes safetensors typer rich hypothesis pytest pytest-xdist ruff mypy clang-format
	touch $@

# Editable: Python files are used in place, the native module is rebuilt when a source changes.
$(VENV)/built: $(VENV)/made $(SOURCES)
	$(PIP) install -q --no-build-isolation --no-deps -e .
	touch $@

$(VENV)/demo: $(VENV)/made
	$(PIP) install -q -c constraints.txt tokenizers
	touch $@

# torch first and alone, so that nothing that depends on it pulls another build of it.
$(VENV)/torch: $(VENV)/made
	$(PIP) install -q -c constraints.txt $(if $(TORCH_INDEX),--index-url $(TORCH_INDEX)) torch==2.13.0
	$(PIP) install -q -c constraints.txt transformers peft torchao
	touch $@

# Models to compress and a browser's driver; the browser itself is the system's (Debian: apt-get install chromium).
$(VENV)/tools: $(VENV)/made
	$(PIP) install -q -c constraints.txt onnx playwright
	touch $@

demo: $(VENV)/built $(VENV)/demo
	$(BIN)/python examples/minilm/run.py

lint: $(VENV)/built
	$(BIN)/ruff check src tests benchmarks docs examples fuzz
	$(BIN)/ruff format --check src tests benchmarks docs examples fuzz
	$(BIN)/mypy
	$(BIN)/clang-format --dry-run --Werror $(filter %.cpp %.hpp,$(SOURCES)) tests/emulated/*.h

# As many processes as there are processors; one that has nothing left takes tests from another.
PYTEST := $(BIN)/python -m pytest -n $(JOBS) --dist worksteal

test: lint $(VENV)/torch $(VENV)/tools
	$(PYTEST)

# Without one: calls of torch on every kind of weight in every mode and context are for changes of the adapter.
test-all: $(VENV)/built $(VENV)/torch $(VENV)/tools
	$(MAKE) emulate sanitize
	$(PYTEST) --thorough -m "slow or exhaustive" -k "not agree_everywhere"

# The last transformers 4 in front of the other packages of .venv.
$(VENV)/transformers4: $(VENV)/torch constraints-transformers4.txt
	rm -rf $@
	$(PIP) install -q --target $@ --no-deps -r constraints-transformers4.txt

test-transformers4: $(VENV)/built $(VENV)/transformers4
	PYTHONPATH=$(VENV)/transformers4 $(BIN)/python -m pytest tests/transformers_adapter

# AVX-512 and AMX in plain C++: every machine tests every instruction set.
emulate: $(VENV)/made
	tests/emulated/run $(BIN)/python

bench: $(VENV)/built $(VENV)/torch
	$(BIN)/python -m benchmarks.products

# Against zstd, zlib, ZipNN and pcodec on real weights. ZipNN imports torch.
$(VENV)/peers: $(VENV)/torch
	$(PIP) install -q -c constraints.txt zstandard pcodec
	$(PIP) install -q -c constraints.txt --no-deps zipnn
	touch $@

# Whom `make evidence` compares with. OpenVINO, ONNX Runtime and MNN want no torch of their own.
$(VENV)/rivals: $(VENV)/peers
	$(PIP) install -q -c constraints.txt onnxruntime openvino MNN onnx brotli openzl scipy matplotlib
	$(PIP) install -q -c constraints.txt --no-deps nncodec
	touch $@

evidence: $(VENV)/built $(VENV)/rivals
	$(BIN)/python -m benchmarks.evidence --resume $(if $(MODELS),--models $(MODELS)) $(EVIDENCE)
	$(MAKE) evidence-page RECORDS="*_evidence*.json"

evidence-page: $(VENV)/built $(VENV)/rivals
	$(BIN)/python -m benchmarks.evidence.page $$(ls -t benchmarks/records/$(or $(RECORDS),*_evidence.json) | head -1)

bench-peers: $(VENV)/built $(VENV)/peers
	$(BIN)/python -m benchmarks.files $(PEER_MODELS)

# The types of the native module, as its binding has them; a test compares.
stub: $(VENV)/built
	$(BIN)/python -m nanobind.stubgen -q -m tersely.backends.cpu._native -o src/tersely/backends/cpu/_native.pyi

docs: $(VENV)/built $(VENV)/torch
	$(BIN)/python -W ignore docs/make_api.py
	$(BIN)/python -m benchmarks.tables

sanitize: $(VENV)/made
	tests/sanitized/run $(BIN)/python

fuzz: $(VENV)/made
	FUZZ_SECONDS=$(FUZZ_SECONDS) fuzz/run $(BIN)/python

clean:
	rm -rf $(VENV) build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .cache
