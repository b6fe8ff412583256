{{/* Values to the operator's settings. */}}
{{- define "deepseek-operator.environment" -}}
- name: POD_NAME
  valueFrom: {fieldRef: {fieldPath: metadata.name}}
- name: POD_NAMESPACE
  valueFrom: {fieldRef: {fieldPath: metadata.namespace}}
- {name: DEEPSEEK_ALERT_TOKEN_FILE, value: /etc/deepseek-operator/alerts/token}
{{- end }}
