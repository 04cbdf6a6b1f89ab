"""What each field of a Workspace means, as Markdown: for the reference and `kubectl explain`."""

from __future__ import annotations

from collections.abc import Mapping

MEANINGS: Mapping[str, str] = {
    "metadata.name": "name of the run, the service and the adapter; a DNS label",
    "metadata.labels": "labels of the runs too; `argotune status --by LABEL` sums what they spent",
    "resource.instanceType": "SKU of the GPU node",
    "resource.labelSelector.matchLabels": "labels of the GPU node; needed with `instanceType`",
    "tuning.preset.name": (
        "base model: one of `argotune presets`, a preset of your own, `OWNER/NAME` or "
        "`OWNER/NAME@REVISION` of the Hub, `dir:DIRECTORY` ([any "
        "model](../../presets/README.md#any-model))"
    ),
    "tuning.method": "`lora` (16-bit weights) or `qlora` (4-bit weights)",
    "tuning.config": "name of the ConfigMap with `training_config.yaml`",
    "tuning.input.urls": "dataset files; all of them are used, `#sha256=HEX` is checked",
    "tuning.input.validationUrls": (
        "files whose rows are all held out, from the same places as `urls`; then "
        "`train_test_split` and `validation_share` are refused, and rows to train on that "
        "ask what these ask are left out"
    ),
    "tuning.input.image": (
        "in place of `urls`: an image with the files in `/data`, as `oci://IMAGE`"
    ),
    "tuning.input.imagePullSecrets": "one Secret, the same as `argotune.dev/data-secret`",
    "tuning.input.volumeSource": (
        "in place of `urls`: `persistentVolumeClaim.claimName`, whose files are read"
    ),
    "tuning.input.adapter": (
        "adapter with whose weights training begins, the same as `argotune.dev/start-from`: "
        "`live`, the one in service, or an image"
    ),
    "tuning.output.image": "image of the adapter, or `oci:DIRECTORY[:TAG]` on this machine",
    "tuning.output.imagePushSecret": "secret for the image; none for `oci:`",
    "tuning.output.volumeSource": (
        "beside the image: `persistentVolumeClaim.claimName`, which gets a copy of the "
        "adapter, the same as `argotune.dev/output-claim`"
    ),
    "inference.preset": "base model, as in `tuning.preset`",
    "inference.config": (
        "name of the ConfigMap with `inference_config.yaml`, of which `vllm.max-model-len` "
        "counts: the longest question and answer together; every other key is warned about"
    ),
    "inference.adapters[].source.name": (
        "name of the adapter in requests (`model`), a DNS label; at most ten"
    ),
    "inference.adapters[].source.image": (
        "its image: of another run, or of anybody whose image has `adapter_config.json` and "
        "`adapter_model.safetensors` in `/data`; here also `oci:DIRECTORY:TAG`"
    ),
    "inference.adapters[].source.imagePullSecrets": (
        "one Secret with the logins of all their registries; default: `argotune-push`, "
        "which may be missing"
    ),
    "inference.adapters[].source.volumeSource": (
        "in place of `image`, for one adapter: `persistentVolumeClaim.claimName`, with its "
        "files at the top; `argotune install --allow-claim` permits the claim"
    ),
    "inference.adapters[].strength": (
        "by what its weights are multiplied, 0 to 1, a text; 1 where it is left out. Not of DoRA"
    ),
}
"""Meaning by the field's path; `[]` stands for any item of a list."""
