#!/usr/bin/env bash
# Finds Swift 6.0 or newer and prints the folder with `swift` and `swiftc`: put it first on PATH.
#
#   toolchain.sh [FOLDER…]     FOLDERs are what the commands must see, besides this checkout and the temporary folder
#   toolchain.sh --on-path     only looks on PATH, and is quiet
#
# Where there is no Swift, Debian as root gets Debian 13's, which older releases don't have: in a root folder of its own
# (2.3 GB, some five minutes, once) under XDG_CACHE_HOME, or ~/.cache. Elsewhere, and where the installation fails, the
# script says so in one line on stderr and ends with 4.
set -euo pipefail

leave() {
    echo "no Swift: $1" >&2
    exit 4
}

# Whether the `swift` on PATH is 6.0 or newer.
swift_is_new_enough() {
    local version
    version=$(swift --version 2>/dev/null | grep -oE 'Swift version [0-9]+' | head -1) || return 1
    [ "${version##* }" -ge 6 ]
}

if swift_is_new_enough; then
    dirname "$(command -v swift)"
    exit
fi

[ "${1:-}" != --on-path ] || exit 4
[ "$(id -u)" = 0 ] && [ -f /etc/debian_version ] && grep -qE '^ID=debian' /etc/os-release ||
    leave "install Swift 6.0 or newer from https://www.swift.org/install"

checkout=$(cd "$(dirname "$0")/../.." && pwd -P)
cache=${XDG_CACHE_HOME:-${HOME:-/root}/.cache}/kogata
root=$cache/swift-root
log=$cache/swift-root.log
mkdir -p "$cache"

# The mirror that the system itself uses; security and third-party archives have other addresses.
mirror() {
    local found
    found=$(grep -rhsE '^(URIs:|deb )' /etc/apt/sources.list /etc/apt/sources.list.d |
        grep -oE 'https?://[^ ]+/debian/?( |$)' | awk 'NR == 1 { print $1 }')
    echo "${found:-http://deb.debian.org/debian}"
}

unmount_new() {
    umount "$root.new/proc" 2>/dev/null || true
}

install_root() {
    command -v debootstrap || apt-get install -y debootstrap || { apt-get update && apt-get install -y debootstrap; }
    if [ -d "$root.new" ]; then
        unmount_new
        rm -rf --one-file-system "$root.new"
    fi
    trap unmount_new EXIT
    debootstrap --variant=minbase --include=ca-certificates trixie "$root.new" "$(mirror)" || return
    mkdir -p "$root.new/proc"
    mountpoint -q "$root.new/proc" || mount -t proc proc "$root.new/proc" || return
    chroot "$root.new" env DEBIAN_FRONTEND=noninteractive LANG=C.UTF-8 PATH=/usr/sbin:/usr/bin:/sbin:/bin \
        apt-get install -y --no-install-recommends swiftlang libc6-dev libstdc++-14-dev libonnxruntime-dev || return
    chroot "$root.new" apt-get clean
    unmount_new
    mv "$root.new" "$root" # a root is complete or absent
}

# Shows a folder of this system inside the root, at the same path, unless it is to be seen there already.
show() {
    local inside=$root$1
    mkdir -p "$inside"
    [ "$inside" -ef "$1" ] || mount --bind "$1" "$inside"
}

exec 9>"$cache/swift-root.lock"
flock 9
# A link, whose target exists only from inside.
if [ ! -L "$root/usr/bin/swift" ]; then
    echo "installing Swift from Debian 13 in $root: some five minutes" >&2
    install_root >"$log" 2>&1 || leave "the installation failed (the network?), see $log"
fi
mountpoint -q "$root/proc" || mount -t proc proc "$root/proc" 2>>"$log" || leave "/proc can't be mounted in $root"
for folder in /dev "${TMPDIR:-/tmp}" "$checkout" "$@"; do
    show "$(cd "$folder" && pwd -P)" 2>>"$log" || leave "$folder can't be mounted in $root"
done

mkdir -p "$cache/swift-bin"
for name in swift swiftc; do
    cat >"$cache/swift-bin/$name.new" <<WRAPPER
#!/bin/sh
# $name of Debian 13, in the folder where it is called.
exec chroot "$root" /usr/bin/env HOME=/root PATH=/usr/bin:/bin LANG=C.UTF-8 \\
    sh -c 'cd "\$1" && shift && exec $name "\$@"' sh "\$(pwd -P)" "\$@"
WRAPPER
    chmod +x "$cache/swift-bin/$name.new"
    mv "$cache/swift-bin/$name.new" "$cache/swift-bin/$name"
done
echo "$cache/swift-bin"
