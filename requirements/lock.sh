#!/usr/bin/env bash
# Writes the locks anew: exact versions with hashes, no index addresses. Run it to upgrade on purpose.
set -euo pipefail
cd "$(dirname "$0")/.."
uv=${UV:-.venv/bin/uv}
compile() { "$uv" pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header "$@"; }
compile requirements/bootstrap.in -o requirements/bootstrap.lock
compile requirements/build.in -o requirements/build.lock
compile pyproject.toml --extra embedded --extra piper -o requirements/runtime.lock
compile pyproject.toml --extra embedded --extra piper --extra multilingual --group dev --group loadtest \
  --constraints requirements/runtime.lock -o requirements/dev.lock
compile pyproject.toml --extra embedded --extra piper --extra openaudio \
  --constraints requirements/runtime.lock -o requirements/openaudio.lock
# The same without PyTorch and its CUDA libraries, for machines where pip finds another build of it.
without=()
for package in $(grep -oE '^(torch|triton|nvidia-[a-z0-9-]+|cuda-[a-z]+)=' requirements/openaudio.lock | tr -d =); do
  without+=(--no-emit-package "$package")
done
compile pyproject.toml --extra embedded --extra piper --extra openaudio "${without[@]}" \
  --constraints requirements/openaudio.lock -o requirements/openaudio-torchless.lock
# Other people's clients know nothing of pyproject.toml's overrides. docopt, of num2words' command line
# alone, is on the index as source only.
compile --no-config --no-emit-package docopt requirements/clients.in -o requirements/clients.lock
# What fish-speech's own API server needs more, for the tests of remote engines; see tests/remote/fish_server.py.
compile --no-config --no-deps requirements/fish-server.in -o requirements/fish-server.lock
