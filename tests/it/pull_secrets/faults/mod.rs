//! What goes wrong for credentials: no copy is lost, nothing of others is overwritten, no older value comes after a newer one,
//! and no Pod is held past its time. A file a fault.
//!
//! Each test ends with a row of the second table that the run of all tests prints. What is counted is what a watch of the
//! tests' own sees.

mod answers;
mod between;
mod by_hand;
mod clock;
mod crash;
mod first_pods;
mod leader;
mod ledger;
mod namespaces;
mod policies;
mod quota;
mod restarts;
mod rights;
mod sources;
mod tokens;
mod waiting;

use std::sync::{LazyLock, Mutex, MutexGuard, PoisonError};

use super::*;
use ledger::{Ledger, Row};
use waiting::Waiting;

/// One credential, copied from a Secret, in every namespace of the test.
const POLICY: &str = "
apiVersion: pullpass.dev/v1
kind: RegistryPolicy
metadata: {name: company}
spec:
  rules:
    - name: quay
      match: {images: [quay.io], SELECTED}
      inject: {imagePullSecrets: [quay@]}
  credentials:
    - {name: quay@, from: {secretRef: {name: quay-source}}}
";

/// A plane for hundreds of namespaces and for an API server that goes away, one test at a time.
fn large_plane() -> MutexGuard<'static, Plane> {
    static PLANE: LazyLock<Mutex<Plane>> = LazyLock::new(|| Mutex::new(Plane::own()));
    PLANE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Sets what `quay@` is copied from.
fn rotate(estate: &Estate<'_>, login: &str) {
    estate.source("quay-source", &[("quay.io", login)]);
}

/// The number of a metric's series; none when it is not told.
fn metric(controller: &Controller, series: &str) -> Option<f64> {
    let metrics = controller.get("/metrics").body;
    let mut lines = metrics.lines();
    lines.find_map(|line| line.strip_prefix(series)?.trim().parse().ok())
}

/// The same for a counter that may not have begun.
fn count(controller: &Controller, series: &str) -> u64 {
    let number = metric(controller, series).unwrap_or_default();
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a counter"
    )]
    let number = number as u64;
    number
}

fn refreshes(estate: &Estate<'_>, credential: &str, result: &str) -> String {
    let name = estate.name(credential);
    format!("pullpass_credential_refreshes_total{{credential=\"{name}\",result=\"{result}\"}}")
}

fn writes(estate: &Estate<'_>, credential: &str, result: &str) -> String {
    let name = estate.name(credential);
    format!("pullpass_secret_writes_total{{credential=\"{name}\",result=\"{result}\"}}")
}

fn copies(estate: &Estate<'_>, credential: &str, state: &str) -> String {
    let name = estate.name(credential);
    format!("pullpass_credential_secrets{{credential=\"{name}\",state=\"{state}\"}}")
}

/// Secrets that the controller asked to delete.
fn deletions(estate: &Estate<'_>) -> Vec<String> {
    let mut writes = estate.writes();
    writes.retain(|write| write.starts_with("delete secrets"));
    writes
}
