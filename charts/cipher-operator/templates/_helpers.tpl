{{/* Labels beside app.kubernetes.io/name, which is the same for all and what Pods are selected by. Those in `own`, of one
object alone, win over commonLabels. */}}
{{- define "cipher-operator.labels" -}}
app.kubernetes.io/part-of: cipher-operator
app.kubernetes.io/instance: {{ .Release.Name | quote }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 | trimAll "-._" | quote }}
{{- with merge (dict) (.own | default dict) (.Values.commonLabels | default dict) }}
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
{{ get (.Values.settings | default dict) "server-secrets-namespace" | default .Release.Namespace }}
{{- end }}
