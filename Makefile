# make demo    verify sample photographs          make docs    write pages of docs/
# make test    check style and types, run tests   make bench   measure the figures of the documents
# make lint    check style and types              make gpu     build and measure engines on a GPU
# make stores  test galleries on Milvus           make soak    kills, full disks, malformed inputs, crowds
# make lock    write requirements-test.txt
# Every target creates the virtual environment .venv if it is missing; nothing else needs to be installed.

PYTHON ?= python3
BIN := .venv/bin
EDGEFR_SHARED ?= $(abspath ../shared)
export EDGEFR_SHARED
# Processes that run tests, each with one thread of torch, so that they do not compete for cores.
WORKERS ?= 2
# Options of bench/soak.py, for example SOAK='--kills 200 --inputs 2000'.
SOAK ?=

.PHONY: demo test lint lock docs bench soak stores gpu clean

demo: .venv/demo
	./demo.sh

test: .venv/test lint
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(WORKERS) --dist worksteal

lint: .venv/test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

docs: .venv/test
	$(BIN)/python docs/make_cli.py
	$(BIN)/python docs/make_models.py

bench: .venv/test export/artifacts/first.onnx export/artifacts/arcface.onnx
	$(BIN)/python -m bench

gpu: .venv/test export/artifacts/first.onnx export/artifacts/arcface.onnx
	$(BIN)/python -m bench.gpu

soak: .venv/test
	$(BIN)/python -m bench.soak $(SOAK)

stores: .venv/test .venv/milvus/bin/milvus-server
	EDGEFR_MILVUS=.venv/milvus/bin/milvus-server $(BIN)/python -m pytest -k 'milvus and not milvus-lite' \
		tests/gallery/stores/test_store_contract.py tests/gallery/stores/test_store_failures.py tests/cli/test_gallery_stores.py

export/artifacts/first.onnx: | .venv/test
	$(BIN)/edgefr train train/first.toml
	$(BIN)/edgefr export train/runs/first/fused.safetensors -o $@ --faces $(EDGEFR_SHARED)/data/lfw-aligned-112.zip

export/artifacts/arcface.onnx: | .venv/test
	$(BIN)/edgefr export $(EDGEFR_SHARED)/data/weights/arcface-mobilefacenet/mobilefacenet.pt -o $@

lock: .venv/bin/pip
	$(BIN)/python .ci/lock.py

.venv/bin/pip:
	$(PYTHON) -m venv .venv

.venv/demo: pyproject.toml constraints.txt | .venv/bin/pip
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[cpu,demo]'
	touch $@

# Where requirements-test.txt fits, every file but that of torch is checked against its SHA-256. It lists all packages; with
# dependencies, pip would ask for the hash of torch, which others need.
LOCK := $(shell $(PYTHON) -c 'import platform as p, sys; \
	fits = (p.system(), p.machine(), sys.version_info[:2], p.libc_ver()[0]) == ("Linux", "x86_64", (3, 11), "glibc"); \
	print("requirements-test.txt" if fits else "")')

.venv/test: pyproject.toml constraints.txt $(LOCK) | .venv/bin/pip
ifneq ($(LOCK),)
	$(BIN)/pip install --quiet --no-deps --require-hashes --only-binary :all: --requirement $(LOCK)
	$(BIN)/pip install --quiet --constraint constraints.txt torch
	$(BIN)/pip install --quiet --no-deps --no-build-isolation --editable .
else
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[cpu,train,demo,dev]'
endif
	touch .venv/demo
	-$(MAKE) .venv/tritonserver
	-$(MAKE) .venv/nginx
	touch $@

# A real Triton server for the tests (60 MB). It has its own environment because its Python backend needs numpy<2. There
# are wheels only for x86 Linux and Python up to 3.12; elsewhere the tests that need it are skipped.
.venv/tritonserver: | .venv/demo
	$(PYTHON) -m venv $@.new
	$@.new/bin/pip install --quiet --no-deps --only-binary :all: nvidia-pytriton==0.7.0 numpy==1.26.4 onnxruntime==1.32.0
	mv $@.new $@

# A real nginx for the tests of the page behind a proxy, from Debian's package, which is unpacked and not installed.
# Elsewhere the tests take an installed nginx, or are skipped.
.venv/nginx: | .venv/demo
	rm -rf $@.new
	mkdir $@.new
	cd $@.new && apt-get download --quiet nginx && dpkg-deb --extract nginx_*.deb .
	$@.new/usr/sbin/nginx -v
	mv $@.new $@

.venv/milvus/bin/milvus-server: | .venv/demo  # its dependencies conflict with ours, so it has its own environment
	$(PYTHON) -m venv .venv/milvus
	.venv/milvus/bin/pip install --quiet 'setuptools<70' milvus==2.3.5

clean:
	rm -rf .venv build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis
