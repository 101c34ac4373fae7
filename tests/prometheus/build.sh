#!/usr/bin/env bash
# Builds promtool and Prometheus, by which the tests of alerts and dashboard run, once, and keeps them outside the tree: later
# runs find them.
#
#   build.sh           build them when they are missing, say how long it takes
#   build.sh --where   print their directory; fail when they are not built
#
# The place is ${PULLPASS_PROMETHEUS:-${XDG_CACHE_HOME:-~/.cache}/pullpass/prometheus}.
set -euo pipefail
cd "$(dirname "$0")"
source ../tools.sh

# Without the clients of clouds, where nothing is discovered: the build takes half the time. It comes without its web pages, and
# its API is all that is asked.
export GOFLAGS="${GOFLAGS-} -tags=remove_all_sd"
version=$(awk '$1 == "github.com/prometheus/prometheus" { print $2 }' go.mod)
root=$(tool_root prometheus "${PULLPASS_PROMETHEUS-}")
directory=$root/$( (cat go.mod go.sum; echo "$go_version $GOFLAGS") | hash)

if [[ ${1-} == --where ]]; then
  [[ -d $directory ]] || {
    echo 'error: the Prometheus of the tests is not built: `make test` or `tests/prometheus/build.sh` builds it' >&2
    exit 1
  }
  echo "$directory"
  exit
fi

tool_lock prometheus "$root"
if [[ ! -d $directory ]]; then
  echo "prometheus: building $version into $directory; minutes when it is the first time, later runs reuse it"
  tool_build prometheus "$directory" '-s -w' \
    promtool=github.com/prometheus/prometheus/cmd/promtool \
    prometheus=github.com/prometheus/prometheus/cmd/prometheus
fi
echo "prometheus: ready in $directory"
