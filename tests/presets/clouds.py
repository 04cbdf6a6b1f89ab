"""A second cloud beside the first, for what must not take all machines for one cloud's."""

from __future__ import annotations

import shutil
from pathlib import Path

from argotune.presets.loader import PRESETS_DIR

_ACME = """\
cloud: acme
providers: [acme-pools, karpenter]
node_classes: [AcmeNodeClass]
provider_id: acme
price_region: north
price_source: acme.example's price list
skus:
  - name: acme.small
    vendor: nvidia
    gpu_model: A10
    gpus: 1
    gpu_memory_gib: 24
    bfloat16: true
    vcpus: 8
    memory_gib: 64
    quota: small
    price_usd_per_hour: 1.5
  - name: acme.large
    vendor: nvidia
    gpu_model: A100 80GB
    gpus: 1
    gpu_memory_gib: 80
    bfloat16: true
    vcpus: 24
    memory_gib: 220
    quota: large
    price_usd_per_hour: 2.5
    price_region: south
"""


def second_cloud(folder: Path) -> Path:
    """The folder, with the SKU files that there are and the one of a cloud named acme, whose
    machines cost less than Azure's."""
    shutil.copytree(PRESETS_DIR / "skus", folder, dirs_exist_ok=True)
    (folder / "acme.yaml").write_text(_ACME)
    return folder
