"""Annotations of an adapter's image, which push writes: what the adapter was made of.

They are those of the OCI specification
(https://github.com/opencontainers/image-spec/blob/main/annotations.md), Kaito's, and argotune's.
"""

from __future__ import annotations

OCI = "org.opencontainers.image"
OURS = "sh.argotune"

CREATED = f"{OCI}.created"
"""Time of the run, RFC 3339."""
WORKSPACE = f"{OCI}.title"
"""Name of the workspace, which is that of the service too."""
OUTPUT_TAG = f"{OCI}.version"
"""Tag of the output image that the workspace names."""
BASE_MODEL = f"{OURS}.base-model"
"""REPOSITORY of the model that was tuned, or another source of weights."""
BASE_REVISION = f"{OURS}.base-revision"
BASE_DIGEST = f"{OURS}.base-digest"
MODEL_DIR = f"{OURS}.model-dir"
"""Directory of that model below the model cache."""
DATASET_DIGEST = f"{OURS}.dataset-digest"
STARTED_FROM = f"{OURS}.started-from"
"""sha256:HEX of the adapter with whose weights training began; missing: with new ones."""
WARM_STARTS = f"{OURS}.warm-starts"
"""Runs that pushed an adapter since one that began with new weights; missing: 0."""
CONFIG_DIGEST = f"{OURS}.config-digest"
"""sha256:HEX of the plan file."""
BASE_LOSS = f"{OURS}.base-loss"
LIVE_LOSS = f"{OURS}.live-loss"
"""Loss of the adapter that was in service, on the same rows."""
TUNED_LOSS = f"{OURS}.tuned-loss"
MACHINE = f"{OURS}.machine"
"""SKU, spot or regular, and zone of the node that was made for the run; missing: none was."""
COST_USD = f"{OURS}.cost-usd"
"""What that node had cost when the evaluation ended, by the known price; of a spot node the most
that it can be. Missing: not known, or no node was made."""
DEPLOY_TO = f"{OURS}.deploy-to"
"""none: its run was only to push it; missing: it was to be deployed too."""
VERDICT = f"{OURS}.verdict"
"""passed or rejected."""
