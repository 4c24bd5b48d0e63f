#!/usr/bin/env bash
# Runs the tests with one wheel under every CPython from 3.10 on that is found.
#
#   every_python.sh [PYTHON...]
#
# Without arguments: python3.10, python3.11, … of the PATH. Needs the network,
# for what the tests need.
set -euo pipefail

binding=$(cd "$(dirname "$0")/.." && pwd)
work=$(mktemp -d)
trap 'rm -rf -- "$work"' EXIT

pythons=("$@")
if ((${#pythons[@]} == 0)); then
    for minor in {10..19}; do
        python=python3.$minor
        if "$python" --version >"$work/version" 2>&1; then
            pythons+=("$python")
        fi
    done
fi
((${#pythons[@]} > 0)) || { echo "no python3.10 or later found" >&2; exit 1; }

wheels=$work/wheels
"${pythons[0]}" -m venv "$work/build"
"$work/build/bin/pip" wheel --quiet --no-deps --wheel-dir "$wheels" "$binding"
for python in "${pythons[@]}"; do
    "$python" --version
    venv=$work/$(basename "$(dirname "$(dirname "$python")")")-$(basename "$python")
    "$python" -m venv "$venv"
    "$venv/bin/pip" install --quiet "$wheels"/*.whl \
        --requirement "$binding/requirements-test.txt"
    (cd "$binding" && "$venv/bin/pytest" -q -p no:cacheprovider)
done
