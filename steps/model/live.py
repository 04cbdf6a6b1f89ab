"""Bring the adapter that is in service onto the run's volume, to compare the new one with it.

The evaluate step has neither skopeo nor the registry's login. Where the registry does not let the
adapter be read, the run goes on and the record says why.
"""

from __future__ import annotations

import logging
import time
from pathlib import Path

from argotune.steps.common import log
from argotune.steps.common.errors import PermanentError
from argotune.steps.common.fs import remove_directory
from argotune.steps.contracts.live_adapter import (
    DIRECTORY,
    LiveAdapter,
    read_live_adapter,
    write_live_adapter,
)
from argotune.steps.registry.adapter import unpack_adapter
from argotune.steps.registry.oci import (
    ImageReference,
    LayoutReference,
    parse_reference,
    with_digest,
)
from argotune.steps.registry.skopeo import Registry, Sleep
from argotune.steps.registry.versions import (
    OtherWorkspace,
    find_live,
    find_version,
    repository_of,
)

_LOGGER = logging.getLogger(__name__)


def bring_live_adapter(
    work_dir: Path,
    output_image: str,
    workspace: str,
    registry: Registry,
    *,
    sleep: Sleep = time.sleep,
) -> LiveAdapter:
    """Extract the adapter with the tag `live` of the output image's repository, once for a run.

    Raises PermanentError if it is another workspace's, TransientError if the registry does not
    answer.
    """
    known = read_live_adapter(work_dir)
    if known is not None:
        return known
    remove_directory(work_dir / DIRECTORY)
    image = parse_reference(output_image)
    live = _bring(work_dir / DIRECTORY, image, workspace, registry, sleep)
    write_live_adapter(work_dir, live)
    if live.problem:
        log.warn(_LOGGER, "live-adapter-not-read", reason=live.problem)
    else:
        log.event(_LOGGER, "live-adapter", version=live.version, digest=live.digest or "none")
    return live


def _bring(
    directory: Path,
    image: ImageReference | LayoutReference,
    workspace: str,
    registry: Registry,
    sleep: Sleep,
) -> LiveAdapter:
    repository = repository_of(image, registry, sleep=sleep)
    digest = version = ""
    try:
        found = find_live(repository, workspace)
        if found is None:
            return LiveAdapter()
        digest = found.digest
        version = find_version(repository, digest)
        unpack_adapter(with_digest(image, digest), directory, registry)
    except OtherWorkspace:
        raise
    except PermanentError as error:
        return LiveAdapter(digest=digest, version=version, problem=str(error))
    return LiveAdapter(digest=digest, version=version)
