#!/usr/bin/env bash
# Installs the built library, or removes an installed one.
#
#   scripts/install.sh install|uninstall BUILT_LIBRARIES
#
# PREFIX (/usr/local), LIBDIR (PREFIX/lib), INCLUDEDIR (PREFIX/include) are
# where the files are to be found later; DESTDIR is put before them here.
set -euo pipefail

verb=$1
built=$2
root=$(cd "$(dirname "$0")/.." && pwd)
version=$(sed -n 's/^version = "\(.*\)"/\1/p' "$root/Cargo.toml" | head -n 1)

prefix=${PREFIX:-/usr/local}
libdir=${LIBDIR:-$prefix/lib}
includedir=${INCLUDEDIR:-$prefix/include}
dest=${DESTDIR:-}
lib=$dest$libdir
include=$dest$includedir
cmake=$lib/cmake/mavera_rl

fill() {
    sed -e "s|@PREFIX@|$prefix|g" -e "s|@LIBDIR@|$libdir|g" \
        -e "s|@INCLUDEDIR@|$includedir|g" -e "s|@VERSION@|$version|g" "$1"
}

put() { # source destination mode
    install -D -m "$3" "$1" "$2"
}

case $verb in
install)
    put "$built/libmavera_rl.so" "$lib/libmavera_rl.so.$version" 755
    ln -sf "libmavera_rl.so.$version" "$lib/libmavera_rl.so.0"
    ln -sf libmavera_rl.so.0 "$lib/libmavera_rl.so"
    put "$built/libmavera_rl.a" "$lib/libmavera_rl.a" 644
    put "$root/include/mavera_rl.h" "$include/mavera_rl.h" 644
    put "$root/include/mavera_rl.hpp" "$include/mavera_rl.hpp" 644
    mkdir -p "$lib/pkgconfig" "$cmake"
    fill "$root/bindings/c/mavera_rl.pc.in" >"$lib/pkgconfig/mavera_rl.pc"
    for file in mavera_rl-config mavera_rl-config-version; do
        fill "$root/bindings/c/cmake/$file.cmake.in" >"$cmake/$file.cmake"
    done
    # A new library in a system directory is found only through the cache.
    if [ -z "$dest" ] && [ "$(id -u)" -eq 0 ]; then
        ldconfig || true
    fi
    ;;
uninstall)
    rm -f "$lib/libmavera_rl.so.$version" "$lib/libmavera_rl.so.0" \
        "$lib/libmavera_rl.so" "$lib/libmavera_rl.a" \
        "$include/mavera_rl.h" "$include/mavera_rl.hpp" \
        "$lib/pkgconfig/mavera_rl.pc" \
        "$cmake/mavera_rl-config.cmake" "$cmake/mavera_rl-config-version.cmake"
    rmdir "$cmake" 2>/dev/null || true
    ;;
*)
    echo "usage: scripts/install.sh install|uninstall BUILT_LIBRARIES" >&2
    exit 2
    ;;
esac
