"""The checks in the order of the output, and the way to run them."""

from __future__ import annotations

from collections.abc import Iterator

from argotune.steps.cluster.errors import ApiError, ApiRefusal, MissingRight
from argotune.workflows.cli.checks import (
    argo_kinds,
    client_keys,
    controller,
    controller_config,
    digests,
    gpus,
    image_volumes,
    images,
    installation,
    network,
    operator,
    permissions,
    queue,
    registry_secret,
    schedules,
    server,
    signing,
    step_pods,
    storage,
    trial_run,
    webhook,
    workspace,
)
from argotune.workflows.cli.checks.finding import AreaFinding, Finding, Level, problem, unknown
from argotune.workflows.cli.checks.subject import Check, Subject
from argotune.workflows.cli.providers.registry import ENTRIES, load_commands
from argotune.workflows.cli.remote.api_errors import reason_of
from argotune.workflows.workspace.fields import WorkspaceError

_SERVER = Check("cluster", "the cluster", server.server)
_NAMESPACE = Check("cluster", "the namespace's Pod Security Standard", server.namespace)
_BEFORE_PROVIDERS = (
    Check("workspace", "what the file lacks", workspace.file),
    Check("argo", "Argo's kinds", argo_kinds.kinds),
    Check("argo", "whether Argo's definitions are full", argo_kinds.schema, in_namespace=True),
    Check("argo", "whether Argo's controller runs", controller.running),
    Check("argo", "Argo's version", controller.version),
    Check("argo", "whether the Argo server answers", controller.server),
    Check("argo", "the settings of Argo's controller", controller_config.settings),
    Check("storage", "the volume of a run", storage.run_volume),
    Check("storage", "the claim of the weights", storage.models_claim, in_namespace=True),
    Check("storage", "the claims of the file", storage.named_claims, in_namespace=True),
    Check("installation", "the template", installation.template, in_namespace=True),
    Check("installation", "accounts and roles", installation.objects, in_namespace=True),
    Check("installation", "who deletes lost nodes", installation.collection, in_namespace=True),
    Check("installation", "the schedules", schedules.schedules, in_namespace=True),
    Check("installation", "the accounts' tokens", installation.tokens, in_namespace=True),
    Check("operator", "the operator", operator.operator, in_namespace=True),
    Check("permissions", "what you may do", permissions.person),
    Check("permissions", "what the accounts may do", permissions.accounts, in_namespace=True),
    Check("secrets", "the registry's login", registry_secret.push_secret, in_namespace=True),
    Check("secrets", "the login for the images", registry_secret.pull_secret, in_namespace=True),
    Check(
        "secrets", "which secrets runs may use", registry_secret.allowed_secrets, in_namespace=True
    ),
    Check("secrets", "the key that signs", signing.signing_secret, in_namespace=True),
    Check("secrets", "who signed what is in service", signing.live_signatures, in_namespace=True),
    Check("secrets", "the keys of clients", client_keys.client_keys, in_namespace=True),
    Check("secrets", "the webhook", webhook.webhook, in_namespace=True),
    Check("secrets", "the weights' token", registry_secret.model_secret, in_namespace=True),
    Check("gpu", "the GPU nodes", gpus.nodes),
    Check("gpu", "the device plugin", gpus.device_plugin),
)
_AFTER_PROVIDERS = (
    Check("network", "the network's engine", network.policy_engine),
    Check("pods", "the queue", queue.local_queue, in_namespace=True),
    Check("pods", "whether the cluster takes a run's pods", step_pods.pods, in_namespace=True),
    Check("images", "the images' digests", digests.digests, in_namespace=True),
    Check("images", "image volumes", image_volumes.image_volumes, in_namespace=True),
    Check("images", "whether the images can be pulled", images.pulls, in_namespace=True),
    Check("images", "whether a trial run ends well", trial_run.trial_run, in_namespace=True),
)


def examine(subject: Subject) -> Iterator[AreaFinding]:
    """Yield every finding as soon as it is found.

    No check stops the others, but nothing can be checked without an answer of the API server.
    """
    answers = True
    for finding in findings_of(_SERVER, subject):
        answers = answers and finding.level is not Level.PROBLEM
        yield AreaFinding(area=_SERVER.area, finding=finding)
    if not answers:
        return
    has_namespace = True
    for finding in findings_of(_NAMESPACE, subject):
        has_namespace = has_namespace and finding.level is not Level.PROBLEM
        yield AreaFinding(area=_NAMESPACE.area, finding=finding)
    for check in _checks():
        if has_namespace or not check.in_namespace:
            for finding in findings_of(check, subject):
                yield AreaFinding(area=check.area, finding=finding)


def _checks() -> Iterator[Check]:
    yield from _BEFORE_PROVIDERS
    for provider in ENTRIES:
        yield from load_commands(provider).checks
    yield from _AFTER_PROVIDERS


def findings_of(check: Check, subject: Subject) -> Iterator[Finding]:
    """Run one check; what it may not or cannot read is a finding too."""
    try:
        yield from check.look(subject)
    except MissingRight as error:
        yield unknown(f"{check.what}: unknown, it takes the right to {error.right}")
    except WorkspaceError as error:
        # The installed template cannot be read; the check of the template says what to do.
        yield unknown(f"{check.what}: unknown, {str(error).partition('; ')[0]}")
    except ApiRefusal as error:
        yield unknown(
            f"{check.what}: unknown, the cluster answers {error.status}: {error.message}",
            "look again",
        )
    except ApiError as error:
        # The server does not answer, or never did.
        say = problem if check is _SERVER else unknown
        yield say(f"{check.what}: {reason_of(error)}", "see whether you reach it, by VPN or proxy")
