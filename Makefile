# make serve   set up what is missing, then serve (CONFIG=configs/gpu.yaml for another target)
# make test    set up what is missing, then every test that needs no GPU
SHELL := /bin/bash
CONFIG ?= serve_config.yaml
ARGS ?=
RAY_ENV := set -a; . configs/ray.env; set +a

.PHONY: serve test test-fast check format bench clean

serve: .venv/.runtime
	@$(RAY_ENV); exec .venv/bin/python -m serve_app $(CONFIG) $(ARGS)

test: .venv/.dev
	@$(RAY_ENV); exec .venv/bin/python -m pytest $(ARGS)

# Pure tests and fakes: seconds.
test-fast: .venv/.dev
	@exec .venv/bin/python -m pytest -m "not serve and not model and not e2e and not gpu" $(ARGS)

check: .venv/.dev
	.venv/bin/ruff format --check .
	.venv/bin/ruff check .
	.venv/bin/pyright
	.venv/bin/lint-imports

format: .venv/.dev
	.venv/bin/ruff format .
	.venv/bin/ruff check --fix .

bench: .venv/.dev
	@$(RAY_ENV); exec .venv/bin/python -m benchmarks.served_over_bare $(ARGS)

# The development set holds the runtime set.
.venv/.runtime: requirements/runtime.lock requirements/bootstrap.lock pyproject.toml scripts/setup.sh
	@if [ -f .venv/.dev ]; then scripts/setup.sh dev && touch .venv/.dev; else scripts/setup.sh runtime; fi
	@touch $@

.venv/.dev: requirements/dev.lock requirements/bootstrap.lock pyproject.toml scripts/setup.sh
	@scripts/setup.sh dev
	@touch $@ .venv/.runtime

clean:
	rm -rf .venv
