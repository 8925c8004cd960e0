#!/bin/sh
# Prints the path of a Python that is new enough; a first argument names the one to use.
set -eu

for name in ${1:-python3 python3.14 python3.13 python3.12 python3.11 python}; do
    path="$(command -v "$name")" || continue
    # A version manager may put a name in the path that starts nothing.
    if "$path" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
        echo "$path"
        exit 0
    fi
done

echo "set-up: Python 3.11 or newer is needed (looked for ${1:-python3, python3.11 … python3.14}); \
name one with make PYTHON=/path/to/python3" >&2
exit 1
