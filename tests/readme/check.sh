#!/usr/bin/env bash
# Compiles and runs the README's C and Rust examples as they stand there.
#
#   tests/readme/check.sh INSTALLED_PREFIX
set -euo pipefail

root=$(cd "$(dirname "$0")/../.." && pwd)
prefix=$1
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# The first block of a language.
block() {
    awk -v open="\`\`\`$1" '
        $0 == open && !done { inside = 1; next }
        $0 == "```" && inside { inside = 0; done = 1 }
        inside' "$root/README.md"
}

block c >"$work/example.c"
[ -s "$work/example.c" ] || { echo "FAILED: the README has no C example" >&2; exit 1; }
# Its region is another in every run.
sed -i "s|/dev/shm/[a-z-]*|/dev/shm/mavera-readme-$$|" "$work/example.c"
"${CC:-cc}" -std=c99 -Wall -Wextra -Wpedantic -Werror -I"$prefix/include" \
    "$work/example.c" -o "$work/example" \
    -L"$prefix/lib" -Wl,-rpath,"$prefix/lib" -lmavera_rl
trap 'rm -rf "$work" "/dev/shm/mavera-readme-$$"' EXIT
lines=$(wc -l <"$work/example.c")
"$work/example" >"$work/output"
cat "$work/output"
[ "$(grep -c '^allowed' "$work/output")" -eq 60 ] ||
    { echo "FAILED: the README's C example should be allowed 60 times" >&2; exit 1; }
echo "readme: the C example of $lines lines compiles and runs"
