#!/usr/bin/env bash
# Makes .venv from a lock: setup.sh runtime | openaudio | dev. Says what it does; does nothing that is
# done. `openaudio` is `runtime` with the OpenAudio engine and PyTorch for CUDA. `dev` has that engine
# with the PyTorch that pip finds (an index may offer a CPU build), and makes .venv-clients, with the
# clients that tests/clients runs against the server.
#
# LLAMA_CMAKE_ARGS: CMake options for llama.cpp, such as "-DGGML_CUDA=on" for an NVIDIA GPU. Where it
# is not set, the build that is installed stays.
set -euo pipefail
cd "$(dirname "$0")/.."
lock=requirements/$1.lock
python=${PYTHON:-python3}
started=$SECONDS
say() { printf '[setup %4ds] %s\n' $((SECONDS - started)) "$*"; }

"$python" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 13))' ||
  { echo "Python 3.11 or 3.12 is needed; name it with PYTHON=…" >&2; exit 1; }
command -v c++ >/dev/null || { echo "A C++ compiler is needed (Debian: apt-get install g++)." >&2; exit 1; }

if [ ! -x .venv/bin/python ]; then
  say "making .venv"
  "$python" -m venv .venv
fi
.venv/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/bootstrap.lock

# No tests, examples, server or multimodal tools of llama.cpp are built; a kernel is added (docs/adr/0023).
define() { options+=(--config-settings-package "llama-cpp-python:cmake.define.$1"); }
options=()
built=$(cat .venv/.llama 2>/dev/null || true)
wanted=${LLAMA_CMAKE_ARGS-$built}
for option in LLAVA_BUILD=OFF $wanted; do
  define "${option#-D}"
done
kernels=$(cat scripts/llama_cpp/* | sha256sum | cut -c1-16)
[ "$wanted $kernels" = "$built $(cat .venv/.llama-kernels 2>/dev/null || true)" ] || changed=yes

# The wheel is kept in the user's cache, by all that it depends on: the next .venv takes seconds. (uv
# builds again where an index lets nothing be cached.)
uv() { .venv/bin/uv "$@" --quiet --python .venv/bin/python; }
key=$({ grep -A2 '^llama-cpp-python==' "$lock"; cat requirements/build.lock; echo "${options[*]} $kernels"
  c++ --version; uname -m; grep -m1 '^flags' /proc/cpuinfo || true; } | sha256sum | cut -c1-16)
kept=${XDG_CACHE_HOME:-$HOME/.cache}/gemmavoice-serve/wheels/$key
define "CMAKE_PROJECT_ggml_INCLUDE=$PWD/scripts/llama_cpp/kernels.cmake"
if compgen -G "$kept/*.whl" >/dev/null; then
  [ -z "${changed-}" ] || uv pip uninstall llama-cpp-python
  uv pip install --no-deps "$kept"/*.whl
elif [ -n "${changed-}" ]; then
  options+=(--reinstall-package llama-cpp-python)  # uv does not see that the kernel is another one
fi
say "installing $(grep -c '^[a-z0-9].*==' "$lock") locked packages, with models; llama.cpp is compiled the first time (about 8 minutes on 2 cores)"
(trap 'kill $! 2>/dev/null; exit' TERM
 while :; do sleep 20 & wait $!; say "still at work"; done) &
heartbeat=$!
trap 'kill $heartbeat 2>/dev/null || true' EXIT
touch .venv/.began
uv pip install --require-hashes -r "$lock" --build-constraints requirements/build.lock "${options[@]}"
wheel=$(find "$(.venv/bin/uv cache dir)" -name 'llama_cpp_python-*.whl' -newer .venv/.began -print -quit)
if [ -n "$wheel" ]; then
  mkdir -p "$kept" && cp "$wheel" "$kept"
fi
printf '%s' "$wanted" >.venv/.llama
printf '%s' "$kernels" >.venv/.llama-kernels
uv pip install --no-deps --no-build-isolation -e .

if [ "$1" = dev ]; then
  torch=$(sed -nE 's/^(torch==[^ ]+) .*/\1/p' requirements/openaudio.lock)
  say "installing the OpenAudio engine with $torch"
  .venv/bin/python -m pip install --quiet --disable-pip-version-check "$torch"
  .venv/bin/uv pip install --quiet --python .venv/bin/python --no-deps --require-hashes \
    -r requirements/openaudio-torchless.lock --build-constraints requirements/build.lock
  uv pip install --no-config --no-deps --require-hashes -r requirements/fish-server.lock
  if [ ! -x .venv-clients/bin/python ]; then
    say "making .venv-clients"
    "$python" -m venv --without-pip .venv-clients
  fi
  .venv/bin/uv pip sync --quiet --no-config --python .venv-clients/bin/python --require-hashes --no-build \
    requirements/clients.lock
  if command -v npm >/dev/null; then
    say "installing OpenAI's JavaScript client for the tests"
    npm ci --prefix tests/clients --ignore-scripts --no-audit --no-fund --loglevel=error
  else
    say "npm is not on the PATH: the tests of OpenAI's JavaScript client will be skipped"
  fi
fi
say "done"
