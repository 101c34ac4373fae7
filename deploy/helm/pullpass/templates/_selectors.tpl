{{/* Which namespaces, Pods and requests an API server calls for. The webhook judges again by the same. */}}

{{/* Takes `ours`, a list of expressions, and `more`, a selector: both have to match. */}}
{{- define "pullpass.both" -}}
{{- $all := concat .ours (default (list) .more.matchExpressions) -}}
{{- if or $all .more.matchLabels -}}
{{- with .more.matchLabels }}
matchLabels:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $all }}
matchExpressions:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- else -}}
{}
{{- end -}}
{{- end -}}

{{- define "pullpass.namespaces" -}}
{{- $own := include "pullpass.namespace" . -}}
{{- $names := list "kube-system" $own -}}
{{- range .Values.excludedNamespaces | uniq | sortAlpha -}}
{{- $names = append $names . -}}
{{- end -}}
{{- $mode := ternary
      (dict "operator" "In" "values" (list "enabled"))
      (dict "operator" "NotIn" "values" (list "disabled"))
      (eq .Values.namespaceMode "opt-in") -}}
{{- $ours := list
      (dict "key" "kubernetes.io/metadata.name" "operator" "NotIn" "values" (uniq $names))
      (merge (dict "key" "pullpass.dev/inject") $mode) -}}
{{- include "pullpass.both" (dict "ours" $ours "more" .Values.webhook.namespaceSelector) | trim -}}
{{- end -}}

{{- define "pullpass.pods" -}}
{{- $ours := list -}}
{{- if .Values.allowOptOut -}}
{{- $ours = list (dict "key" "pullpass.dev/inject" "operator" "NotIn" "values" (list "disabled")) -}}
{{- end -}}
{{- include "pullpass.both" (dict "ours" $ours "more" .Values.webhook.objectSelector) | trim -}}
{{- end -}}

{{/* A mirror Pod may not reference secrets. `orValue`: a Pod without annotations would be an error. */}}
{{- define "pullpass.conditions" -}}
- name: not-a-mirror-pod
  expression: "!('kubernetes.io/config.mirror' in object.metadata.?annotations.orValue({}))"
{{- with .Values.webhook.matchConditions }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/* No `caBundle`, not even an empty one, unless the certificate is yours: the field has one owner. Takes `root` and `path`. */}}
{{- define "pullpass.clientConfig" -}}
{{- $webhook := .root.Values.webhook -}}
clientConfig:
  {{- if $webhook.url }}
  url: {{ printf "%s%s" (regexReplaceAll "/+$" $webhook.url "") .path }}
  {{- else }}
  service:
    namespace: {{ include "pullpass.namespace" .root }}
    name: {{ include "pullpass.component" (dict "root" .root "component" "webhook") }}
    path: {{ .path }}
    port: 443
  {{- end }}
  {{- with $webhook.tls.caBundle }}
  caBundle: {{ b64enc . }}
  {{- end }}
{{- end -}}

{{/* Metadata of a configuration. */}}
{{- define "pullpass.configuration" -}}
{{- $annotations := dict "admissions.enforcer/disabled" "true" -}}
{{- if .Values.certManager.enabled -}}
{{- $certificate := printf "%s/%s" (include "pullpass.namespace" .) (include "pullpass.component" (dict "root" . "component" "webhook")) -}}
{{- $_ := set $annotations "cert-manager.io/inject-ca-from" $certificate -}}
{{- end -}}
{{- include "pullpass.labels" (dict "root" . "component" "webhook" "annotations" (merge (dict) .Values.webhook.annotations $annotations)) -}}
{{- end -}}
