# Motet. `make help` lists the targets.
VENV ?= .venv
PYTHON ?= python3.11
BIN := $(VENV)/bin
WORKSPACE ?= workspace
RECIPE ?= recipes/movielens.yaml
SET ?= --set workspace=$(WORKSPACE)
export HF_HUB_OFFLINE = 1
export RAY_USAGE_STATS_ENABLED = 0

.PHONY: help install fetch demo serve check test test-slow chaos fuzz bench bench-quality bench-serving format clean

help: ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | sort | awk -F'\t' '{printf "  make %-14s %s\n", $$1, $$2}'

install: $(VENV)/installed ## make .venv with the package and its pinned dependencies

$(VENV)/installed: pyproject.toml constraints.txt
	@start=$$(date +%s); \
	$(PYTHON) -m venv $(VENV) && \
	$(BIN)/pip install -q -c constraints.txt -e '.[dev]' && \
	touch $@ && echo "install: $$(( $$(date +%s) - start )) s"

fetch: install ## fetch MovieLens-100k and the language model into the cache
	@$(BIN)/python recipes/fetch_movielens.py

demo: fetch ## from raw logs to an answer of the endpoint, on MovieLens-100k
	@start=$$(date +%s); \
	$(BIN)/python jobs/pipeline.py $(RECIPE) $(SET) && \
	$(BIN)/python serve/run.py --workspace $(WORKSPACE) --ask && \
	echo "demo: $$(( $$(date +%s) - start )) s after the install" >&2

serve: install ## keep the endpoint of the current release up until Ctrl-C
	@$(BIN)/python serve/run.py --workspace $(WORKSPACE)

check: install ## lint, types, layers, spelling
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/typos

test: fetch ## the test suite
	$(BIN)/python -m pytest -q

test-slow: fetch ## the tests that start clusters or run the whole demo (more than an hour; ARGS="--turn 1/3": a third of the files)
	$(BIN)/python -m pytest -q -m slow $(ARGS)

chaos: fetch ## faults under load, and the table of docs/RELIABILITY.md (half an hour; MOTET_CHAOS_REPEATS=1: less)
	$(BIN)/python -m pytest -q -m chaos tests/chaos
	@$(BIN)/python bench/reliability.py

fuzz: fetch ## what the endpoint's own schema allows and forbids, five thousand times (5 minutes)
	$(BIN)/python -m pytest -q -m chaos tests/fuzz

bench: fetch ## texts embedded, rows prepared, events trained, index queries and the demo by stage (25 minutes; BENCH_FULL=1: hours)
	@$(BIN)/python bench/embedding.py --rounds 2 --count 300
	@$(BIN)/python bench/prepare.py
	@$(BIN)/python bench/train.py --rounds 1
	@$(BIN)/python bench/index.py
	@$(BIN)/python bench/pipeline.py

bench-quality: fetch ## quality beside other libraries, on the same rows (hours; ARGS="--protocol T --seeds 1" for less)
	$(BIN)/python bench/quality.py $(ARGS)

bench-serving: fetch ## the endpoint beside a graph of four hops that does nothing (10 minutes the first time; ARGS="--rounds 5")
	@$(BIN)/python bench/serving.py $(ARGS)

format: install ## format the code
	$(BIN)/ruff check --fix -q . && $(BIN)/ruff format -q .

clean: ## remove what the targets made in this folder
	rm -rf $(VENV) $(WORKSPACE) workspace-* build platform/*.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
