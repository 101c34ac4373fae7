#!/usr/bin/env bash
# Builds the image of deploy/Dockerfile where there is no Docker and no registry, with Debian's buildah.
#
#   build.sh                     install buildah when it is missing
#   build.sh BINARY DIRECTORY    build localhost/pullpass with that binary, in a storage of its own in DIRECTORY
#
# The last stage of the Dockerfile is run as it stands. What it stands on is replaced: the first stage by the binary, and the
# base by the libraries that the binary needs, from this machine, with what distroless has beside them.
set -euo pipefail
cd "$(dirname "$0")/../.."

if ! command -v buildah >/dev/null; then
  command -v apt-get >/dev/null || {
    echo 'error: no buildah: the test of the image needs it; install it by your package manager' >&2
    exit 1
  }
  as_root=()
  [[ $(id -u) == 0 ]] || as_root=(sudo)
  echo 'image: installing buildah'
  "${as_root[@]}" apt-get update -qq
  DEBIAN_FRONTEND=noninteractive "${as_root[@]}" apt-get install -y -qq --no-install-recommends buildah ca-certificates >/dev/null
fi
[[ $# == 0 ]] && { echo "image: $(buildah --version) is there"; exit; }

binary=$1 directory=$2
buildah() { command buildah --root "$directory/storage" --runroot "$directory/run" --storage-driver vfs "$@"; }

base=$directory/base
mkdir -p "$base/etc/ssl/certs" "$base/tmp" "$directory/empty"
chmod 1777 "$base/tmp"
# The loader and what it loads, each where the binary looks for it.
ldd "$binary" | grep -o '/[^ ]*' | while read -r library; do install -D "$library" "$base$library"; done
cp /etc/ssl/certs/ca-certificates.crt "$base/etc/ssl/certs/"
echo 'hosts: files dns' >"$base/etc/nsswitch.conf"
printf 'FROM scratch\nCOPY . /\n' >"$directory/Base"
buildah bud --quiet --isolation chroot --file "$directory/Base" --tag localhost/base "$base" >&2

install -D "$binary" "$directory/build/out/pullpass"
buildah bud --quiet --isolation chroot --pull=never --file deploy/Dockerfile --tag localhost/pullpass \
  --build-arg BASE=localhost/base --build-context build="$directory/build" "$directory/empty" >&2
