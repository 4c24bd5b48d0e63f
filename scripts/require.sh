#!/usr/bin/env bash
# Makes sure that the commands and packages a target needs are there: installs
# Debian's where that is allowed, and otherwise says which command does.
#
#   scripts/require.sh gcc curl pkg-config:libmicrohttpd=libmicrohttpd-dev …
#
# Each argument is a command, or pkg-config:MODULE, or python:MODULE,
# optionally followed by =PACKAGE if Debian calls it otherwise.
set -euo pipefail

here() {
    case $1 in
    pkg-config:*) pkg-config --exists "${1#pkg-config:}" 2>/dev/null ;;
    python:*) python3 -c "import ${1#python:}" 2>/dev/null ;;
    *) command -v "$1" >/dev/null ;;
    esac
}

packages=()
for need in "$@"; do
    what=${need%%=*}
    package=${need#*=}
    here "$what" || packages+=("$package")
done
[ ${#packages[@]} -eq 0 ] && exit 0

by_hand="apt-get install -y --no-install-recommends ${packages[*]}"
if ! command -v apt-get >/dev/null; then
    echo "missing: ${packages[*]} (Debian's names); please install them" >&2
    exit 1
fi
if [ "$(id -u)" -eq 0 ]; then
    sudo=
elif sudo -n true 2>/dev/null; then
    sudo=sudo
else
    echo "missing: ${packages[*]}; please run: sudo apt-get update && sudo $by_hand" >&2
    exit 1
fi
echo "installing ${packages[*]}" >&2
export DEBIAN_FRONTEND=noninteractive
$sudo apt-get update -qq >&2
$sudo $by_hand >/dev/null
