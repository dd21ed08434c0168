#!/usr/bin/env bash
# Runs a command with the environment that every Ray process of this application needs.
set -euo pipefail
cd /app
set -a
. configs/ray.env
set +a
export LOG_FORMAT="${LOG_FORMAT:-json}"
if [ -n "${REDIS_URL_FILE:-}" ]; then
  REDIS_URL="$(cat "${REDIS_URL_FILE}")"
  export REDIS_URL  # the launcher takes it out of the environment again
fi
exec "$@"
