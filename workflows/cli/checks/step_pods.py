"""Whether the cluster takes the pods of a run: each is tried on the server and none is made.

A quota, a LimitRange, a Pod Security Standard and admission webhooks judge a pod by all of its
containers, volumes, limits and its account. A stand-in with other ones would show nothing.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from argotune.steps.cluster.errors import ApiRefusal, MissingRight
from argotune.steps.cluster.kube import Object
from argotune.steps.deploy.manifests.deployment import AdapterInCache, deployment
from argotune.steps.settings.step_params import params_of, with_defaults
from argotune.workflows.cli.checks import queue
from argotune.workflows.cli.checks.argo_pods import Argo, pods_of
from argotune.workflows.cli.checks.controller import find_controller
from argotune.workflows.cli.checks.controller_config import Config, read_config
from argotune.workflows.cli.checks.finding import Finding, ok, problem, unknown
from argotune.workflows.cli.checks.images import image_of
from argotune.workflows.cli.checks.subject import Subject
from argotune.workflows.workspace.manifests import installed_values

_SERVICE = "serve"
_EXECUTOR_RESOURCES = {
    "requests": {"cpu": "50m", "memory": "64Mi"},
    "limits": {"cpu": "500m", "memory": "512Mi"},
}
_LACKING = re.compile(r"must specify (?P<what>[\w./-]+) for: (?P<containers>[\w,-]+)")


def pods(subject: Subject) -> Iterator[Finding]:
    """Try every step's pod, and the service's if one is to be, and report what refusals meet."""
    if not subject.has_argo or subject.run_template is None:
        return
    config = read_config(subject)
    known = config if isinstance(config, Config) else None
    refused: dict[str, list[str]] = {}
    taken: dict[str, Object] = {}
    tried = _pods(subject, subject.run_template, known)
    for step, pod in tried.items():
        try:
            taken[step] = subject.kube.create(pod, subject.namespace, dry_run=True, strict=False)
        except MissingRight:
            raise
        except ApiRefusal as error:
            refused.setdefault(_reason(error.message), []).append(step)
    for reason, steps in refused.items():
        yield _refusal(subject, known, reason, steps)
    if not refused:
        yield ok(f"the cluster takes the pods of {', '.join(tried)}, tried without making them")
    yield from queue.unheld(subject, taken)


def _pods(subject: Subject, template: Object, config: Config | None) -> dict[str, Object]:
    controller = find_controller(subject)
    image = controller.argument("executor-image") if controller else None
    argo = Argo(
        executor_image=image or Argo().executor_image,
        executor=config.executor if config else {},
        main_container=config.section("mainContainer") if config else {},
    )
    gpus = subject.needs.node.gpus
    found = dict(pods_of(template, argo, subject.needs.arguments, gpus=gpus))
    if not subject.needs.has_service:
        return found
    return {**found, _SERVICE: _service_pod(subject, installed_values(template), gpus)}


def _service_pod(subject: Subject, installed: Mapping[str, str], gpus: int) -> Object:
    settings = with_defaults({**installed, **subject.needs.arguments})
    outputs = {
        "gpus": str(gpus),
        "node-selector": "{}",
        "image": str(image_of(subject, _SERVICE)),
        "vllm-image": str(image_of(subject, "vllm")),
        "image-pull-secret": subject.needs.push_secret,
        "model-cache-claim": subject.needs.models_claim,
    }
    params = params_of("deploy", settings, outputs)
    pod = deployment(params, AdapterInCache(directory="adapters/argotune-doctor"))
    template = pod["spec"]["template"]
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"generateName": "argotune-doctor-serve-", **template["metadata"]},
        "spec": template["spec"],
    }


def _reason(words: str) -> str:
    """Return the server's reason without the pod's name, which differs."""
    return re.sub(r'^pods? "[^"]*" is (forbidden|invalid): ', "", " ".join(words.split()))


def _refusal(subject: Subject, config: Config | None, reason: str, steps: list[str]) -> Finding:
    said = f"the cluster refuses the pods of {', '.join(steps)}: {reason}"
    if "dry run" in reason and "webhook" in reason:
        return unknown(f"whether the cluster takes the pods of {', '.join(steps)}: {reason}")
    lacking = {name for found in _LACKING.finditer(reason) for name in found[2].split(",")}
    ours, argos = lacking - {"init", "wait"}, lacking & {"init", "wait"}
    advice, commands = [], []
    if ours:
        advice.append("let every container of a run have limits")
        commands.append(subject.install_command("--limits true"))
    if argos and config is not None:
        advice.append("give Argo's own containers resources, for all Workflows of its controller")
        resources = {**config.executor, "resources": _EXECUTOR_RESOURCES}
        commands.append(config.command("executor", resources))
    return problem(
        said,
        ", and ".join(advice) or "let the namespace's quotas, limits and policies permit such pods",
        "; ".join(commands),
    )
