# make serve   set up what is missing, then serve (CONFIG=configs/gpu.yaml for another target)
# make test    set up what is missing, then every test that needs no GPU
SHELL := /bin/bash
CONFIG ?= serve_config.yaml
ARGS ?=
# Which lock serves: the OpenAudio engine brings PyTorch along.
EXTRAS ?= $(shell grep -qE 'engine: *openaudio *([,}]|$$)' $(CONFIG) 2>/dev/null && echo openaudio)
SERVED := $(if $(EXTRAS),$(EXTRAS),runtime)
# Other options for llama.cpp than the installed build has: set up again.
ifdef LLAMA_CMAKE_ARGS
ifneq ($(LLAMA_CMAKE_ARGS),$(shell cat .venv/.llama 2>/dev/null))
LLAMA_CHANGED := llama-options
endif
endif
RAY_ENV := set -a; . configs/ray.env; set +a

.PHONY: serve test test-fast fuzz check format openapi bench bench-voice bench-http bench-memory bench-live soak-live bench-llm soak-llm bench-overload loadtest chaos clean

serve: .venv/.$(SERVED)
	@$(RAY_ENV); exec .venv/bin/python -m serve_app $(CONFIG) $(ARGS)

test: .venv/.dev
	@$(RAY_ENV); exec .venv/bin/python -m pytest $(ARGS)

# Pure tests and fakes: about three minutes.
test-fast: .venv/.dev
	@exec .venv/bin/python -m pytest -m "not serve and not model and not e2e and not gpu" $(ARGS)

# Ten minutes of examples of every route (ARGS="--seconds 60 --seed 1").
fuzz: .venv/.dev
	@$(RAY_ENV); exec .venv/bin/python -m tests.clients.fuzz $(ARGS)

check: .venv/.dev
	.venv/bin/ruff format --check .
	.venv/bin/ruff check .
	.venv/bin/pyright
	.venv/bin/lint-imports

format: .venv/.dev
	.venv/bin/ruff format .
	.venv/bin/ruff check --fix .

# What /openapi.json says, for readers; a test fails when it is out of date.
openapi: .venv/.dev
	@exec .venv/bin/python -m scripts.export_openapi

bench: .venv/.dev
	@$(RAY_ENV); exec .venv/bin/python -m benchmarks.served_over_bare $(ARGS)

# The OpenAudio engine beside fish-speech's own.
bench-voice: .venv/.dev
	@exec .venv/bin/python -m benchmarks.tts_openaudio $(ARGS)

# From the last word heard to the first one spoken.
bench-live: .venv/.dev
	@$(RAY_ENV); exec .venv/bin/python -m benchmarks.voice_to_voice $(ARGS)

soak-live: .venv/.dev
	@$(RAY_ENV); exec .venv/bin/python -m benchmarks.live_soak $(ARGS)

# Many replies at once; ARGS="--peer PYTHON" adds xllamacpp.
bench-llm: .venv/.dev
	@exec .venv/bin/python -m benchmarks.llm_batching $(ARGS)

soak-llm: .venv/.dev
	@exec .venv/bin/python -m benchmarks.llm_soak $(ARGS)

# Three times as many callers as the graph can serve (ARGS="bulk --seconds 30"; else all scenarios).
bench-overload: .venv/.dev
	@$(RAY_ENV); exec .venv/bin/python -m benchmarks.overload $(ARGS)

# Two minutes of people who arrive at a constant rate; fails where loadtests/targets.yaml is not kept.
# ARGS="--duration 600 --rate 2 --host http://127.0.0.1:8000"; all of them: ARGS=--help.
loadtest: .venv/.dev
	@$(RAY_ENV); exec .venv/bin/python -m loadtests $(ARGS)

# What breaks on a cluster of several nodes while replicas die (ARGS="kills --seconds 300"), every stage
# is replaced (rollout) and a burst comes and goes (burst); all three without ARGS.
chaos: .venv/.dev
	@$(RAY_ENV); exec .venv/bin/python -m benchmarks.chaos $(ARGS)

# The ingress's own share of a request, and the memory of large files.
bench-http: .venv/.dev
	@$(RAY_ENV); exec .venv/bin/python -m benchmarks.http_over_null $(ARGS)

bench-memory: .venv/.dev
	@$(RAY_ENV); exec .venv/bin/python -m benchmarks.upload_memory $(ARGS)

# The development set holds the runtime set.
LOCKS := requirements/bootstrap.lock requirements/build.lock pyproject.toml scripts/setup.sh $(wildcard scripts/llama_cpp/*)

.venv/.runtime: requirements/runtime.lock $(LOCKS) $(LLAMA_CHANGED)
	@if [ -f .venv/.dev ]; then scripts/setup.sh dev && touch .venv/.dev; else scripts/setup.sh runtime; fi
	@touch $@

.venv/.openaudio: requirements/openaudio.lock $(LOCKS) $(LLAMA_CHANGED)
	@if [ -f .venv/.dev ]; then scripts/setup.sh dev && touch .venv/.dev; else scripts/setup.sh openaudio; fi
	@touch $@ .venv/.runtime

.venv/.dev: requirements/dev.lock requirements/openaudio-torchless.lock requirements/fish-server.lock requirements/clients.lock tests/clients/package-lock.json $(LOCKS) $(LLAMA_CHANGED)
	@scripts/setup.sh dev
	@touch $@ .venv/.runtime .venv/.openaudio

.PHONY: llama-options
llama-options:

clean:
	rm -rf .venv .venv-clients tests/clients/node_modules
