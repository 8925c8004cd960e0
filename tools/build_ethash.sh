#!/bin/sh
# Builds ethash with optimisation: build_ethash.sh PIP LOCK. Without a compiler its stock wheel is used,
# which the installation of all other packages brings; with ETHASH_REQUIRED=1 that is a failure.
set -eu

pip="$1"
lock="$2"
log=.cache/build-ethash.log
mkdir -p .cache

warn() {
    [ -z "${ETHASH_REQUIRED:-}" ] || { cat "$log" 2>/dev/null; echo "set-up: $1" >&2; exit 1; }
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
# shellcheck disable=SC2086 # PIP is a command with its words
if ! CFLAGS="-O3 -DNDEBUG" CXXFLAGS="-O3 -DNDEBUG" $pip --disable-pip-version-check --no-input install \
    --force-reinstall --no-cache-dir --no-deps --no-binary ethash --require-hashes -r "$pins" >"$log" 2>&1; then
    warn "building ethash failed (see $log)"
fi
