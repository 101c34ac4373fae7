#!/usr/bin/env bash
# Installs the moto that the tests of Amazon ECR run, once, and keeps it outside the tree: later runs find it.
#
#   build.sh           install it when it is missing, say how long it takes
#   build.sh --where   print the path of a Python that has moto; fail when it is not installed
#
# The place is ${PULLPASS_MOTO:-${XDG_CACHE_HOME:-~/.cache}/pullpass/moto}.
set -euo pipefail
cd "$(dirname "$0")"
source ../tools.sh

version=$(sed -n 's/^moto==\([^ ]*\).*/\1/p' requirements.txt)
root=$(tool_root moto "${PULLPASS_MOTO-}")
directory=$root/$( (cat requirements.txt; python3 -c 'import sys; print(sys.version, sys.prefix)') | hash)

if [[ ${1-} == --where ]]; then
  [[ -d $directory ]] || {
    echo 'error: the moto of the tests is not installed: `make test` or `tests/moto/build.sh` installs it' >&2
    exit 1
  }
  echo "$directory/bin/python"
  exit
fi

tool_lock moto "$root"
if [[ ! -d $directory ]]; then
  echo "moto: installing $version into $directory; later runs reuse it"
  start=$SECONDS
  unfinished=$directory.unfinished
  rm -rf "$unfinished"
  python3 -m venv "$unfinished" 9>&-
  # Every file is the one that its hash in requirements.txt names; none is built here.
  "$unfinished/bin/pip" install --quiet --disable-pip-version-check --require-hashes --only-binary :all: \
    --requirement requirements.txt 9>&-
  # A Python finds what stands beside it, wherever that was moved.
  mv "$unfinished" "$directory"
  echo "moto: $((SECONDS - start)) s"
fi
echo "moto: ready in $directory"
