#!/usr/bin/env bash
# Makes .venv from a lock: setup.sh runtime | dev. Says what it does; does nothing that is done.
#
# LLAMA_CMAKE_ARGS: CMake options for llama.cpp, such as "-DGGML_CUDA=on" for an NVIDIA GPU.
set -euo pipefail
cd "$(dirname "$0")/.."
lock=requirements/$1.lock
python=${PYTHON:-python3}
started=$SECONDS
say() { printf '[setup %4ds] %s\n' $((SECONDS - started)) "$*"; }

"$python" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 13))' ||
  { echo "Python 3.11 or 3.12 is needed; name it with PYTHON=…" >&2; exit 1; }
command -v c++ >/dev/null || { echo "A C++ compiler is needed (Debian: apt-get install g++)." >&2; exit 1; }

if [ ! -x .venv/bin/uv ]; then
  say "making .venv"
  "$python" -m venv .venv
  .venv/bin/pip install --quiet --disable-pip-version-check --require-hashes -r requirements/bootstrap.lock
fi

# uv keeps the wheel it builds in the user's cache, by version and options: the next .venv takes
# seconds. No tests, examples, server or multimodal tools of llama.cpp are built.
cmake_args=${LLAMA_CMAKE_ARGS:-}
llama=(--config-settings-package llama-cpp-python:cmake.define.LLAVA_BUILD=OFF)
for option in $cmake_args; do
  option=${option#-D}
  llama+=(--config-settings-package "llama-cpp-python:cmake.define.$option")
done
say "installing $(grep -c '^[a-z0-9].*==' "$lock") locked packages, with models; llama.cpp is compiled the first time (about 8 minutes on 2 cores)"
(while sleep 20; do say "still at work: $(pgrep -f -c 'cc1plus|cicc' || true) compilers run"; done) &
heartbeat=$!
trap 'kill $heartbeat 2>/dev/null || true' EXIT
.venv/bin/uv pip install --quiet --python .venv/bin/python --require-hashes -r "$lock" "${llama[@]}"
.venv/bin/uv pip install --quiet --python .venv/bin/python --no-deps --no-build-isolation -e .
say "done"
