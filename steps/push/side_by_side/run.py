"""Keep the report of an evaluation beside the first adapter that a registry has.

The evaluation is what the run is for: where its report cannot be kept, the step says why and
succeeds.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterable

from argotune.steps.common.errors import StepError
from argotune.steps.common.progress import Progress
from argotune.steps.contracts.report import NOT_KEPT, evaluation_tag
from argotune.steps.contracts.side_by_side import read_models
from argotune.steps.push.layout import MANIFEST_TYPE, Blob, Image
from argotune.steps.push.report import keep_report
from argotune.steps.push.side_by_side.params import Params, Result
from argotune.steps.registry.oci import ImageReference, parse_reference
from argotune.steps.registry.skopeo import Registry, Sleep, remote_manifest

_NO_ADAPTER = "it is kept beside an adapter, and none of the models is one of a registry"


def run(params: Params, *, progress: Progress, sleep: Sleep = time.sleep) -> Result:
    """Push the report. Raises PermanentError where nothing says which models were measured."""
    if params.keep_report == "none":
        return Result(report="")
    image = _first_of_registry(each.image for each in read_models(params.work_dir))
    if image is None:
        return Result(report=f"{NOT_KEPT}{_NO_ADAPTER}")
    registry = Registry(
        auth_file=params.auth_file,
        secret=params.push_secret,
        ca_file=params.ca_file,
        allowed_hosts=params.allowed_hosts,
    )
    try:
        adapter = _image_of(remote_manifest(image, registry, sleep=sleep))
    except StepError as error:
        return Result(report=f"{NOT_KEPT}{error}")
    report = keep_report(
        params.work_dir,
        adapter,
        image,
        registry,
        tag=evaluation_tag(adapter.digest, params.run),
        created=params.created,
        sleep=sleep,
    )
    progress.update(1, 1)
    return Result(report=report)


def _first_of_registry(images: Iterable[str]) -> ImageReference | None:
    parsed = (parse_reference(image) for image in images if image)
    return next((image for image in parsed if isinstance(image, ImageReference)), None)


def _image_of(manifest: bytes) -> Image:
    """Describe an image by its manifest; the size is that of the manifest alone."""
    media_type = str(json.loads(manifest).get("mediaType", MANIFEST_TYPE))
    digest = f"sha256:{hashlib.sha256(manifest).hexdigest()}"
    blob = Blob(media_type=media_type, digest=digest, size_bytes=len(manifest))
    return Image(digest=digest, size_bytes=len(manifest), manifest=blob)
