# Sourced by the build.sh of each tool that the tests run: made once, kept outside the tree, found by later runs.
#
# A place has the hash of everything that went into it as its name, so other versions never mix; all of it may be deleted at
# any time. It builds without cgo, so that a tool runs wherever it was built.
export CGO_ENABLED=0 GOWORK=off
go_version=$(go env GOVERSION GOOS GOARCH)

hash() { sha256sum | cut -c1-16; }

# Where a tool is kept: tool_root NAME PLACE. PLACE, when it is not empty, is what the user wants instead.
tool_root() {
  local root=${2:-${XDG_CACHE_HOME:-$HOME/.cache}/pullpass/$1}
  [[ $root == /* ]] || root=$OLDPWD/$root
  echo "$root"
}

# Two runs at once: the second waits for the first, and then finds everything there. tool_lock NAME ROOT
tool_lock() {
  mkdir -p "$2"
  exec 9>"$2/lock"
  flock --nonblock 9 || { echo "$1: another run builds it; waiting"; flock 9; }
}

# Builds packages into a directory that has this name only when it is whole. tool_build NAME DIRECTORY LDFLAGS BINARY=PACKAGE…
tool_build() {
  local name=$1 directory=$2 ldflags=$3 part start
  shift 3
  rm -rf "$directory.unfinished"
  mkdir "$directory.unfinished"
  for part in "$@"; do
    start=$SECONDS
    go build -trimpath -buildvcs=false -ldflags "$ldflags" -o "$directory.unfinished/${part%%=*}" "${part#*=}" 9>&-
    echo "$name: ${part%%=*}, $((SECONDS - start)) s"
  done
  mv "$directory.unfinished" "$directory"
}
