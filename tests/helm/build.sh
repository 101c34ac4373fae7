#!/usr/bin/env bash
# Builds the helm that the tests of the chart run, once, and keeps it outside the tree: later runs find it.
#
#   build.sh           build it when it is missing, say how long it takes
#   build.sh --where   print the path of helm; fail when it is not built
#
# The place is ${PULLPASS_HELM:-${XDG_CACHE_HOME:-~/.cache}/pullpass/helm}.
set -euo pipefail
cd "$(dirname "$0")"
source ../tools.sh

# Set as the releases set it: helm tells it, and a chart may ask for it.
version=$(awk '$1 == "helm.sh/helm/v4" { print $2 }' go.mod)
ldflags="-s -w -X helm.sh/helm/v4/internal/version.version=$version"
root=$(tool_root helm "${PULLPASS_HELM-}")
directory=$root/$( (cat go.mod go.sum; echo "$go_version $ldflags") | hash)

if [[ ${1-} == --where ]]; then
  [[ -d $directory ]] || {
    echo 'error: the helm of the tests is not built: `make test` or `tests/helm/build.sh` builds it' >&2
    exit 1
  }
  echo "$directory/helm"
  exit
fi

tool_lock helm "$root"
if [[ ! -d $directory ]]; then
  echo "helm: building $version into $directory; minutes when it is the first time, later runs reuse it"
  tool_build helm "$directory" "$ldflags" helm=helm.sh/helm/v4/cmd/helm
fi
echo "helm: ready in $directory"
