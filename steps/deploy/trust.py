"""Whether the adapter may be deployed: it fits the model in the cache, and is signed where it must.

Looked at before anything is applied, so that what is in service stays.
"""

from __future__ import annotations

import dataclasses
import logging
import tempfile
from collections.abc import Mapping
from pathlib import Path

from argotune.steps.common import log
from argotune.steps.common.errors import ParamsError, PermanentError
from argotune.steps.contracts.adapter_image import BASE_DIGEST, BASE_MODEL, BASE_REVISION
from argotune.steps.contracts.model_cache import base_of
from argotune.steps.contracts.service_plan import ServicePlan, read_service_plan
from argotune.steps.deploy.adapter import registry_of
from argotune.steps.deploy.params import Params
from argotune.steps.deploy.version import find_adapter
from argotune.steps.provenance.checks import verify
from argotune.steps.provenance.evidence import Evidence, gather
from argotune.steps.provenance.keys import PublicKey, name_of, public_keys_of

_LOGGER = logging.getLogger(__name__)


def check_adapter(params: Params) -> None:
    """Refuse an adapter that is not signed as the installation asks, or of another base model.

    Of a service without training all adapters are looked at; with their bases its plan step and the
    server compare them. Raises PermanentError, and TransientError where the registry does not
    answer.
    """
    if params.service_plan is not None:
        _check_service(params, read_service_plan(params.service_plan))
        return
    if params.require_signature:
        annotations: Mapping[str, str] = _signed(params).annotations()
    else:
        annotations = find_adapter(params).annotations
    _check_base(params, annotations)


def _check_service(params: Params, plan: ServicePlan) -> None:
    for adapter in plan.adapters if params.require_signature else ():
        if not adapter.image:
            raise PermanentError(
                f"the installation deploys only what is signed, and adapter {adapter.name} is files"
                " of a claim; push it as an image, and sign that"
            )
        _signed(dataclasses.replace(params, service_plan=None, reference=adapter.image))


def _signed(params: Params) -> Evidence:
    keys = _keys(params)
    names = " or ".join(map(name_of, keys))
    with tempfile.TemporaryDirectory(prefix="argotune-signatures-") as scratch:
        evidence = gather(
            params.adapter_image(), registry_of(params), Path(scratch), with_blobs=False
        )
        verdict = verify(evidence, keys)
    if verdict.failures:
        raise PermanentError(
            f"the installation deploys only what key {names} signed, and"
            f" {params.reference} does not hold: {'; '.join(verdict.failures)}"
        )
    log.event(_LOGGER, "signature", adapter=params.reference, accepted=names)
    return evidence


def _keys(params: Params) -> tuple[PublicKey, ...]:
    try:
        return public_keys_of(params.verification_key)
    except ValueError as error:
        raise ParamsError(f"--verification-key: {error}") from error


def _check_base(params: Params, annotations: Mapping[str, str]) -> None:
    """Compare with the model that will be served; push noted what the adapter was tuned on."""
    if BASE_REVISION not in annotations:
        log.warn(_LOGGER, "base-not-checked", reason=f"{params.reference} does not name its base")
        return
    directory = params.cache_dir / (params.model_dir or "")
    origin, digest = base_of(directory)
    tuned_on = (annotations[BASE_REVISION], annotations.get(BASE_DIGEST) or digest)
    if tuned_on != (origin.version, digest):
        raise PermanentError(
            f"{params.reference} was tuned on {annotations.get(BASE_MODEL)} at {tuned_on[0]} with"
            f" the files {tuned_on[1]}, and {directory} has {origin} with {digest}; deploy it on"
            " its own model, or tune again"
        )
