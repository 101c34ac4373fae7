//! Values that are refused, each by a sentence that says where and what to do.

use super::{rendered, template};

/// Values, what the refusal says, why.
const MISTAKES: [(&str, &str, &str); 18] = [
    (
        "webhook: {failurePolicy: Sometimes}",
        "at '/webhook/failurePolicy': value must be one of 'Ignore', 'Fail'",
        "an API server knows two",
    ),
    (
        "webhook: {failurePolcy: Fail}",
        "at '/webhook': additional properties 'failurePolcy' not allowed",
        "a typing mistake has no silent effect",
    ),
    (
        "replicaCount: 3",
        "additional properties 'replicaCount' not allowed",
        "nor has a value at a wrong place",
    ),
    (
        "webhook: {timeoutSeconds: 31}",
        "at '/webhook/timeoutSeconds': maximum: got 31, want 30",
        "the API server's bound",
    ),
    (
        "webhook: {url: 'http://hooks.example'}",
        "at '/webhook/url'",
        "API servers call by HTTPS only",
    ),
    (
        "webhook: {configurationName: pullpass-policies}",
        "at '/webhook/configurationName'",
        "the controller keeps that one too",
    ),
    (
        "proxy: {https: 'http://me:secret@proxy.example:3128'}",
        "at '/proxy/https'",
        "a password in the values would be one in the Deployment",
    ),
    (
        "policies: {company: {rules: [{name: hub, match: {image: [docker.io]}, inject: {}}]}}",
        "at '/policies/company/rules/0/match': additional properties 'image' not allowed",
        "a policy is read as by `pullpass lint`",
    ),
    (
        "policies: {company: {rules: [{name: e, match: {ecr: {accountIds: [123456789012]}}, inject: {}}]}}",
        "at '/policies/company/rules/0/match/ecr/accountIds/0': got number, want string",
        "an account without quotes would lose its digits",
    ),
    (
        "webhook: {hostNetwork: true}",
        "port 10250 is the kubelet's on every node; set webhook.port",
        "a port cannot be taken twice",
    ),
    (
        "webhook: {adminPort: 10250}",
        "webhook.port and webhook.adminPort are both 10250",
        "not even by itself",
    ),
    (
        "webhook: {drainSeconds: 25}",
        "webhook.terminationGracePeriodSeconds is 30: a Pod serves for webhook.drainSeconds and answers for \
             webhook.timeoutSeconds, 30 together; set more than that",
        "it would be killed while it answers",
    ),
    (
        "webhook: {tls: {caBundle: '-----BEGIN CERTIFICATE-----'}}",
        "webhook.tls.caBundle goes with webhook.tls.existingSecret",
        "caBundle has one owner",
    ),
    (
        "{webhook: {tls: {existingSecret: mine}}, certManager: {enabled: true}}",
        "both give the certificate; set one of them",
        "two certificates",
    ),
    (
        "controller: {enabled: false}",
        "nothing makes the webhook's certificate; set certManager.enabled, or webhook.tls.existingSecret",
        "no certificate",
    ),
    (
        "controller: {serviceAccount: {create: false}}",
        "controller.serviceAccount.create is false: give the account's name in controller.serviceAccount.name",
        "an account that nobody made",
    ),
    (
        "{webhook: {serviceAccount: {name: one}}, controller: {serviceAccount: {name: one}}}",
        "are both `one`; give each its own",
        "the webhook would have the controller's rights",
    ),
    (
        "webhook: {autoscaling: {enabled: true, minReplicas: 7}}",
        "webhook.autoscaling.minReplicas is 7, more than webhook.autoscaling.maxReplicas, 6",
        "no number is both",
    ),
];

#[test]
fn a_value_that_cannot_be_meant_is_refused_by_a_sentence() {
    for (values, want, why) in MISTAKES {
        let ran = template(values);
        assert_eq!(ran.stdout, "", "{why}: {values}");
        assert!(
            ran.status != 0 && ran.stderr.contains(want),
            "{why}: {}",
            ran.stderr
        );
    }
}

#[test]
fn a_parent_chart_may_share_anything() {
    rendered("global: {imageRegistry: mirror.example, of: {another: chart}}");
}
