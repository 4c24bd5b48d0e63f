#!/bin/sh
# The header alone, in every language that includes it, without a warning;
# and, given a shared library, what that library exports.
#
#   headers.sh [LIBRARY]
#
# CC, CXX                compilers (cc, c++)
# MAVERA_RL_CFLAGS       where the header is (pkg-config --cflags mavera_rl)
set -eu

CC=${CC:-cc}
CXX=${CXX:-c++}
FLAGS=${MAVERA_RL_CFLAGS-$(pkg-config --cflags mavera_rl)}
WARN='-Wall -Wextra -Wpedantic -Werror'
PREFIX=mavera_rl_
SONAME=libmavera_rl.so.0

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
trap 'exit 1' HUP INT TERM

fail() {
    echo "headers.sh: $*" >&2
    exit 1
}

# Compilers are silent about headers that they find in system directories, so
# the header is included by its full path. Prints nothing if there is none.
find_header() {
    echo "#include <$1>" > "$work/find.c"
    # shellcheck disable=SC2086
    "$2" $FLAGS -x "$3" -M "$work/find.c" 2>/dev/null \
        | tr ' ' '\n' | grep -E "(^|/)$1\$" | head -n 1 \
        | sed "/^[^/]/s|^|$PWD/|"
}

header=$(find_header mavera_rl.h "$CC" c) || true
[ -n "$header" ] || fail "mavera_rl.h not found with: $FLAGS"
wrapper=$(find_header mavera_rl.hpp "$CXX" c++) || true

# Twice: it has to guard itself. A translation unit must not be empty.
alone() {
    printf '#include "%s"\n#include "%s"\nextern int not_empty;\n' "$1" "$1" \
        > "$work/alone.$2"
}

alone "$header" c
for std in c99 c11; do
    # shellcheck disable=SC2086
    "$CC" -std=$std $WARN -Wstrict-prototypes $FLAGS -c "$work/alone.c" \
        -o "$work/alone.o"
    echo "ok: $header as $std"
done

alone "$header" cpp
# shellcheck disable=SC2086
"$CXX" -std=c++17 $WARN $FLAGS -c "$work/alone.cpp" -o "$work/alone.o"
echo "ok: $header as c++17"

# C++ has to look for C's names.
cat > "$work/names.cpp" <<END
#include "$header"
unsigned (*const function)() = nullptr;
unsigned version() { return mavera_rl_abi_version(); }
END
# shellcheck disable=SC2086
"$CXX" -std=c++17 $FLAGS -c "$work/names.cpp" -o "$work/names.o"
nm "$work/names.o" | grep -q ' U mavera_rl_abi_version$' \
    || fail "$header lacks extern \"C\": C++ would not link"
echo "ok: $header declares C names to C++"

if [ -n "$wrapper" ]; then
    alone "$wrapper" cpp
    # shellcheck disable=SC2086
    "$CXX" -std=c++17 $WARN $FLAGS -c "$work/alone.cpp" -o "$work/alone.o"
    echo "ok: $wrapper as c++17"
else
    echo "SKIPPED: no mavera_rl.hpp"
fi

[ $# -gt 0 ] || exit 0
library=$1
[ -f "$library" ] || fail "no library $library"

nm -D --defined-only "$library" | awk '{ print $NF }' | sed 's/@.*//' \
    | sort -u > "$work/exported"
if grep -v "^$PREFIX" "$work/exported" > "$work/foreign"; then
    cat "$work/foreign" >&2
    fail "$library exports names without $PREFIX"
fi
echo "ok: $library exports only $PREFIX*"

# Both ways: what is declared is there, and what is there is declared.
# shellcheck disable=SC2086
"$CC" $FLAGS -E -P "$work/alone.c" | tr '\n' ' ' \
    | grep -o "${PREFIX}[a-z0-9_]* *(" | tr -d ' (' | sort -u \
    > "$work/declared"
if ! diff "$work/declared" "$work/exported" > "$work/diff"; then
    cat "$work/diff" >&2
    fail "header (<) and library (>) differ"
fi
echo "ok: $library exports what the header declares"

soname=$(readelf -d "$library" | sed -n 's/.*(SONAME).*\[\(.*\)\].*/\1/p')
[ "$soname" = "$SONAME" ] || fail "soname is \"$soname\", not \"$SONAME\""
echo "ok: soname $soname"
