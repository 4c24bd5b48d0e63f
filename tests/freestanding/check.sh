#!/usr/bin/env bash
# Shows that no panic can be reached in the library that needs no operating
# system (what panics would have to be in it), that it calls nothing but memcpy
# and its kin, and that it works.
set -euo pipefail

root=$(cd "$(dirname "$0")/../.." && pwd)
target=${CARGO_TARGET_DIR:-$root/target}/freestanding
cargo build --release --quiet --locked --target-dir "$target" \
    --manifest-path "$root/bindings/freestanding/Cargo.toml"
library=$target/release/libmavera_rl_freestanding.a

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
fail() {
    echo "FAILED: $*" >&2
    exit 1
}

# All of it, and nothing of the archive that it does not need.
(cd "$work" && ar x "$library")
object=$(echo "$work"/mavera_rl_freestanding-*.o)
[ -f "$object" ] || fail "expected one object, found: $object"
nm "$object" | grep -q ' T mavera_rl_check_at$' || fail "no mavera_rl_check_at"
if nm -C "$object" | grep -iE 'panic|unwind|core::(fmt|slice|str|option|result)'; then
    fail "the library can panic"
fi
stray=$(nm -u "$object" | awk '{print $2}' |
    grep -vxE 'memcpy|memset|memcmp|memmove' || true)
[ -z "$stray" ] || fail "it calls: $stray"
exported=$(nm --defined-only -g "$object" | awk '$2 != "V" && $2 != "W" {print $3}' |
    grep -v '^mavera_rl_' || true)
[ -z "$exported" ] || fail "it exports: $exported"

"${CC:-cc}" -std=c11 -Wall -Wextra -Wpedantic -Werror -I"$root/include" \
    "$root/tests/freestanding/main.c" "$object" -o "$work/main"
"$work/main"
size=$(size -A "$object" | awk '/^\.(text|rodata|data)/ {sum += $2} END {print sum}')
echo "freestanding: no panic symbol, $size bytes of code and constants"
