"""The Secrets that a run mounts: the registry's login, and the Hub's token."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Callable, Iterator, Sequence

from argotune.steps.cluster.kube import Object
from argotune.steps.common.errors import PermanentError
from argotune.steps.registry.oci import parse_image
from argotune.steps.registry.registry_login import check_config, registries_of
from argotune.steps.settings.step_params import is_allowed
from argotune.workflows.cli.checks.finding import Finding, info, ok, problem, warning
from argotune.workflows.cli.checks.images import image_of
from argotune.workflows.cli.checks.installation import PULL_SECRET, setting_of
from argotune.workflows.cli.checks.subject import Subject
from argotune.workflows.workspace.manifests import decided_values

_TYPE = "kubernetes.io/dockerconfigjson"
_KEY = ".dockerconfigjson"


def push_secret(subject: Subject) -> Iterator[Finding]:
    """Check whether the Secret of the run's images exists, with logins for their registries."""
    needs = subject.needs
    what = (
        "adapters are no registry's images" if needs.is_service else "output is no registry's image"
    )
    if needs.workspace is not None and not needs.registries:
        yield info(f"the workspace's {what}, so no login is needed")
        return
    missing = problem if needs.push_secret_is_named else warning
    user = "the adapters' pull" if needs.is_service else "push"
    yield _docker_login(subject, needs.push_secret, needs.registries, user, missing)


def pull_secret(subject: Subject) -> Iterator[Finding]:
    """Check whether the installation's Secret for the step images has a login for their registry.

    The Secret for the output image may be another one: the registries may be two.
    """
    name = setting_of(subject, PULL_SECRET)
    if not name:
        return
    image = image_of(subject, "plan")
    registries = (parse_image(image).registry,) if image else ()
    yield _docker_login(subject, name, registries, "a node's pull of the step images", problem)


def _docker_login(
    subject: Subject,
    name: str,
    registries: Sequence[str],
    user: str,
    missing: Callable[[str, str, str], Finding],
) -> Finding:
    found = subject.get("Secret", name)
    create = _create(subject, name, registries)
    wanted = f" for {' and '.join(registries)}" if registries else ""
    if found is None:
        return missing(
            f"secret {name} is not in namespace {subject.namespace}; {user} needs a login{wanted}",
            "make it",
            create,
        )
    if found.get("type") != _TYPE:
        return problem(
            f"secret {name} is of type {found.get('type')}, not {_TYPE}",
            "delete it, and make it again",
            create,
        )
    return _login(found, registries, create)


def allowed_secrets(subject: Subject) -> Iterator[Finding]:
    """Check whether the installation lets runs use the Secrets that the workspace names."""
    template, needs = subject.template if subject.has_argo else None, subject.needs
    if template is None or needs.workspace is None:
        return
    names: list[str] = json.loads(decided_values(template)["allowed-secrets"])
    push_secret = needs.push_secret if needs.registries else None
    for name in (push_secret, needs.model_secret):
        if name is not None and not is_allowed(name, names):
            yield problem(
                f"secret {name} is not among those that the installation allows: "
                f"{', '.join(names)}",
                "let an administrator add it, or take one of them",
                subject.install_command(f"--allow-secret {name}"),
            )


def model_secret(subject: Subject) -> Iterator[Finding]:
    """Check whether the Secret that a workspace names for gated weights has the Hub's token."""
    name = subject.needs.model_secret
    if name is None:
        return
    found = subject.get("Secret", name)
    command = f"kubectl -n {subject.namespace} create secret generic {name} --from-file=HF_TOKEN"
    if found is None:
        yield problem(
            f"secret {name} for the weights is not in namespace {subject.namespace}",
            "make it, with the Hub's token in the file HF_TOKEN",
            command,
        )
    elif not (found.get("data") or {}).get("HF_TOKEN"):
        yield problem(
            f"secret {name} for the weights has no key HF_TOKEN",
            "delete it, and make it again, with the Hub's token in the file HF_TOKEN",
            command,
        )
    else:
        yield ok(f"secret {name} has the key HF_TOKEN")


def _login(secret: Object, registries: Sequence[str], create: str) -> Finding:
    where = f"secret {secret['metadata']['name']}"
    try:
        text = base64.b64decode((secret.get("data") or {}).get(_KEY, ""), validate=True)
        logins = registries_of(text, where)
        for wanted in registries or logins:
            # The push step's image has no credential helpers.
            check_config(text, wanted, where, find_program=lambda program: None)
    except (PermanentError, binascii.Error) as error:
        said = error if isinstance(error, PermanentError) else f"{where}: its {_KEY} is not base64"
        return problem(str(said), "delete the secret, and make it again", create)
    if not logins and not registries:
        return problem(f"{where} has no login in it", "delete it, and make it again", create)
    return ok(f"{where} has a login for {', '.join(registries or logins)}")


def _create(subject: Subject, name: str, registries: Sequence[str]) -> str:
    registry = next(iter(registries), "REGISTRY")
    return (
        f"kubectl -n {subject.namespace} create secret docker-registry {name} "
        f"--docker-server={registry} "
        "--docker-username=USER --docker-password=PASSWORD"
    )
