"""Names of the API, and what names of its objects must look like."""

from __future__ import annotations

from deepseek_operator.api.rules import GROUP, NAME_PATTERN, matching

VERSION = "v1alpha1"
API_VERSION = f"{GROUP}/{VERSION}"
DEPLOYMENT_KIND = "DeepSeekDeployment"
POOL_KIND = "AcceleratorPool"

DEPLOYMENT_NAME = matching(
    NAME_PATTERN,
    "the name does not fit a Service and the engines named after it",
    "use at most 40 characters a-z, 0-9 and -, beginning with a letter and not ending with -",
)
POOL_NAME = matching(
    r"^[a-z0-9]([-a-z0-9.]{0,61}[a-z0-9])?$",
    "the name does not fit a label",
    "use at most 63 characters a-z, 0-9, - and .",
)
