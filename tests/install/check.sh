#!/usr/bin/env bash
# Installs into a scratch directory as a packager does (DESTDIR) and as a user
# does (PREFIX), uses the library through pkg-config and through CMake, and
# uninstalls without a trace.
#
#   tests/install/check.sh TARGET_DIRECTORY
set -euo pipefail

root=$(cd "$(dirname "$0")/../.." && pwd)
export CARGO_TARGET_DIR=$1
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
fail() {
    echo "FAILED: $*" >&2
    exit 1
}

here=$root/tests/install
prefix=$work/usr
make -s -C "$root" install PREFIX="$prefix"

export PKG_CONFIG_PATH=$prefix/lib/pkgconfig
version=$(pkg-config --modversion mavera_rl)
# The flags are words.
# shellcheck disable=SC2046
"${CC:-cc}" "$here/main.c" -o "$work/shared" $(pkg-config --cflags --libs mavera_rl)
LD_LIBRARY_PATH=$prefix/lib "$work/shared" "$version"
# shellcheck disable=SC2046
"${CC:-cc}" "$here/main.c" -o "$work/static" $(pkg-config --cflags mavera_rl) \
    "$prefix/lib/libmavera_rl.a" -lpthread -ldl -lm
"$work/static" "$version"
readelf -d "$work/shared" | grep -q 'NEEDED.*libmavera_rl\.so\.0\]' ||
    fail "the program does not ask for libmavera_rl.so.0"

cmake -S "$here" -B "$work/cmake" -DCMAKE_PREFIX_PATH="$prefix" >/dev/null
cmake --build "$work/cmake" >/dev/null
"$work/cmake/shared" "$version"
"$work/cmake/static" "$version"

# An installation that was moved still works through CMake.
mv "$prefix" "$work/moved"
cmake -S "$here" -B "$work/cmake2" -DCMAKE_PREFIX_PATH="$work/moved" >/dev/null
cmake --build "$work/cmake2" >/dev/null
"$work/cmake2/shared" "$version"
mv "$work/moved" "$prefix"

make -s -C "$root" uninstall PREFIX="$prefix"
left=$(find "$prefix" ! -type d)
[ -z "$left" ] || fail "left after uninstall: $left"

make -s -C "$root" install DESTDIR="$work/package" PREFIX=/usr \
    LIBDIR=/usr/lib/somewhere
grep -q '^libdir=/usr/lib/somewhere$' \
    "$work/package/usr/lib/somewhere/pkgconfig/mavera_rl.pc" ||
    fail "DESTDIR is in the installed files"
make -s -C "$root" uninstall DESTDIR="$work/package" PREFIX=/usr \
    LIBDIR=/usr/lib/somewhere
left=$(find "$work/package" ! -type d)
[ -z "$left" ] || fail "left after uninstall: $left"
echo "install: pkg-config, CMake, a moved tree, DESTDIR and uninstall work"
