{{/*
What the operator does, verb by verb, and nothing else. The same table is in the operator's code, and a test compares the two.
A server-side apply is a patch; one that makes the object needs create as well.
*/}}
{{- define "deepseek-operator.namespacedRules" -}}
- apiGroups: [serving.deepseek-operator.dev]
  resources: [deepseekdeployments]
  verbs: [list, watch]
- apiGroups: [serving.deepseek-operator.dev]
  resources: [deepseekdeployments/status]
  verbs: [patch]
- apiGroups: [""]
  resources: [pods]
  verbs: [list, watch]
- apiGroups: [""]
  resources: [configmaps]
  verbs: [list, watch, create, patch, delete]
- apiGroups: [""]
  resources: [services]
  verbs: [list, watch, create, patch]
- apiGroups: [apps]
  resources: [deployments]
  verbs: [list, watch, create, patch, delete]
- apiGroups: [policy]
  resources: [poddisruptionbudgets]
  verbs: [list, watch, create, patch]
- apiGroups: [networking.k8s.io]
  resources: [networkpolicies]
  verbs: [list, watch, create, patch]
- apiGroups: [""]
  resources: [events]
  verbs: [create]
{{- if .Values.multiNode.enabled }}
- apiGroups: [leaderworkerset.x-k8s.io]
  resources: [leaderworkersets]
  verbs: [list, watch, create, patch, delete]
{{- end }}
{{- end }}

{{- define "deepseek-operator.clusterRules" -}}
- apiGroups: [""]
  resources: [nodes]
  verbs: [list, watch]
- apiGroups: [serving.deepseek-operator.dev]
  resources: [acceleratorpools]
  verbs: [list, watch]
- apiGroups: [serving.deepseek-operator.dev]
  resources: [acceleratorpools/status]
  verbs: [patch]
{{- end }}

{{/* In the release's own namespace. A Lease can not be created by name, so create has no resourceNames. */}}
{{- define "deepseek-operator.ownRules" -}}
- apiGroups: [coordination.k8s.io]
  resources: [leases]
  verbs: [create]
- apiGroups: [coordination.k8s.io]
  resources: [leases]
  resourceNames: [{{ .Values.leaderElection.leaseName }}]
  verbs: [get, update]
{{- end }}
