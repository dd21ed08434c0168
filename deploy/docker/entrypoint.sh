#!/usr/bin/env bash
# Runs a command with the environment that every Ray process of this application needs.
set -euo pipefail
cd /app
set -a
. configs/ray.env
set +a
export LOG_FORMAT="${LOG_FORMAT:-json}"
exec "$@"
