#!/usr/bin/env bash
# Runs every test and ends with how many passed and failed. A missing part fails, it never skips.
set -uo pipefail
cd "$(dirname "$0")/.."
log=$(mktemp)
trap 'rm -f "$log"' EXIT
# Rows that the tests of faults leave.
faults=${CARGO_TARGET_DIR:-target}/tmp/faults.txt
credential_faults=${CARGO_TARGET_DIR:-target}/tmp/credential-faults.txt
# What the commands of docs/install.md said.
installation=${CARGO_TARGET_DIR:-target}/tmp/installation.txt
rm -f "$faults" "$credential_faults" "$installation"
status=0
# Tests against a real API server, of the chart, of its alerts and of credentials fail without them.
tests/controlplane/build.sh || exit 1
tests/helm/build.sh || exit 1
tests/prometheus/build.sh || exit 1
tests/moto/build.sh || exit 1
tests/registry/build.sh || exit 1
tests/image/build.sh || exit 1
tests/faketime/build.sh || exit 1
cargo test --locked --no-fail-fast --all-targets 2>&1 | tee "$log" || status=1
cargo test --locked --doc 2>&1 | tee -a "$log" || status=1
if [[ -s $installation ]]; then
  echo 'An installation by the commands of docs/install.md:'
  sed 's/^/  /' "$installation"
else
  echo 'error: the commands of docs/install.md were not run'
  status=1
fi
if [[ -s $faults ]]; then
  printf '%-52s | %7s | %12s | %17s | %s\n' 'fault' 'created' 'failed by us' 'refused by others' 'what happened'
  sort "$faults"
else
  echo 'error: no fault was tried'
  status=1
fi
if [[ -s $credential_faults ]]; then
  printf '%-58s | %6s | %4s | %11s | %9s | %13s | %s\n' \
    'fault of credentials' 'copies' 'lost' 'overwritten' 'pods held' 'held too long' 'what happened'
  sort "$credential_faults"
else
  echo 'error: no fault of credentials was tried'
  status=1
fi
awk -v status="$status" '
  /^test result:/ { passed += $4; failed += $6; ignored += $8 }
  END {
    if (ignored) { printf "error: %d tests were ignored; none may be\n", ignored; status = 1 }
    if (!passed) { print "error: no test ran"; status = 1 }
    printf "%d passed, %d failed\n", passed, failed
    exit (failed || status) ? 1 : 0
  }' "$log"
