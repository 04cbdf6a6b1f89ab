"""What others read of a server, which so must have one name."""

from __future__ import annotations

from collections.abc import Mapping

from argotune.steps.contracts.vllm import Engine

MANAGED_BY = "app.kubernetes.io/managed-by"
SERVICE_LABEL = "argotune.dev/service"
"""Label of every object of a service, also of its pods: the service's name."""
ADAPTER_HEADER = "argotune-adapter"
"""Header of an answer: sha256:HEX of the image of the adapter that gave it, or of its files where a
service without training has them from a claim. An answer of the base model, or of an adapter whose
image is not known, has none."""
DIGEST_FILE = "image-digest"
"""File beside the serving.json of an adapter that joined a server, with the text of that header. No
file of an adapter's image can have the name, which has no suffix."""
SERVER_CPU = "500m"
"""CPUs that a server asks for."""
SERVER_MEMORY: Mapping[Engine, str] = {"transformers": "2Gi", "vllm": "8Gi"}
"""Memory that a server asks for whose weights are on a GPU. vLLM has three processes and pinned
buffers; not measured on one."""
WAITING_METRIC = "argotune_requests_waiting"
"""Gauge: requests in the queue of one server."""
KEYS_AND_VALUES_SHARE = 0.8
"""Of the memory that weights leave, for the keys and values of answers; the rest is for what a step
computes."""
