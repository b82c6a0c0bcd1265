{{/* The name of the release's objects: the release's name, and the chart's unless the release's contains it. */}}
{{- define "hello-world.fullname" -}}
{{- $release := replace "." "-" .Release.Name -}}
{{- if contains .Chart.Name $release -}}
{{- $release | trunc 63 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" $release .Chart.Name | trunc 63 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{/* The labels by which the Service, the Deployment and the budget select the pods; they must not change during a release's life. */}}
{{- define "hello-world.selectorLabels" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{/* The labels of every object except the test pod, which must not get the application's traffic. */}}
{{- define "hello-world.labels" -}}
{{ include "hello-world.selectorLabels" . }}
{{ include "hello-world.commonLabels" . }}
{{- end -}}

{{- define "hello-world.commonLabels" -}}
app.kubernetes.io/version: {{ include "hello-world.labelValue" (include "hello-world.version" .) }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ include "hello-world.labelValue" (printf "%s-%s" .Chart.Name .Chart.Version) }}
{{- end -}}

{{/* Any text as a label's value: at most 63 characters, the last one a letter or a digit. */}}
{{- define "hello-world.labelValue" -}}
{{- regexReplaceAll "[^A-Za-z0-9]+$" (regexReplaceAll "[^A-Za-z0-9_.-]" . "_" | trunc 63) "" | quote -}}
{{- end -}}

{{/* The version that runs. */}}
{{- define "hello-world.version" -}}
{{- .Values.image.tag | default .Chart.AppVersion -}}
{{- end -}}

{{/* The commit that runs, if the chart was published from one. */}}
{{- define "hello-world.commit" -}}
{{- index (.Chart.Annotations | default dict) "org.opencontainers.image.revision" | default "" -}}
{{- end -}}

{{/* The image, by its digest if that is set. */}}
{{- define "hello-world.image" -}}
{{- with .Values.image.digest -}}
{{- printf "%s@%s" $.Values.image.repository . -}}
{{- else -}}
{{- printf "%s:%s" .Values.image.repository (include "hello-world.version" .) -}}
{{- end -}}
{{- end -}}

{{- define "hello-world.serviceAccountName" -}}
{{- .Values.serviceAccount.name | default (ternary (include "hello-world.fullname" .) "default" .Values.serviceAccount.create) -}}
{{- end -}}
