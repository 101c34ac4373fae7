{{/* The Deployment of a component: what both have in common. Takes `root`, `component`, `args`, `ports`, `volumes`, `mounts`, `env`,
`podAnnotations`, `hostNetwork`. */}}
{{- define "pullpass.deployment" -}}
{{- $values := index .root.Values .component -}}
apiVersion: apps/v1
kind: Deployment
metadata:
  name: {{ include "pullpass.component" . }}
  namespace: {{ include "pullpass.namespace" .root }}
  {{- include "pullpass.labels" . | nindent 2 }}
spec:
  {{- if not .autoscaled }}
  replicas: {{ $values.replicaCount }}
  {{- end }}
  strategy:
    {{- toYaml $values.updateStrategy | nindent 4 }}
  selector:
    matchLabels:
      {{- include "pullpass.selector" . | nindent 6 }}
  template:
    metadata:
      labels:
        {{- merge (include "pullpass.selector" . | fromYaml) (dict "app.kubernetes.io/part-of" "pullpass") $values.podLabels | toYaml | nindent 8 }}
      {{- with merge (dict) $values.podAnnotations (default (dict) .podAnnotations) }}
      annotations:
        {{- toYaml . | nindent 8 }}
      {{- end }}
    spec:
      serviceAccountName: {{ include "pullpass.account" . }}
      automountServiceAccountToken: {{ $values.serviceAccount.automountServiceAccountToken }}
      # Its environment should hold what it was given, not every Service of the namespace.
      enableServiceLinks: false
      {{- if .hostNetwork }}
      hostNetwork: true
      dnsPolicy: ClusterFirstWithHostNet
      {{- end }}
      {{- with .root.Values.global.imagePullSecrets }}
      imagePullSecrets:
        {{- toYaml . | nindent 8 }}
      {{- end }}
      {{- with $values.priorityClassName }}
      priorityClassName: {{ . }}
      {{- end }}
      terminationGracePeriodSeconds: {{ $values.terminationGracePeriodSeconds }}
      {{- with $values.podSecurityContext }}
      securityContext:
        {{- toYaml . | nindent 8 }}
      {{- end }}
      {{- with $values.nodeSelector }}
      nodeSelector:
        {{- toYaml . | nindent 8 }}
      {{- end }}
      {{- with $values.affinity }}
      affinity:
        {{- toYaml . | nindent 8 }}
      {{- end }}
      {{- with $values.tolerations }}
      tolerations:
        {{- toYaml . | nindent 8 }}
      {{- end }}
      {{- with $values.topologySpreadConstraints }}
      topologySpreadConstraints:
        {{- $these := dict "matchLabels" (include "pullpass.selector" $ | fromYaml) }}
        {{- range . }}
        - {{ merge (dict) . (dict "labelSelector" (ternary (dict) $these (hasKey . "labelSelector"))) | toYaml | nindent 10 | trim }}
        {{- end }}
      {{- end }}
      containers:
        - name: {{ .component }}
          image: {{ include "pullpass.image" .root }}
          imagePullPolicy: {{ .root.Values.image.pullPolicy }}
          args:
            - {{ .component }}
            {{- range concat .args $values.extraArgs }}
            - {{ . | quote }}
            {{- end }}
          {{- with concat (default (list) .env) $values.extraEnv }}
          env:
            {{- toYaml . | nindent 12 }}
          {{- end }}
          ports:
            {{- toYaml .ports | nindent 12 }}
          livenessProbe:
            httpGet: {path: /livez, port: admin}
            {{- toYaml $values.livenessProbe | nindent 12 }}
          readinessProbe:
            httpGet: {path: /readyz, port: admin}
            {{- toYaml $values.readinessProbe | nindent 12 }}
          {{- with $values.resources }}
          resources:
            {{- toYaml . | nindent 12 }}
          {{- end }}
          {{- with $values.containerSecurityContext }}
          securityContext:
            {{- toYaml . | nindent 12 }}
          {{- end }}
          {{- with concat (default (list) .mounts) $values.extraVolumeMounts }}
          volumeMounts:
            {{- toYaml . | nindent 12 }}
          {{- end }}
      {{- with concat (default (list) .volumes) $values.extraVolumes }}
      volumes:
        {{- toYaml . | nindent 8 }}
      {{- end }}
{{- end -}}
