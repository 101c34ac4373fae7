//! deploy/kustomize: the chart's own output, and overlays that come to what the chart renders with their values.

use std::path::Path;
use std::process::Command;

use super::{committed, documents, named, rendered, template, template_with};
use crate::plane::kubectl;

/// What an overlay comes to.
fn overlay(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("deploy/kustomize")
        .join(name);
    let output = Command::new(kubectl())
        .arg("kustomize")
        .arg(path)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.is_empty(), "{name}: {said}");
    String::from_utf8(output.stdout).unwrap()
}

const HEAD: &str = "# Made from deploy/helm/pullpass by `make chart`: change the chart.\n";

#[test]
fn the_base_is_the_charts_default_rendering() {
    let rendering = template("").stdout;
    committed(
        "deploy/kustomize/base/pullpass.yaml",
        &format!("{HEAD}{rendering}"),
    );
}

const CERT_MANAGER: &str = "certManager: {enabled: true}";

#[test]
fn the_certificates_are_the_charts() {
    let only = ["--show-only", "templates/certificates.yaml"];
    let rendering = template_with(CERT_MANAGER, &only).stdout;
    let path = "deploy/kustomize/overlays/cert-manager/certificates.yaml";
    committed(path, &format!("{HEAD}{rendering}"));
}

#[test]
fn each_overlay_comes_to_what_the_chart_renders() {
    for (name, values) in [
        ("base", ""),
        ("overlays/opt-in", "namespaceMode: opt-in"),
        ("overlays/cert-manager", CERT_MANAGER),
    ] {
        let mut is = named(documents(&overlay(name)));
        let namespace = is.remove("Namespace pullpass-system").unwrap();
        let enforced = &namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"];
        assert_eq!(enforced, "restricted", "{name}");
        let want = named(rendered(values));
        assert_eq!(
            is.keys().collect::<Vec<_>>(),
            want.keys().collect::<Vec<_>>(),
            "{name}"
        );
        for (key, object) in want {
            assert_eq!(is[&key], object, "{name}: {key}");
        }
    }
}
