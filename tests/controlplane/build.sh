#!/usr/bin/env bash
# Builds the control plane that the tests run against, once, and keeps it outside the tree: later runs find it.
#
#   build.sh           build what is missing, say what and how long it takes
#   build.sh --where   print the directory of the binaries and the launcher's path; fail when they are not built
#
# The place is ${PULLPASS_CONTROLPLANE:-${XDG_CACHE_HOME:-~/.cache}/pullpass/controlplane}.
set -euo pipefail
cd "$(dirname "$0")"
source ../tools.sh

parts='etcd kube-apiserver kube-controller-manager kubectl'
package() {
  case $1 in
    etcd) echo go.etcd.io/etcd/server/v3 ;;
    *) echo "k8s.io/kubernetes/cmd/$1" ;;
  esac
}

# Set as the releases set it; otherwise the version that each of them tells is "v0.0.0-master".
version=$(awk '$1 == "k8s.io/kubernetes" { print $2 }' go.mod)
ldflags="-s -w"
for package in k8s.io/component-base/version k8s.io/client-go/pkg/version; do
  ldflags+=" -X $package.gitVersion=$version -X $package.gitMajor=$(cut -d. -f1 <<<"${version#v}") -X $package.gitMinor=$(cut -d. -f2 <<<"$version")"
done

root=$(tool_root controlplane "${PULLPASS_CONTROLPLANE-}")
directory=$root/$( (cat go.mod go.sum; echo "$go_version $parts $ldflags") | hash)
launcher=$root/launcher-$( (cat ./*.go; echo "$go_version") | hash)

if [[ ${1-} == --where ]]; then
  [[ -d $directory && -x $launcher ]] || {
    echo 'error: the control plane of the tests is not built: `make test` or `tests/controlplane/build.sh` builds it' >&2
    exit 1
  }
  printf '%s\n' "$directory" "$launcher"
  exit
fi

tool_lock controlplane "$root"
if [[ ! -d $directory ]]; then
  echo "controlplane: building $parts into $directory"
  echo 'controlplane: minutes when it is the first time (about 8 with two cores); later runs reuse it'
  packages=()
  for part in $parts; do packages+=("$part=$(package "$part")"); done
  tool_build controlplane "$directory" "$ldflags" "${packages[@]}"
fi
if [[ ! -x $launcher ]]; then
  go build -trimpath -buildvcs=false -o "$launcher.unfinished" . 9>&-
  mv "$launcher.unfinished" "$launcher"
  echo "controlplane: the launcher is built"
fi
echo "controlplane: ready in $directory"
