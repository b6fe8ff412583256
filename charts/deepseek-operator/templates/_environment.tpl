{{/*
Values to the operator's settings: one variable each. A number is written as it stands in values.yaml.
*/}}
{{- define "deepseek-operator.environment" -}}
- name: DEEPSEEK_POD_NAME
  valueFrom: {fieldRef: {fieldPath: metadata.name}}
- name: DEEPSEEK_POD_NAMESPACE
  valueFrom: {fieldRef: {fieldPath: metadata.namespace}}
{{- $cuda := include "deepseek-operator.image" (dict "image" .Values.engine.images.cuda "root" $) }}
{{- $cpu := include "deepseek-operator.image" (dict "image" .Values.engine.images.cpu "root" $) }}
{{- $ports := list }}
{{- range .Values.engine.weightPorts }}{{ $ports = append $ports (toString .) }}{{ end }}
{{- $variables := dict
  "CUDA_IMAGE" $cuda
  "CPU_IMAGE" $cpu
  "IMAGE_PULL_POLICY" .Values.engine.pullPolicy
  "GPU_RESOURCE" .Values.engine.gpuResource
  "MONITORING_NAMESPACE" .Values.engine.monitoringNamespace
  "WEIGHT_PORTS" (join "," $ports)
  "LEASE_NAME" .Values.leaderElection.leaseName
  "LEASE_DURATION" .Values.leaderElection.leaseDurationSeconds
  "LEASE_RENEW_DEADLINE" .Values.leaderElection.renewDeadlineSeconds
  "LEASE_RETRY" .Values.leaderElection.retrySeconds
  "SETTLE" .Values.loop.settleSeconds
  "MEASUREMENT_WINDOW" .Values.loop.measurementWindowSeconds
  "RESYNC" .Values.loop.resyncSeconds
  "RELIST" .Values.loop.relistSeconds
  "PROMETHEUS_URL" .Values.prometheus.url
  "NAMESPACES" (join "," .Values.rbac.namespaces)
  "ALERT_TOKEN_FILE" "/etc/deepseek-operator/alerts/token"
  "PRICE_FILE" (ternary "/etc/deepseek-operator/prices/prices.csv" "" (ne .Values.prices.configMap.name ""))
  "MAX_PRICE_AGE_DAYS" .Values.prices.maxAgeDays
  "MAX_USD_PER_HOUR" .Values.policy.maxUSDPerHour
  "ROUTING" .Values.policy.routing
  "DEMAND_PERCENTILE" .Values.policy.demandPercentile
  "ENGINE_START" .Values.policy.engineStartSeconds
  "MOVED_ENGINES_PER_HOUR" .Values.policy.movedEnginesPerHour
  "MOVED_ENGINES_PER_HOUR_IN_ALL" .Values.policy.movedEnginesPerHourInAll
  "RETRY_AFTER" .Values.policy.retryAfterSeconds
  "LOG_LEVEL" .Values.logLevel
}}
{{- range $name := keys $variables | sortAlpha }}
{{- $value := get $variables $name }}
{{- /* Helm reads numbers as floats, and toString would write two million as 2e+06. */ -}}
{{- if and (kindIs "float64" $value) (eq (floor $value) $value) }}{{ $value = int64 $value }}{{ end }}
- name: DEEPSEEK_{{ $name }}
  value: {{ $value | toString | quote }}
{{- end }}
{{- end }}
