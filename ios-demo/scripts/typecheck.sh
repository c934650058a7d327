#!/usr/bin/env bash
# Type-checks what Linux can't build against the stand-ins: the package's code for Core ML, and the app. Needs the modules
# of a `swift build`.
set -euo pipefail
cd "$(dirname "$0")/.."
if [ "$(uname)" = Darwin ]; then
    echo "left out: macOS has Core ML itself; Xcode builds the app"
    exit
fi
built=$PWD/KogataKit/.build/debug
modules=$(mktemp -d)
trap 'rm -rf "$modules"' EXIT
common=(-swift-version 6 -package-name kogatakit -warnings-as-errors -I "$modules" -I "$built/Modules")

swiftc "${common[@]}" -parse-as-library -emit-module -module-name CoreML stand-ins/CoreML.swift \
    -o "$modules/CoreML.swiftmodule"
# Everything that uses the engine sees the one with Core ML, not the one that was built.
for name in KogataEngine KogataParity; do
    swiftc "${common[@]}" -parse-as-library -emit-module -enable-testing -module-name "$name" \
        KogataKit/Sources/"$name"/*.swift -o "$modules/$name.swiftmodule"
done
swiftc "${common[@]}" -typecheck -module-name kogata_swift KogataKit/Sources/kogata-swift/*.swift

# The app: what isn't SwiftUI against the package, then all of it.
mapfile -t models < <(grep -L '^import SwiftUI' Demo/Kogata/*.swift)
swiftc "${common[@]}" -typecheck -parse-as-library -module-name KogataDemo "${models[@]}"
for name in UniformTypeIdentifiers SwiftUI; do
    swiftc "${common[@]}" -parse-as-library -emit-module -module-name "$name" stand-ins/"$name".swift \
        -o "$modules/$name.swiftmodule"
done
swiftc "${common[@]}" -typecheck -parse-as-library -module-name KogataDemo Demo/Kogata/*.swift
