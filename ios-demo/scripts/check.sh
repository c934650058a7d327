#!/usr/bin/env bash
# Everything about ios-demo that Linux can check; `make test-ios` calls it. Ends with 4 where there is no Swift.
#
#   check.sh PYTHON     PYTHON has the project's development packages
set -euo pipefail
python=$(command -v "${1:-python3}")
python=$(cd "$(dirname "$python")" && pwd)/$(basename "$python")
cd "$(dirname "$0")/.."

# The tests load onnxruntime's library out of the Python package.
packages=$("$python" -c "import sysconfig; print(sysconfig.get_path('purelib'))")
bin=$(scripts/toolchain.sh "$packages")
export PATH="$bin:$PATH"

step() { echo "ios-demo: $1"; }

step "formatting"
swift format lint --strict --recursive --parallel --configuration .swift-format KogataKit/Sources KogataKit/Tests \
    KogataKit/Package.swift stand-ins Demo

step "building"
swift build --package-path KogataKit --build-tests -Xswiftc -warnings-as-errors --quiet

step "type-checking the code for Core ML and the app against the stand-ins"
scripts/typecheck.sh

step "tests of the package"
swift test --package-path KogataKit --skip-build

step "tests against kogata"
cd ..
"$python" -m pytest -m swift tests/swift
