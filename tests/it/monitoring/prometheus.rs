//! A real Prometheus scrapes both processes, and answers what the dashboard asks it.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Stdio};

use serde_json::{Value, json};

use super::living::{self, Living};
use super::{read, tool};
use crate::plane::{Plane, wait_until};

/// Killed when it is dropped.
struct Prometheus {
    child: Child,
    address: SocketAddr,
    directory: tempfile::TempDir,
}

impl Prometheus {
    /// With these jobs, asked each second.
    fn start(jobs: &[Value]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let config = json!({"global": {"scrape_interval": "1s", "scrape_timeout": "1s"}, "scrape_configs": jobs});
        let path = directory.path().join("prometheus.yml");
        std::fs::write(&path, config.to_string()).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        drop(listener);
        let log = File::create(directory.path().join("log")).unwrap();
        let child = tool("prometheus")
            .arg("--config.file")
            .arg(&path)
            .arg("--storage.tsdb.path")
            .arg(directory.path().join("data"))
            .arg(format!("--web.listen-address={address}"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        let prometheus = Self {
            child,
            address,
            directory,
        };
        wait_until("Prometheus is ready", || {
            prometheus
                .get("/-/ready")
                .is_ok_and(|(status, _)| status.contains(" 200 "))
        });
        prometheus
    }

    /// Status line and body of an answer, if there is one.
    fn get(&self, path: &str) -> std::io::Result<(String, String)> {
        let mut stream = TcpStream::connect(self.address)?;
        // Of a 1.0 the end of the connection is the end of the body.
        write!(stream, "GET {path} HTTP/1.0\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_default();
        let status = head.lines().next().unwrap_or_default();
        Ok((status.to_owned(), body.to_owned()))
    }

    /// What a path of its API answers. Fails with its own words and its log.
    fn ask(&self, path: &str) -> Value {
        let (status, body) = self.get(path).unwrap();
        let told: Value = serde_json::from_str(&body).unwrap_or_default();
        let log = || std::fs::read_to_string(self.directory.path().join("log")).unwrap();
        assert_eq!(
            told["status"],
            "success",
            "{path}: {status} {body}\n{}",
            log()
        );
        told["data"].clone()
    }

    /// The series that an expression has now, each with its labels.
    fn series(&self, expression: &str) -> Vec<Value> {
        let data = self.ask(&format!("/api/v1/query?query={}", encoded(expression)));
        data["result"].as_array().unwrap().clone()
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// As a value in a URL.
fn encoded(text: &str) -> String {
    let byte = |byte: u8| {
        if byte.is_ascii_alphanumeric() {
            char::from(byte).to_string()
        } else {
            format!("%{byte:02X}")
        }
    };
    text.bytes().map(byte).collect()
}

/// A job as the Prometheus operator makes it of the chart's ServiceMonitors.
fn job(name: &str, pod: &str, address: SocketAddr) -> Value {
    let labels = json!({"namespace": "pullpass-system", "pod": pod});
    json!({"job_name": name, "static_configs": [{"targets": [address.to_string()], "labels": labels}]})
}

fn of_the_api_server(plane: &Plane) -> Value {
    let text = std::fs::read_to_string(&plane.admin().kubeconfig).unwrap();
    let config: Value = serde_json::from_str(&text).unwrap();
    let (_, address) = plane.url.split_once("://").unwrap();
    json!({
        "job_name": "apiserver", "scheme": "https",
        "authorization": {"credentials": config["users"][0]["user"]["token"]},
        "tls_config": {"ca_file": config["clusters"][0]["cluster"]["certificate-authority"]},
        "static_configs": [{"targets": [address]}],
    })
}

/// Title, expression and legend of each query of the dashboard, with its variables filled in.
fn panels() -> Vec<[String; 3]> {
    let dashboard: Value = serde_json::from_str(&read("deploy/grafana/pullpass.json")).unwrap();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let mut found = Vec::new();
    for panel in dashboard["panels"].as_array().unwrap() {
        for target in panel["targets"].as_array().into_iter().flatten() {
            let expression = text(&target["expr"])
                .replace("$namespace", "pullpass-system")
                .replace("$__rate_interval", "1m");
            assert!(
                !expression.contains('$'),
                "a variable of none: {expression}"
            );
            found.push([
                text(&panel["title"]),
                expression,
                text(&target["legendFormat"]),
            ]);
        }
    }
    found
}

#[test]
fn a_real_prometheus_has_data_for_each_panel() {
    let plane = Plane::own();
    let estate = living::estate(&plane);
    let living = Living::start(&estate);
    let prometheus = Prometheus::start(&[
        job(
            "pullpass-webhook-metrics",
            "webhook-a",
            living.webhook.server.admin,
        ),
        job(
            "pullpass-controller-metrics",
            "controller-a",
            living.controller.address(),
        ),
        of_the_api_server(&plane),
    ]);
    wait_until("all are scraped", || {
        prometheus.series("up == 1").len() == 3
    });
    living.ask();
    living.fail_calls();
    // Both expose text that a Prometheus takes whole, samples and types alike.
    let types = prometheus.ask("/api/v1/metadata?metric=pullpass_secret_writes");
    assert_eq!(
        types["pullpass_secret_writes"][0]["type"], "counter",
        "{types}"
    );
    for [title, expression, legend] in panels() {
        let mut found = Vec::new();
        wait_until(&format!("{title} has data: {expression}"), || {
            found = prometheus.series(&expression);
            !found.is_empty()
        });
        let labels = legend.split("{{").skip(1);
        for label in labels.map(|part| part.split("}}").next().unwrap()) {
            for series in &found {
                assert!(
                    series["metric"][label].is_string(),
                    "{title}: no {label} in {series}"
                );
            }
        }
    }
}
