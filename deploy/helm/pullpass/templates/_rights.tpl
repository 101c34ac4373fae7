{{/* A component's rights, in the cluster and in pullpass's own namespace. Takes `root`, `component`, `cluster`, `namespaced`: rules. */}}
{{- define "pullpass.rights" -}}
{{- $name := include "pullpass.component" . -}}
{{- $namespace := include "pullpass.namespace" .root -}}
{{- $labels := include "pullpass.labels" . -}}
{{- $subject := dict "kind" "ServiceAccount" "name" (include "pullpass.account" .) "namespace" $namespace -}}
{{- $kinds := list
      (dict "prefix" "Cluster" "rules" .cluster)
      (dict "prefix" "" "rules" .namespaced) -}}
{{- range $i, $these := $kinds }}
{{- if $i }}
---
{{- end }}
apiVersion: rbac.authorization.k8s.io/v1
kind: {{ .prefix }}Role
metadata:
  name: {{ $name }}
  {{- if not .prefix }}
  namespace: {{ $namespace }}
  {{- end }}
  {{- $labels | nindent 2 }}
rules:
  {{- toYaml .rules | nindent 2 }}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: {{ .prefix }}RoleBinding
metadata:
  name: {{ $name }}
  {{- if not .prefix }}
  namespace: {{ $namespace }}
  {{- end }}
  {{- $labels | nindent 2 }}
roleRef:
  apiGroup: rbac.authorization.k8s.io
  kind: {{ .prefix }}Role
  name: {{ $name }}
subjects:
  - {{ toYaml $subject | nindent 4 | trim }}
{{- end }}
{{- end -}}
