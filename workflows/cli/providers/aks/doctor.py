"""Check Azure's permissions of the accounts that make and delete agent pools.

Short-lived pods of these accounts ask Azure, which is the way of a run's own pods, federated
credential included.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from argotune.steps.cluster.errors import ApiRefusal, MissingRight
from argotune.steps.cluster.expansion import literal
from argotune.steps.cluster.kube import Object
from argotune.steps.nodes.aks.cluster_id import ClusterId
from argotune.steps.nodes.aks.needed_rights import REQUIRED, Rights
from argotune.workflows.cli.checks.choices import Pull
from argotune.workflows.cli.checks.finding import Finding, info, ok, problem, unknown
from argotune.workflows.cli.checks.images import image_of
from argotune.workflows.cli.checks.installation import setting_of
from argotune.workflows.cli.checks.pods import step_template, trial_pod
from argotune.workflows.cli.checks.subject import Subject
from argotune.workflows.cli.providers.aks.settings import AZURE_CLIENT_ID

_STEPS = {"provision": REQUIRED, "release": (REQUIRED[0], REQUIRED[2])}
"""Steps that use Azure, and the actions that they need."""
_MODULE = "argotune.steps.nodes.aks.rights"
_USES_IDENTITY = {"azure.workload.identity/use": "true"}
_REGION = "topology.kubernetes.io/region"
_TERMINATION_LOG = "/dev/termination-log"
_MEMORY = "256Mi"
"""Azure's SDK needs more memory than the Python that the other trial pods start."""
_ROLE = "argotune GPU pools"
_NO_FEDERATED_CREDENTIAL = re.compile(r"AADSTS(70021|70021[123]|7002138)\b")
"""Codes of a missing federated credential: issuer, audience or subject, in any of Entra's
messages."""
_TIMEOUT_SECONDS = 180.0
_POLL_SECONDS = 1.0


@dataclass(kw_only=True)
class _Trial:
    """One account, and the pod that asks Azure for it."""

    step: str
    account: str
    client_id: str
    pod: Object


def rights(subject: Subject) -> Iterator[Finding]:
    """Check whether both accounts can log in to Azure and may do what runs do there.

    Nothing is asked for a file with another provider, or an installation without AKS.
    """
    needs = subject.needs
    text = setting_of(subject, "aks-cluster-id")
    if needs.provider != "aks" and (needs.workspace is not None or not text):
        return
    if not text:
        yield problem(
            "no AKS cluster is named, in which runs would make their agent pools",
            "name it for all runs",
            subject.install_command(
                '--aks-cluster-id "$(az aks show -g GROUP -n NAME --query id -o tsv)"'
            ),
        )
        return
    identities = {step: _client_id(subject, step) for step in _STEPS}
    nameless = [_account(subject, step) for step, found in identities.items() if not found]
    if nameless:
        yield problem(
            f"{' and '.join(nameless)}: no annotation {AZURE_CLIENT_ID}, so Azure does not know "
            "who their pods are",
            "name the managed identity that makes agent pools",
            subject.install_command(
                '--azure-client-id "$(az identity show -g GROUP -n NAME --query clientId -o tsv)"'
            ),
        )
        return
    yield from _ask(subject, ClusterId.parse(text), text, identities)


def _ask(
    subject: Subject, cluster: ClusterId, cluster_id: str, identities: dict[str, str]
) -> Iterator[Finding]:
    if subject.pull is Pull.NONE:
        yield info("what Azure permits was not asked, as --pull-test none says")
        return
    if image_of(subject, "provision") is None:
        yield unknown(
            "what Azure permits: it is not known where the images are",
            "install first, or give --images-registry",
        )
        return
    trials = [
        _Trial(
            step=step,
            account=_account(subject, step),
            client_id=client_id,
            pod=_pod(subject, step, cluster_id),
        )
        for step, client_id in identities.items()
    ]
    with contextlib.ExitStack() as stack:
        for trial in trials:
            try:
                trial.pod = subject.create_trial(trial.pod)
            except MissingRight:
                raise
            except ApiRefusal as error:
                yield unknown(
                    f"what Azure permits {trial.account}: it gets no pod: {error.message}"
                )
                continue
            stack.callback(subject.delete_trial, "Pod", trial.pod["metadata"]["name"])
        made = [trial for trial in trials if "name" in trial.pod["metadata"]]
        _wait(subject, made)
    for trial in made:
        yield from _answer_of(subject, trial, cluster, cluster_id)


def _wait(subject: Subject, trials: Sequence[_Trial]) -> None:
    """Wait until every pod has ended, or the time is over."""
    deadline = subject.clock.now() + _TIMEOUT_SECONDS
    while [trial for trial in trials if not _container_end(trial.pod)]:
        if subject.clock.now() >= deadline:
            return
        subject.clock.sleep(_POLL_SECONDS)
        for trial in trials:
            found = subject.get("Pod", trial.pod["metadata"]["name"])
            trial.pod = found or trial.pod


def _answer_of(
    subject: Subject, trial: _Trial, cluster: ClusterId, cluster_id: str
) -> Iterator[Finding]:
    what = f"what Azure permits {trial.account}"
    ended = _container_end(trial.pod)
    if ended is None:
        waits = f": {reason}" if (reason := _waits_for(trial.pod)) else ""
        yield unknown(f"{what}: its pod did not end in {_TIMEOUT_SECONDS:.0f} s{waits}")
        return
    try:
        found = msgspec.json.decode(ended.get("message") or "", type=Rights)
    except msgspec.MsgspecError:
        yield unknown(
            f"{what}: its pod ended with exit code {ended.get('exitCode')} and no answer",
            "build and push the images of this version (`make images push-images`)",
        )
        return
    yield from _judge(subject, trial, found, cluster, cluster_id)


