#!/usr/bin/env bash
# Compiles the README's C examples as they stand there, and runs the first.
#
#   tests/readme/check.sh INSTALLED_PREFIX
set -euo pipefail

root=$(cd "$(dirname "$0")/../.." && pwd)
prefix=$1
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# The so-manieth block of C.
block() {
    awk -v wanted="$1" '
        $0 == "```c" { inside = ++number == wanted; next }
        $0 == "```" { inside = 0 }
        inside' "$root/README.md"
}

block 1 >"$work/example.c"
[ -s "$work/example.c" ] || { echo "FAILED: the README has no C example" >&2; exit 1; }
# Its region is another in every run.
sed -i "s|/dev/shm/[a-z-]*|/dev/shm/mavera-readme-$$|" "$work/example.c"
"${CC:-cc}" -std=c99 -Wall -Wextra -Wpedantic -Werror -I"$prefix/include" \
    "$work/example.c" -o "$work/example" \
    -L"$prefix/lib" -Wl,-rpath,"$prefix/lib" -lmavera_rl
trap 'rm -rf "$work" "/dev/shm/mavera-readme-$$"' EXIT
for ((number = 2; ; number++)); do
    block "$number" >"$work/other.c"
    [ -s "$work/other.c" ] || break
    "${CC:-cc}" -std=c99 -Wall -Wextra -Wpedantic -Werror -I"$prefix/include" \
        -c "$work/other.c" -o "$work/other.o"
done
lines=$(wc -l <"$work/example.c")
"$work/example" >"$work/output"
cat "$work/output"
[ "$(grep -c '^allowed' "$work/output")" -eq 60 ] ||
    { echo "FAILED: the README's C example should be allowed 60 times" >&2; exit 1; }
echo "readme: the C example of $lines lines compiles and runs, $((number - 2)) more compile"
