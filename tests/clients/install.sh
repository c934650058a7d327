#!/bin/sh
# Installs the JavaScript clients in the user's cache, once for each package-lock.json, and prints the folder.
# No install script of a package is run: onnxruntime-node has its library for the CPU in the package itself.
# As root on Debian, Chromium is installed where it is absent.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
lock=$(sha256sum "$here/package-lock.json" | cut -c1-12)
folder=${XDG_CACHE_HOME:-${HOME:-/root}/.cache}/kogata/clients-$lock
if [ ! -e "$folder/complete" ]; then
    command -v npm >/dev/null || {
        echo "tests/clients needs Node.js 20 or newer, with npm" >&2
        exit 1
    }
    mkdir -p "$folder"
    cp "$here/package.json" "$here/package-lock.json" "$folder/"
    npm ci --prefix "$folder" --ignore-scripts --no-audit --no-fund >&2
    touch "$folder/complete"
fi
if ! command -v chromium >/dev/null && [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    { apt-get update -q && apt-get install -qy --no-install-recommends chromium; } >&2
fi
echo "$folder"
