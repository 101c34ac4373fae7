//! The admin port: `/livez`, `/readyz` and `/metrics`, for kubelets and Prometheus.
//!
//! Plain HTTP, read-only; it shows states and numbers, never a policy, a Pod or a secret.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::extract::{RawQuery, State};
use axum::http::{HeaderName, StatusCode, header};
use axum::routing::get;

use tokio::net::TcpListener;
use tokio::sync::{Notify, Semaphore, watch};

use super::connections::{self, Port, Stage};
use super::health::Health;
use super::limits::Limits;
use super::{ServeError, take_port};
use crate::metrics::{self, Metrics};

/// The admin port of a process, taken and not served yet. Some processes have no other.
#[derive(Debug)]
pub struct AdminPort {
    listener: TcpListener,
    address: SocketAddr,
}

impl AdminPort {
    /// Takes the port. Must be called inside a runtime.
    pub fn bind(address: SocketAddr) -> Result<Self, ServeError> {
        let (listener, address) = take_port(address, "admin")?;
        Ok(Self { listener, address })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves to the very end, so that probes hear "not ready" and not nothing.
    pub async fn run(self, health: Arc<Health>, metrics: Arc<Metrics>, limits: Limits) {
        let (_open, never) = watch::channel(Stage::Serving);
        let port = Port {
            router: router(health, metrics),
            tls: None,
            metrics: None,
            connections: limits.admin_connections,
            awake: Semaphore::new(limits.awake),
            limits,
            stage: never,
            pressed: Notify::new(),
        };
        connections::run(self.listener, port).await;
    }
}

#[derive(Clone)]
struct Admin {
    health: Arc<Health>,
    metrics: Arc<Metrics>,
}

fn router(health: Arc<Health>, metrics: Arc<Metrics>) -> Router {
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
