{{/* Names, labels and the image. Selectors use name, instance and component alone: they can never change. */}}

{{- define "pullpass.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 44 | trimSuffix "-" -}}
{{- end -}}

{{/* A release called `pullpass` gives `pullpass-webhook`, another one `RELEASE-pullpass-webhook`. 44 leaves room for the longest suffix. */}}
{{- define "pullpass.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 44 | trimSuffix "-" -}}
{{- else -}}
{{- $name := include "pullpass.name" . -}}
{{- if contains $name .Release.Name -}}
{{- .Release.Name | trunc 44 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name $name | trunc 44 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "pullpass.namespace" -}}
{{- default .Release.Namespace .Values.namespaceOverride -}}
{{- end -}}

{{/* The name of a component's objects. Takes `root` and `component`, as all below that take a component. */}}
{{- define "pullpass.component" -}}
{{- printf "%s-%s" (include "pullpass.fullname" .root) .component -}}
{{- end -}}

{{- define "pullpass.account" -}}
{{- default (include "pullpass.component" .) (index .root.Values .component).serviceAccount.name -}}
{{- end -}}

{{/* The Secret that the webhook serves with. The controller and `pullpass render rbac` know it by this name. */}}
{{- define "pullpass.tlsSecret" -}}
{{- default "pullpass-webhook-tls" .Values.webhook.tls.existingSecret -}}
{{- end -}}

{{/* Whether the controller makes the certificate and keeps `caBundle`: not empty when it does. */}}
{{- define "pullpass.keepsCertificates" -}}
{{- if not (or .Values.certManager.enabled .Values.webhook.tls.existingSecret) -}}
true
{{- end -}}
{{- end -}}

{{- define "pullpass.selector" -}}
app.kubernetes.io/name: {{ include "pullpass.name" .root }}
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .component }}
{{- end -}}

{{/* Labels and annotations of an object; `labels` and `annotations` add some. Those of the chart win: selectors and the CLI rely on them. */}}
{{- define "pullpass.labels" -}}
{{- $chart := dict
      "app.kubernetes.io/part-of" "pullpass"
      "app.kubernetes.io/version" .root.Chart.AppVersion
      "app.kubernetes.io/managed-by" .root.Release.Service
      "helm.sh/chart" (printf "%s-%s" .root.Chart.Name .root.Chart.Version | replace "+" "_") -}}
labels:
  {{- merge (include "pullpass.selector" . | fromYaml) $chart (default (dict) .labels) .root.Values.commonLabels | toYaml | nindent 2 }}
{{- with merge (dict) (default (dict) .annotations) .root.Values.commonAnnotations }}
annotations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{- define "pullpass.image" -}}
{{- $image := .Values.image -}}
{{- $registry := default $image.registry .Values.global.imageRegistry -}}
{{- $name := ternary $image.repository (printf "%s/%s" $registry $image.repository) (empty $registry) -}}
{{- if $image.digest -}}
{{- printf "%s@%s" $name $image.digest -}}
{{- else -}}
{{- printf "%s:%s" $name (default .Chart.AppVersion $image.tag) -}}
{{- end -}}
{{- end -}}