def _judge(
    subject: Subject, trial: _Trial, found: Rights, cluster: ClusterId, cluster_id: str
) -> Iterator[Finding]:
    missing = [action for action in found.missing if action in _STEPS[trial.step]]
    unsaid = [action for action in found.unknown if action in _STEPS[trial.step]]
    if found.refused:
        yield _refusal(subject, trial, found, cluster)
    elif missing:
        yield problem(
            f"{trial.account} may not {_and(missing)} on cluster {cluster.name}",
            f'assign its identity the role "{_ROLE}" of README.md, section AKS',
            f'az role assignment create --role "{_ROLE}" --scope {cluster_id} '
            f"--assignee {trial.client_id}",
        )
    elif unsaid:
        yield unknown(
            f"whether {trial.account} may {_and(unsaid)} on cluster {cluster.name}: Azure lets it "
            "in, but not list its permissions",
            "the action Microsoft.Authorization/permissions/read in its role would tell",
        )
    else:
        yield ok(
            f"{trial.account} is let in by Azure and may "
            f"{', '.join(action.rpartition('/')[2] for action in _STEPS[trial.step])} the agent "
            f"pools of cluster {cluster.name}"
        )
    if found.recommended and trial.step == "provision" and not found.refused:
        yield info(
            f"{trial.account} may not {_and(found.recommended)} on the subscription, so a quota "
            "or a SKU that does not suffice shows only when Azure refuses the pool",
            f'add it to the role "{_ROLE}" and assign that on the subscription too',
            f'az role assignment create --role "{_ROLE}" '
            f"--scope /subscriptions/{cluster.subscription} --assignee {trial.client_id}",
        )


def _refusal(subject: Subject, trial: _Trial, found: Rights, cluster: ClusterId) -> Finding:
    """Say why Azure refuses the account, and return the command that corrects it."""
    place = f"-g {cluster.group} -n {cluster.name}"
    if found.is_login_refused and not found.has_token:
        return problem(
            f"a pod of {trial.account} gets no token for Azure: the cluster has no workload "
            "identity, or its webhook does not run",
            "switch it on",
            f"az aks update {place} --enable-oidc-issuer --enable-workload-identity",
        )
    if _NO_FEDERATED_CREDENTIAL.search(found.refused):
        return problem(
            f"the identity {trial.client_id} has no federated credential for {trial.account} of "
            f"namespace {subject.namespace}: {_entras_words(found.refused)}",
            "make one; it works after a minute",
            "az identity federated-credential create -g GROUP --identity-name NAME "
            f"--name {trial.account} --audiences api://AzureADTokenExchange "
            f"--subject system:serviceaccount:{subject.namespace}:{trial.account} "
            f'--issuer "$(az aks show {place} --query oidcIssuerProfile.issuerUrl -o tsv)"',
        )
    if found.may_pass:
        return unknown(f"what Azure permits {trial.account}: {found.refused}", "look again")
    return problem(f"{trial.account}: {found.refused}", "correct the cause")


def _pod(subject: Subject, step: str, cluster_id: str) -> Object:
    pod = trial_pod(
        subject, f"azure-{step}", str(image_of(subject, step)), account=_account(subject, step)
    )
    pod["metadata"]["labels"] |= _USES_IDENTITY
    container: dict[str, Any] = pod["spec"]["containers"][0]
    container["command"] = [
        "python",
        "-m",
        _MODULE,
        literal(f"--aks-cluster-id={cluster_id}"),
        literal(f"--location={_region(subject)}"),
        f"--termination-log={_TERMINATION_LOG}",
    ]
    container["resources"]["limits"]["memory"] = _MEMORY
    container["terminationMessagePath"] = _TERMINATION_LOG
    # The step's environment, which may set another endpoint of Azure.
    env = step_template(subject, step)["container"].get("env") or []
    container["env"] = [item for item in env if not item.get("valueFrom")]
    return pod


def _account(subject: Subject, step: str) -> str:
    return str(step_template(subject, step)["serviceAccountName"])


def _client_id(subject: Subject, step: str) -> str:
    account = subject.get("ServiceAccount", _account(subject, step))
    annotations = ((account or {"metadata": {}})["metadata"]).get("annotations") or {}
    return str(annotations.get(AZURE_CLIENT_ID, ""))


def _region(subject: Subject) -> str:
    """Return the region of the cluster's nodes; empty where it is unknown or not readable."""
    try:
        nodes = subject.nodes
    except MissingRight:
        return ""
    labels = (node["metadata"].get("labels") or {} for node in nodes)
    return next((str(found[_REGION]) for found in labels if _REGION in found), "")


def _container_end(pod: Object) -> Object | None:
    """Return the end of the pod's container."""
    for container in (pod.get("status") or {}).get("containerStatuses") or []:
        ended: Object | None = (container.get("state") or {}).get("terminated")
        if ended:
            return ended
    return None


def _waits_for(pod: Object) -> str:
    status = pod.get("status") or {}
    for container in status.get("containerStatuses") or []:
        waiting = (container.get("state") or {}).get("waiting") or {}
        if waiting:
            return " ".join(str(waiting.get("message") or waiting.get("reason")).split())
    conditions = {item["type"]: item for item in status.get("conditions") or []}
    scheduled = conditions.get("PodScheduled") or {}
    return str(scheduled.get("message") or "") if scheduled.get("status") == "False" else ""


def _entras_words(text: str) -> str:
    """Return the sentence that begins with Entra's code."""
    start = text.find("AADSTS")
    return text[start:].partition(" Trace ID")[0].partition("; give the step's")[0].rstrip(". ")


def _and(actions: Sequence[str]) -> str:
    return " and ".join(actions)
