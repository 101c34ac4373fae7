//! The admin port: `/livez`, `/readyz` and `/metrics`, for kubelets and Prometheus.
//!
//! Plain HTTP, read-only; it shows states and numbers, never a policy, a Pod or a secret.

use std::sync::Arc;

use axum::Router;
use axum::extract::{RawQuery, State};
use axum::http::{HeaderName, StatusCode, header};
use axum::routing::get;

use super::health::Health;
use crate::metrics::{self, Metrics};

#[derive(Clone)]
struct Admin {
    health: Arc<Health>,
    metrics: Arc<Metrics>,
}

pub(super) fn router(health: Arc<Health>, metrics: Arc<Metrics>) -> Router {
    Router::new()
        .route("/livez", get(async || "alive\n"))
        .route("/readyz", get(readyz))
        .route("/metrics", get(show_metrics))
        .fallback(async || {
            (
                StatusCode::NOT_FOUND,
                "no such path; there are `/livez`, `/readyz`, `/metrics`\n",
            )
        })
        .with_state(Admin { health, metrics })
}

async fn readyz(State(admin): State<Admin>, RawQuery(query): RawQuery) -> (StatusCode, String) {
    let verbose = query.is_some_and(|q| {
        q.split('&')
            .any(|pair| pair.split('=').next().is_some_and(|key| key == "verbose"))
    });
    let report = admin.health.report();
    let status = if report.is_ready() {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    (status, report.text(verbose))
}

async fn show_metrics(State(admin): State<Admin>) -> ([(HeaderName, &'static str); 1], String) {
    (
        [(header::CONTENT_TYPE, metrics::CONTENT_TYPE)],
        admin.metrics.render(),
    )
}
