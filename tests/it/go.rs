//! Programs in Go that tests ask or are called by: a directory in `tests/` → its binary.
//!
//! They are built with `go build` into the target directory. A machine without Go fails the tests that need one; none is
//! ever skipped.

use std::path::{Path, PathBuf};
use std::process::Command;

/// The program in `tests/NAME`, built; Go's own cache makes a second build free.
///
/// The kubelet's packages are large: built as `tests/controlplane` builds them, most are in the cache.
pub(crate) fn built(name: &str) -> PathBuf {
    let source = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests")
        .join(name);
    let binary = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name.replace('/', "-"));
    let build = Command::new("go")
        .args([
            "build",
            "-mod=readonly",
            "-trimpath",
            "-buildvcs=false",
            "-o",
        ])
        .arg(&binary)
        .arg(".")
        .env("CGO_ENABLED", "0")
        .env("GOWORK", "off")
        .current_dir(source)
        .output()
        .expect("`go` must be installed: the tests compare with Go's own packages");
    let words = String::from_utf8_lossy(&build.stderr);
    assert!(
        build.status.success(),
        "`go build` in tests/{name} failed:\n{words}"
    );
    binary
}
