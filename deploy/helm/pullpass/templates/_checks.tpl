{{/* What no schema can see: values that do not go together. Each stops the rendering by a sentence that says what to do. */}}
{{- define "pullpass.checks" -}}
{{- $webhook := .Values.webhook -}}
{{- $controller := .Values.controller -}}
{{- if and $webhook.hostNetwork (eq (int $webhook.port) 10250) -}}
{{- fail "webhook.hostNetwork: port 10250 is the kubelet's on every node; set webhook.port to one that is free there, such as 9443" -}}
{{- end -}}
{{- if eq (int $webhook.port) (int $webhook.adminPort) -}}
{{- fail (printf "webhook.port and webhook.adminPort are both %d; give them different ports" (int $webhook.port)) -}}
{{- end -}}
{{- $needed := add $webhook.drainSeconds $webhook.timeoutSeconds -}}
{{- if le (int $webhook.terminationGracePeriodSeconds) (int $needed) -}}
{{- fail (printf "webhook.terminationGracePeriodSeconds is %d: a Pod serves for webhook.drainSeconds and answers for webhook.timeoutSeconds, %d together; set more than that" (int $webhook.terminationGracePeriodSeconds) (int $needed)) -}}
{{- end -}}
{{- if and $webhook.tls.existingSecret .Values.certManager.enabled -}}
{{- fail "webhook.tls.existingSecret and certManager.enabled both give the certificate; set one of them" -}}
{{- end -}}
{{- if and $webhook.tls.caBundle (not $webhook.tls.existingSecret) -}}
{{- fail "webhook.tls.caBundle goes with webhook.tls.existingSecret: otherwise the controller or cert-manager owns caBundle; remove it" -}}
{{- end -}}
{{- if and (not $controller.enabled) (include "pullpass.keepsCertificates" .) -}}
{{- fail "controller.enabled is false: nothing makes the webhook's certificate; set certManager.enabled, or webhook.tls.existingSecret" -}}
{{- end -}}
{{- range $component := list "webhook" "controller" -}}
{{- $account := (index $.Values $component).serviceAccount -}}
{{- if not (or $account.create $account.name) -}}
{{- fail (printf "%s.serviceAccount.create is false: give the account's name in %s.serviceAccount.name" $component $component) -}}
{{- end -}}
{{- end -}}
{{- $accounts := dict "a" (include "pullpass.account" (dict "root" . "component" "webhook")) "b" (include "pullpass.account" (dict "root" . "component" "controller")) -}}
{{- if and $controller.enabled (eq $accounts.a $accounts.b) -}}
{{- fail (printf "webhook.serviceAccount.name and controller.serviceAccount.name are both `%s`; give each its own, so that the webhook cannot write" $accounts.a) -}}
{{- end -}}
{{- if and $webhook.autoscaling.enabled (gt (int $webhook.autoscaling.minReplicas) (int $webhook.autoscaling.maxReplicas)) -}}
{{- fail (printf "webhook.autoscaling.minReplicas is %d, more than webhook.autoscaling.maxReplicas, %d" (int $webhook.autoscaling.minReplicas) (int $webhook.autoscaling.maxReplicas)) -}}
{{- end -}}
{{- end -}}
