//! Renderings of other values than the defaults, as an API server takes them.

use super::Release;
use crate::chart::template;

/// What is off by default and what both processes take; without objects of kinds that a plane does not know.
const VARIANTS: [&str; 3] = [
    "
webhook:
  autoscaling: {enabled: true}
  service: {type: LoadBalancer, annotations: {a: b}, ipFamilyPolicy: PreferDualStack, ipFamilies: [IPv4]}
  clientCA: {configMapName: callers}
  annotations: {a: b}
  namespaceSelector: {matchLabels: {a: b}, matchExpressions: [{key: c, operator: Exists}]}
  objectSelector: {matchLabels: {a: b}}
  matchConditions: [{name: mine, expression: 'has(object.metadata.labels)'}]
  extraArgs: [--context=x]
  extraEnv: [{name: A, valueFrom: {fieldRef: {fieldPath: metadata.name}}}]
  extraVolumes: [{name: tmp, emptyDir: {}}]
  extraVolumeMounts: [{name: tmp, mountPath: /tmp}]
  podLabels: {a: b}
  podAnnotations: {a: b}
  affinity: {podAntiAffinity: {preferredDuringSchedulingIgnoredDuringExecution: []}}
  tolerations: [{key: a, operator: Exists, effect: NoSchedule}]
  nodeSelector: {a: b}
controller:
  credentialNames: [a]
  retiredCredentialNames: [b]
  sourceSecretNames: [c]
  holdPods: true
  caBundle: '-----BEGIN CERTIFICATE-----'
proxy: {https: 'http://proxy.example:3128', noProxy: .svc}
global: {imagePullSecrets: [{name: a}]}
commonLabels: {a: b}
commonAnnotations: {a: b}
namespaceMode: opt-in
excludedNamespaces: [a]
tenantPolicies: {enabled: true}
networkPolicy:
  enabled: true
  apiServerCIDRs: [192.0.2.0/28]
  metricsFrom: [{namespaceSelector: {matchLabels: {a: b}}, podSelector: {}}]
  egressCIDRs: [169.254.0.0/16]
",
    "
webhook: {tls: {existingSecret: mine}, replicaCount: 1}
policies: {'1': {rules: [{name: a, match: {images: ['*']}, inject: {}}]}}
allowOptOut: false
",
    "{webhook: {tls: {existingSecret: mine}}, controller: {enabled: false}}",
];

/// Without a warning: no field that the API server does not know, no Pod that is not restricted.
pub(super) fn are_taken(release: &Release) {
    for values in VARIANTS {
        let ran = template(values);
        assert_eq!(ran.status, 0, "{}", ran.stderr);
        let apply = ["apply", "--server-side", "--dry-run=server", "-f", "-"];
        let ran = release.admin().kubectl_with(&apply, &ran.stdout);
        assert_eq!((ran.status, &*ran.stderr), (0, ""), "{values}");
    }
}
