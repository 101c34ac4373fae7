#!/usr/bin/env bash
# Fetches the registry that the tests log in to, Debian's docker-registry, once, and keeps it outside the tree: later runs
# find it. Nothing is installed in the system, and no service is started.
#
#   build.sh           fetch it when it is missing
#   build.sh --where   print the path of the registry; fail when it was not fetched
#
# The place is ${PULLPASS_REGISTRY:-${XDG_CACHE_HOME:-~/.cache}/pullpass/registry}.
set -euo pipefail
cd "$(dirname "$0")"
source ../tools.sh

root=$(tool_root registry "${PULLPASS_REGISTRY-}")
# Whatever version this Debian has: the tests ask of it what every registry does.
directory=$root/$( (cat /etc/os-release; dpkg --print-architecture) 2>/dev/null | hash)

if [[ ${1-} == --where ]]; then
  [[ -d $directory ]] || {
    echo 'error: the registry of the tests is not there: `make test` or `tests/registry/build.sh` fetches it' >&2
    exit 1
  }
  echo "$directory/usr/bin/docker-registry"
  exit
fi

command -v apt-get dpkg-deb >/dev/null || {
  echo 'error: no apt-get: the registry of the tests is a package of Debian' >&2
  exit 1
}

tool_lock registry "$root"
if [[ ! -d $directory ]]; then
  echo "registry: fetching docker-registry into $directory; later runs reuse it"
  unfinished=$directory.unfinished
  rm -rf "$unfinished"
  mkdir "$unfinished"
  download() (cd "$unfinished" && apt-get download -qq docker-registry 9>&- 2>"$unfinished/log")
  # A fresh machine knows no packages yet, and an old one may know files that are gone.
  download || {
    apt-get update -qq 9>&-
    download || { cat "$unfinished/log" >&2; exit 1; }
  }
  dpkg-deb --extract "$unfinished"/docker-registry_*.deb "$unfinished" 9>&-
  rm "$unfinished"/*.deb "$unfinished/log"
  mv "$unfinished" "$directory"
fi
echo "registry: ready in $directory"
