# `make demo` and `make test` need nothing but Python 3.11, Java 17 and Maven; `aisleflow doctor` tells what is missing.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
BIN := .venv/bin
INSTALLED := .venv/.installed
PEERS_INSTALLED := .venv-bench/.installed
UV := $(BIN)/uv pip
.DEFAULT_GOAL := help

.PHONY: back-pressure bench bench-anomalies bench-camera bench-cleaning bench-decoding bench-forecast bench-forecast-confidence bench-forecast-network bench-forecast-speed bench-freshness bench-identity bench-ingest bench-queries bench-questions bench-restocking bench-scaling bench-stages bench-throughput bench-training camera-week demo faults help install kill-test lint soak test training vision

help: ## Show this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/  make \1\t\2/' | expand -t 24

install: $(INSTALLED) ## Build .venv from the pinned requirements, hashes checked

$(INSTALLED): requirements/main.txt requirements/dev.txt requirements/uv.txt pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	test -x $(BIN)/uv || $(BIN)/python -m pip install -q --disable-pip-version-check --require-hashes -r requirements/uv.txt
	$(UV) install -q --python $(BIN)/python --require-hashes -r requirements/main.txt -r requirements/dev.txt
	$(UV) install -q --python $(BIN)/python --no-deps -e .
	touch $@

vision: install ## Add PyTorch, OpenVINO and the detectors (5 GB), for camera workers only
	$(UV) install -q --python $(BIN)/python --require-hashes -r requirements/vision.txt

training: install ## Add PyTorch, Prophet and Spark (5 GB), for machines that train forecasts only
	$(UV) install -q --python $(BIN)/python --require-hashes -r requirements/training.txt

demo: install ## Shops come alive: everything starts, with the simulator
	$(BIN)/aisleflow demo

test: install ## Run the tests
	$(BIN)/python -m pytest

kill-test: install ## Kill every part of a running system, then check every answer: a part of `make faults`
	$(BIN)/python -m tests.faults --minutes 1 --gap 8 --only "kill -9"

faults: install ## Faults of every kind over the real parts, MINUTES=5 SEED=1: nothing may be lost, doubled or wrong
	$(BIN)/python -m tests.faults --minutes $(or $(MINUTES),5) --seed $(or $(SEED),1)

lint: install ## Style, types and the rooms' borders
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# Those that take hours, an extra, or material of yours: each has a target or a command of its own.
APART := soak identity camera visits shelves cleaning restocking forecast forecast_confidence forecast_speed forecast_network training_growth
bench: install $(PEERS_INSTALLED) ## Run every benchmark that needs nothing but this machine
	@set -e; for name in $(filter-out $(APART),$(basename $(notdir $(wildcard benchmarks/[a-z]*.py)))); do echo "== $$name"; $(BIN)/python -m benchmarks.$$name; done

bench-restocking: install ## What each restocking policy sells and holds over real sales; how far stock-out risks hold: SALES=FOLDER (5 minutes)
	$(BIN)/python -m benchmarks.restocking $(SALES) $(BENCH_ARGS)

bench-freshness: install ## How old an answer is: steady, at the highest rate, in a rebalance (9 minutes)
	$(BIN)/python -m benchmarks.freshness $(BENCH_ARGS)

bench-scaling: install ## Cost by workers, shops and open visits; what comes back how fast (half an hour)
	$(BIN)/python -m benchmarks.scaling $(BENCH_ARGS)

bench-ingest: install ## Events over HTTP beside producing to Kafka (2 minutes)
	$(BIN)/python -m benchmarks.ingest $(BENCH_ARGS)

bench-camera: vision ## A clip to events beside ultralytics' own tracking, and cameras carried: CLIP=FILE MODEL=FOLDER (5 minutes)
	$(BIN)/python -m benchmarks.camera $(CLIP) $(if $(MODEL),--model $(MODEL)) $(BENCH_ARGS)

bench-identity: vision ## Identity, staff, groups and queue over 300 scenes of rendered footage (15 minutes)
	$(BIN)/python -m benchmarks.identity $(BENCH_ARGS)

bench-cleaning: install ## Cleaning sales beside pandas at the same work, then ten million rows: SALES=FILE (10 minutes)
	$(BIN)/python -m benchmarks.cleaning $(SALES) $(BENCH_ARGS)

camera-week: install ## A week of two cameras' observations through the rules: memory must stay flat (2 minutes)
	$(BIN)/python -m benchmarks.camera_week $(BENCH_ARGS)

# The peers that we measure ourselves against need older packages than we do, so they have a venv of their own.
$(PEERS_INSTALLED): requirements/bench.txt | install
	test -x .venv-bench/bin/python || $(PYTHON) -m venv .venv-bench
	$(UV) install -q --python .venv-bench/bin/python --no-deps --require-hashes -r requirements/bench.txt
	touch $@

bench-forecast-confidence: install ## Whether confidence scores keep what they promise on real sales: SALES=FOLDER (2 minutes)
	$(BIN)/python -m benchmarks.forecast_confidence $(SALES) $(BENCH_ARGS)

bench-forecast-network: training ## What the network adds to the champion on real sales: SALES=FOLDER (15 minutes)
	$(BIN)/python -W ignore -m benchmarks.forecast_network $(SALES) $(BENCH_ARGS)

bench-forecast-speed: training ## A forecast's time, alone and over HTTP, and a night of 10,000 series beside statsforecast and Prophet (5 minutes)
	$(BIN)/python -m benchmarks.forecast_speed $(BENCH_ARGS)

bench-throughput: install $(PEERS_INSTALLED) ## Ours, plain Faust, Quix Streams, Bytewax and a bare copy, at the same work
	$(BIN)/python -m benchmarks.throughput $(BENCH_ARGS)

bench-queries: install ## How long answers take over 100 million events of 1,000 shops (20 minutes)
	$(BIN)/python -m benchmarks.queries $(BENCH_ARGS)

bench-decoding: install ## How fast records are read
	$(BIN)/python -m benchmarks.decoding

bench-anomalies: install $(PEERS_INSTALLED) ## False alarms, recall and time to detection over simulated months, beside scikit-learn (3 minutes of CPU)
	$(BIN)/python -m benchmarks.anomalies $(BENCH_ARGS)

bench-questions: install ## 150 written questions about six simulated shops, answers against the simulator's truth (4 minutes)
	$(BIN)/python -m benchmarks.questions $(BENCH_ARGS)

bench-forecast: training ## Every model of demand and the champion on real sales, rolling origin: SALES=FOLDER (an hour; BENCH_ARGS="--every 4" for less)
	$(BIN)/python -m benchmarks.forecast $(SALES) $(BENCH_ARGS)

bench-stages: install ## What each stage of a worker costs an event
	$(BIN)/python -m benchmarks.stages $(BENCH_ARGS)

RATE ?= 0
soak: MINUTES ?= 60
soak: install ## Steady load for MINUTES=60 at RATE=records/s (half of the highest by default): nothing may pile up
	$(BIN)/python -m benchmarks.soak --minutes $(MINUTES) --rate $(RATE)

back-pressure: MINUTES ?= 5
back-pressure: install ## A producer and then a ClickHouse ten times too fast and too slow for MINUTES=5 each
	$(BIN)/python -m tests.system.back_pressure --minutes $(MINUTES)

bench-training: training ## Training as series grow from 100 to 10,000, and 100,000 by the slope (half an hour)
	$(BIN)/python -m benchmarks.training_growth $(BENCH_ARGS)
