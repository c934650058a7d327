#!/usr/bin/env bash
# Finds a Kotlin compiler and prints the folder with `kotlinc`: put it first on PATH. It needs Java 17 or newer.
#
#   toolchain.sh [--on-path]     --on-path only looks on PATH, and is quiet
#
# Where there is none, it comes from the npm registry (90 MB, once) into XDG_CACHE_HOME, or ~/.cache. Where that fails,
# the script says so in one line on stderr and ends with 4.
set -euo pipefail

VERSION=2.4.20

leave() {
    echo "no Kotlin: $1" >&2
    exit 4
}

if command -v javac >/dev/null && command -v kotlinc >/dev/null; then
    dirname "$(command -v kotlinc)"
    exit
fi
[ "${1:-}" != --on-path ] || exit 4
command -v javac >/dev/null || leave "install a JDK, 17 or newer"

cache=${XDG_CACHE_HOME:-${HOME:-/root}/.cache}/kogata
folder=$cache/kotlin-compiler-$VERSION
if [ ! -d "$folder" ]; then
    command -v npm >/dev/null || leave "install kotlinc from https://kotlinlang.org/docs/command-line.html, or npm"
    mkdir -p "$cache"
    new=$(mktemp -d "$cache/kotlin.XXXXXX")
    trap 'rm -rf "$new"' EXIT
    (cd "$new" && npm pack --silent "kotlin-compiler@$VERSION" && tar -xzf kotlin-compiler-*.tgz) >"$cache/kotlin.log" 2>&1 ||
        leave "it can't be had from the npm registry, see $cache/kotlin.log"
    chmod +x "$new/package/bin/kotlinc"
    mv -T "$new/package" "$folder" 2>/dev/null || [ -d "$folder" ] # another run may have been faster
fi
echo "$folder/bin"
