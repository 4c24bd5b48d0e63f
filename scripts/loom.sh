#!/usr/bin/env bash
# Runs the loom models of window, table and permits: scripts/loom.sh [TEST NAME…]
#
# LOOM_MAX_PREEMPTIONS bounds how often a thread is interrupted (default 3,
# one less for the table; 4 is the long form). Optimised, because models are compute-bound, but with
# debug assertions, and without LTO, which they would not repay.
set -euo pipefail

cd "$(dirname "$0")/.."
export RUSTFLAGS="--cfg loom"
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-target}/loom
export CARGO_PROFILE_RELEASE_LTO=off
export CARGO_PROFILE_RELEASE_CODEGEN_UNITS=16
export CARGO_PROFILE_RELEASE_DEBUG=false
export CARGO_PROFILE_RELEASE_DEBUG_ASSERTIONS=true
export LOOM_MAX_PREEMPTIONS=${LOOM_MAX_PREEMPTIONS:-3}
echo "loom: at most $LOOM_MAX_PREEMPTIONS preemptions"
exec cargo test --release --locked --package mavera-rl --lib -- models "$@"
