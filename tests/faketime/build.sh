#!/usr/bin/env bash
# Gets the libfaketime by which a test sets a process's clock, as Debian packs it, and keeps it outside the tree.
#
#   build.sh           get it when it is missing
#   build.sh --where   print the path of the library; fail when it is not there
#
# The place is ${PULLPASS_FAKETIME:-${XDG_CACHE_HOME:-~/.cache}/pullpass/faketime}. Nothing is installed: the package is only
# unpacked there.
set -euo pipefail
cd "$(dirname "$0")"
source ../tools.sh

root=$(tool_root faketime "${PULLPASS_FAKETIME-}")
directory=$root/$( (cat build.sh; dpkg --print-architecture) | hash)
library=$directory/libfaketime.so.1

if [[ ${1-} == --where ]]; then
  [[ -f $library ]] || {
    echo 'error: the libfaketime of the tests is missing: `make test` or `tests/faketime/build.sh` gets it' >&2
    exit 1
  }
  echo "$library"
  exit
fi

tool_lock faketime "$root"
if [[ ! -f $library ]]; then
  unfinished=$directory.unfinished
  rm -rf "$unfinished"
  mkdir "$unfinished"
  get() { (cd "$unfinished" && apt-get download --quiet libfaketime 9>&-); }
  # A machine that has no lists yet, or old ones, fetches them first.
  get 2>/dev/null || { apt-get update --quiet 9>&- && get; }
  dpkg-deb --extract "$unfinished"/libfaketime_*.deb "$unfinished/tree"
  mv "$unfinished"/tree/usr/lib/*/faketime/libfaketime.so.1 "$unfinished/"
  rm -rf "$unfinished"/tree "$unfinished"/*.deb
  mv "$unfinished" "$directory"
fi
echo "faketime: ready in $directory"
