#!/bin/sh
# Builds ethash with optimisation: build_ethash.sh PYTHON LOCK. Without a compiler its stock wheel is used,
# which the installation of all other packages brings.
set -eu

python="$1"
lock="$2"
log=.cache/build-ethash.log
mkdir -p .cache

warn() {
    echo "set-up: warning: $1, so the stock ethash wheel is used: seal checks are about 3 times slower" >&2
    exit 0
}

command -v cmake >/dev/null || warn "no cmake"
command -v cc >/dev/null || command -v gcc >/dev/null || command -v clang >/dev/null || warn "no C compiler"
command -v c++ >/dev/null || command -v g++ >/dev/null || command -v clang++ >/dev/null || warn "no C++ compiler"

pins=.cache/ethash-pin.txt
awk '/^[^ #]/ { wanted = /^ethash==/ } wanted' "$lock" >"$pins"
echo "set-up: building ethash with optimisation"
# pip would reuse a wheel that was built without these flags.
if ! CFLAGS="-O3 -DNDEBUG" CXXFLAGS="-O3 -DNDEBUG" "$python" -m pip --disable-pip-version-check --no-input install \
    --force-reinstall --no-cache-dir --no-deps --no-binary ethash --require-hashes -r "$pins" >"$log" 2>&1; then
    warn "building ethash failed (see $log)"
fi
