#!/usr/bin/env bash
# Builds the promtool that the tests of alerts and dashboard run, once, and keeps it outside the tree: later runs find it.
#
#   build.sh           build it when it is missing, say how long it takes
#   build.sh --where   print the path of promtool; fail when it is not built
#
# The place is ${PULLPASS_PROMTOOL:-${XDG_CACHE_HOME:-~/.cache}/pullpass/promtool}.
set -euo pipefail
cd "$(dirname "$0")"
source ../tools.sh

# Without the clients of clouds, where nothing is discovered: go.mod has none of them, and the build takes half the time.
export GOFLAGS="${GOFLAGS-} -tags=remove_all_sd"
version=$(awk '$1 == "github.com/prometheus/prometheus" { print $2 }' go.mod)
root=$(tool_root promtool "${PULLPASS_PROMTOOL-}")
directory=$root/$( (cat go.mod go.sum; echo "$go_version $GOFLAGS") | hash)

if [[ ${1-} == --where ]]; then
  [[ -d $directory ]] || {
    echo 'error: the promtool of the tests is not built: `make test` or `tests/promtool/build.sh` builds it' >&2
    exit 1
  }
  echo "$directory/promtool"
  exit
fi

tool_lock promtool "$root"
if [[ ! -d $directory ]]; then
  echo "promtool: building $version into $directory; minutes when it is the first time, later runs reuse it"
  tool_build promtool "$directory" '-s -w' promtool=github.com/prometheus/prometheus/cmd/promtool
fi
echo "promtool: ready in $directory"
