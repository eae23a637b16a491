#!/usr/bin/env bash
# Write requirements/lock.txt anew from pyproject.toml: every version exact, every file by its hash, and no
# index named, so that it installs from whatever index the machine is set to. --upgrade takes newer versions.
# Needs uv (https://docs.astral.sh/uv) on PATH, or in $UV; nothing else in this project does.
set -euo pipefail
cd "$(dirname "$0")/.."

UV_CUSTOM_COMPILE_COMMAND="scripts/lock.sh" "${UV:-uv}" pip compile pyproject.toml \
    --extra server --extra dev \
    --universal --python-version 3.11 \
    --generate-hashes --no-annotate --no-emit-index-url --no-emit-find-links \
    --quiet --output-file requirements/lock.txt "$@" >/dev/null

if grep -nE '(https?|file)://' requirements/lock.txt; then
    echo "lock: the file names a host or a path; see the lines above" >&2
    exit 1
fi
