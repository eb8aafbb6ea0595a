{{/* Labels beside app.kubernetes.io/name, which is the same for all and what Pods are selected by. */}}
{{- define "cipher-operator.labels" -}}
app.kubernetes.io/part-of: cipher-operator
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 }}
{{- with .Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- define "cipher-operator.serviceAccountName" -}}
{{ .Values.serviceAccount.name | default "cipher-operator" }}
{{- end }}

{{- define "cipher-operator.image" -}}
{{- $tag := .Values.image.tag | default .Chart.AppVersion -}}
{{- if .Values.image.digest -}}
{{ .Values.image.repository }}@{{ .Values.image.digest }}
{{- else -}}
{{ .Values.image.repository }}:{{ $tag }}
{{- end -}}
{{- end }}

{{/* Where the Secrets are that CipherServers name. */}}
{{- define "cipher-operator.serverSecretsNamespace" -}}
{{ index .Values.settings "server-secrets-namespace" | default .Release.Namespace }}
{{- end }}
