"""What ``spec.engine`` may not say: flags and variables of vLLM that the plan or the pod owns."""

from __future__ import annotations

import re

from deepseek_operator.api.rules import Rule, matching, quoted

OWNED_FLAGS = (
    # What is loaded, and from where.
    "--model",
    "--served-model-name",
    "--revision",
    "--download-dir",
    "--load-format",
    "--hf-token",
    "--hf-overrides",
    "--hf-config-path",
    "--trust-remote-code",
    "--config",
    # Precision and sharding.
    "--quantization",
    "--dtype",
    "--tensor-parallel-size",
    "--pipeline-parallel-size",
    "--data-parallel-size",
    "--data-parallel-rank",
    "--data-parallel-address",
    "--data-parallel-backend",
    "--data-parallel-start-rank",
    "--data-parallel-rpc-port",
    "--data-parallel-hybrid-lb",
    "--data-parallel-external-lb",
    "--data-parallel-multi-port-external-lb",
    "--decode-context-parallel-size",
    "--prefill-context-parallel-size",
    "--enable-expert-parallel",
    "--no-enable-expert-parallel",
    "--distributed-executor-backend",
    "--nnodes",
    "--node-rank",
    "--master-addr",
    "--master-port",
    "--headless",
    # Memory and batches.
    "--max-model-len",
    "--max-num-seqs",
    "--max-num-batched-tokens",
    "--kv-cache-memory-bytes",
    "--gpu-memory-utilization",
    "--device-memory-utilization",
    "--num-gpu-blocks-override",
    "--kv-cache-dtype",
    "--enable-chunked-prefill",
    "--no-enable-chunked-prefill",
    "--speculative-config",
    "--spec-method",
    "--spec-model",
    "--spec-tokens",
    "--enable-prefix-caching",
    "--no-enable-prefix-caching",
    # The pod: probes, meter and drain.
    "--host",
    "--port",
    "--uds",
    "--root-path",
    "--ssl-keyfile",
    "--ssl-certfile",
    "--ssl-ca-certs",
    "--api-key",
    "--middleware",
    "--shutdown-timeout",
    "--disable-log-stats",
    "--enable-lora",
)
OWNED_VARIABLES = (
    "CUDA_VISIBLE_DEVICES",
    "NVIDIA_VISIBLE_DEVICES",
    "HF_TOKEN",
    "HUGGING_FACE_HUB_TOKEN",
    "HOME",
    "PATH",
    "PYTHONPATH",
    "LD_PRELOAD",
    "LD_LIBRARY_PATH",
    "VLLM_API_KEY",
    "VLLM_CPU_KVCACHE_SPACE",
    "VLLM_PLUGINS",
    "VLLM_SERVER_DEV_MODE",
)


def _key(argument: str) -> str:
    return re.split(r"[=.]", argument.replace("_", "-"), maxsplit=1)[0]


def _is_owned(argument: str) -> bool:
    return any(flag.startswith(_key(argument)) for flag in OWNED_FLAGS)


ARGUMENT_FORM = Rule(
    cel="self.all(argument, argument.matches('^--[a-zA-Z]'))",
    holds=lambda arguments: all(re.search(r"^--[a-zA-Z]", argument) for argument in arguments),
    message="an argument does not begin with --",
    remedy="write each argument in one piece and in its long form: --flag or --flag=value",
)
# vLLM's parser takes underscores for dashes and any unambiguous beginning of a flag for the flag.
ARGUMENT_NOT_OWNED = Rule(
    cel="self.all(argument, !["
    + ", ".join(quoted(flag) for flag in OWNED_FLAGS)
    + "].exists(flag, flag.startsWith(argument.replace('_', '-').split('=', 2)[0].split('.', 2)[0])))",
    holds=lambda arguments: not any(_is_owned(argument) for argument in arguments if argument.startswith("--")),
    message="an argument is a flag that the plan or the pod owns, or an abbreviation of one, or --trust-remote-code",
    remedy="take it out: model, precision, sharding, lengths, memory, address and drain follow from the plan",
)
VARIABLE_NAME = matching(
    "^[A-Za-z_][A-Za-z0-9_]*$", "is not the name of a variable", "use letters, digits and _, not a digit first"
)
VARIABLE_NOT_OWNED = Rule(
    cel="!(self in [" + ", ".join(quoted(name) for name in OWNED_VARIABLES) + "])",
    holds=lambda name: name not in OWNED_VARIABLES,
    message="the pod owns this variable",
    remedy="take it out; an access token goes into model.source.huggingFace.tokenSecretRef",
)
