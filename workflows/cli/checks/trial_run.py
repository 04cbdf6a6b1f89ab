"""A trial run: a Workflow of one pod that ends at once.

It takes the same way as a run's pod: the controller, the namespace's policies, Argo's executor, the
account's token.
"""

from __future__ import annotations

from collections.abc import Iterator

from argotune.steps.cluster.errors import ApiRefusal, MissingRight
from argotune.steps.cluster.kube import Object
from argotune.workflows.cli.checks.choices import Pull
from argotune.workflows.cli.checks.finding import Finding, info, ok, problem, unknown
from argotune.workflows.cli.checks.images import REFUSED, image_of
from argotune.workflows.cli.checks.pods import step_template, trial_workflow
from argotune.workflows.cli.checks.subject import Subject
from argotune.workflows.cli.installation.objects import RUNS_POLICY

_TIMEOUT_SECONDS = 120.0
_TAKEN_SECONDS = 30.0
"""Within this time a controller that sees the namespace has started the Workflow."""
_POLL_SECONDS = 1.0
_ENDED = ("Succeeded", "Failed", "Error")


def trial_run(subject: Subject) -> Iterator[Finding]:
    """Submit it, report its outcome, and delete it in every case."""
    if subject.pull is Pull.NONE or not subject.has_argo:
        return
    image = _image(subject)
    workflow = trial_workflow(subject, image)
    try:
        made = subject.create_trial(workflow)
    except MissingRight:
        raise
    except ApiRefusal as error:
        if RUNS_POLICY in error.message:
            yield unknown(
                "whether a trial run ends well: the installation lets you submit runs of its "
                "template alone; it takes the right to create pods"
            )
            return
        yield problem(
            f"the cluster refuses a trial run: {error.message}",
            "let the namespace's policies and quotas permit Workflows",
        )
        return
    name = made["metadata"]["name"]
    start = subject.clock.now()
    try:
        last = _wait(subject, name, made)
    finally:
        subject.delete_trial("Workflow", name)
    yield _judge(last, subject.clock.now() - start, image)


def _image(subject: Subject) -> str | None:
    """Return the image of the trial's pod; None where nothing is installed to run one."""
    account = step_template(subject, "plan")["serviceAccountName"]
    try:
        if subject.get("ServiceAccount", account) is None:
            return None
    except MissingRight:
        # A run would not see it either; the trial shows the effect.
        pass
    return image_of(subject, "plan")


def _wait(subject: Subject, name: str, workflow: Object) -> Object:
    """Return the Workflow when it has ended, or when waiting is of no more use."""
    start = subject.clock.now()
    while True:
        workflow = subject.get("Workflow", name) or workflow
        phase = _status(workflow).get("phase")
        waited = subject.clock.now() - start
        if phase in _ENDED or waited >= _TIMEOUT_SECONDS:
            return workflow
        if not phase and waited >= _TAKEN_SECONDS:
            return workflow
        if _message(workflow).startswith(REFUSED):
            return workflow
        subject.clock.sleep(_POLL_SECONDS)


def _judge(workflow: Object, seconds: float, image: str | None) -> Finding:
    phase, message = _status(workflow).get("phase"), _message(workflow)
    if phase == "Succeeded" and image is None:
        return info(
            f"the controller takes Workflows of this namespace (a trial without a pod ended after "
            f"{seconds:.0f} s)",
            "install, and let `argotune doctor` try one with a pod",
        )
    if phase == "Succeeded":
        return ok(f"a trial run of one pod ended well after {seconds:.0f} s")
    if not phase:
        return problem(
            f"no controller took a trial run in {seconds:.0f} s",
            "see whether Argo's controller runs, and whether it watches this namespace",
        )
    if phase in _ENDED:
        return problem(
            f"a trial run ended as {phase}: {message or 'no reason given'}",
            "correct the cause; every run would end so",
        )
    return problem(
        f"a trial run is still {phase} after {seconds:.0f} s{f': {message}' if message else ''}",
        "correct the cause; every run would wait so",
    )


def _status(workflow: Object) -> Object:
    found: Object = workflow.get("status") or {}
    return found


def _message(workflow: Object) -> str:
    """Return the node's message, which is more precise than the Workflow's."""
    status = _status(workflow)
    nodes = (status.get("nodes") or {}).values()
    said = [node["message"] for node in nodes if node.get("message")]
    return " ".join(str((said or [status.get("message") or ""])[0]).split())
