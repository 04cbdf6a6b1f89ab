"""Whether the nodes can pull the images of the steps: one short-lived pod for each."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from argotune.steps.cluster.errors import ApiRefusal, MissingRight
from argotune.steps.cluster.kube import Object
from argotune.workflows.cli.checks.choices import Pull
from argotune.workflows.cli.checks.finding import Finding, Level, info, ok, unknown
from argotune.workflows.cli.checks.installation import PLACEHOLDER, PULL_SECRET, setting_of
from argotune.workflows.cli.checks.pods import LABELS, step_template, trial_pod
from argotune.workflows.cli.checks.subject import Subject
from argotune.workflows.workspace import images
from argotune.workflows.workspace.images import BY_TAG, LARGE, SERVERS, SMALL
from argotune.workflows.workspace.manifests import installed_values

REFUSED = (
    "ErrImagePull",
    "ImagePullBackOff",
    "InvalidImageName",
    "ErrImageNeverPull",
    "RegistryUnavailable",
    "CreateContainerConfigError",
    "CreateContainerError",
)
"""Reasons of a waiting container that would wait for ever."""
_LATER = "QPS exceeded"
"""The kubelet's own rate limit, which is no fault of the image."""
_TIMEOUT_SECONDS = {Pull.SMALL: 240.0, Pull.ALL: 1200.0}
_POLL_SECONDS = 1.0
_ANY = "IMAGE"


@dataclass(frozen=True, kw_only=True)
class _Outcome:
    """The outcome of an image, as a clause after `image NAME`."""

    level: Level
    said: str
    advice: str = ""
    is_refused: bool = False
    """Whether the registry or the kubelet refused it."""


@dataclass(kw_only=True)
class _Trial:
    """One image and its pod."""

    image: str
    pod: Object
    outcome: _Outcome | None = None

    @property
    def short(self) -> str:
        return images.short(self.image)


def pulls(subject: Subject) -> Iterator[Finding]:
    """Create the pods, wait for each to end, and delete them in every case."""
    if subject.pull is Pull.NONE:
        yield info("whether the nodes can pull the images was not tried, as --pull-test none says")
        return
    if image_of(subject, "plan") is None:
        yield unknown(
            "whether the nodes can pull the images: it is not known where the images are",
            "install first, or give --images-registry",
        )
        return
    needed = subject.needs.images
    large = [step for step in needed if step in LARGE]
    tried = needed if subject.pull is Pull.ALL else [step for step in needed if step in SMALL]
    trials = [_trial(subject, step) for step in tried]
    made: list[str] = []
    try:
        _start(subject, trials, made)
        _wait(subject, trials)
    finally:
        _delete(subject, made)
    yield from _findings(subject, trials)
    if subject.pull is Pull.SMALL:
        yield info(
            f"{_large_images(large)} not pulled, as --pull-test small says",
            "let --pull-test all pull them once before the first run",
        )


def _large_images(steps: Sequence[str]) -> str:
    if len(steps) == 1:
        return f"the image of {steps[0]}, several GiB, was"
    return f"the images of {', '.join(steps[:-1])} and {steps[-1]}, several GiB each, were"


def image_of(subject: Subject, step: str) -> str | None:
    """Return a step's image by the flags, else by the installed template; None without either."""
    flags = {"images-registry": subject.images_registry, "images-tag": subject.images_tag}
    given = {name: text for name, text in flags.items() if text}
    if given:
        # The installed digests are those of another registry or tag.
        given["images-digests"] = BY_TAG
    template = subject.template if subject.has_argo else None
    found = {**(installed_values(template) if template else {}), **given}
    if found.get("images-registry", PLACEHOLDER).partition("/")[0] == PLACEHOLDER:
        return None
    expected = installed_values(subject.expected_of("WorkflowTemplate")[0])
    values = {"images-tag": expected["images-tag"], **found}
    return images.image_of(values, step)


def _trial(subject: Subject, step: str) -> _Trial:
    image = str(image_of(subject, step))
    account = "default"
    if step not in SERVERS:
        account = str(step_template(subject, step)["serviceAccountName"])
    if not _has_account(subject, account):
        account = "default"
    pod = trial_pod(subject, step, image, account=account)
    if step in SERVERS:
        names = filter(None, (setting_of(subject, PULL_SECRET), subject.needs.push_secret))
        pod["spec"]["imagePullSecrets"] = [{"name": name} for name in names]
    if step in LARGE and subject.needs.node.labels:
        # On the nodes where they will run, because elsewhere a large image only uses space.
        pod["spec"]["nodeSelector"] = dict(subject.needs.node.labels)
    return _Trial(image=image, pod=pod)


def _start(subject: Subject, trials: Sequence[_Trial], made: list[str]) -> None:
    """Create the pods; the names of created ones are added to `made` one by one."""
    for trial in trials:
        try:
            trial.pod = subject.create_trial(trial.pod)
        except MissingRight:
            raise
        except ApiRefusal as error:
            trial.outcome = _Outcome(
                level=Level.PROBLEM,
                said=f"gets no pod: {error.message}",
                advice="let the namespace's policies and quotas permit such pods",
            )
        else:
            made.append(trial.pod["metadata"]["name"])


def _wait(subject: Subject, trials: Sequence[_Trial]) -> None:
    """Wait until every pod has an outcome, or the time is over."""
    selector = ",".join(f"{key}={value}" for key, value in LABELS.items())
    seconds = _TIMEOUT_SECONDS[subject.pull]
    deadline = subject.clock.now() + seconds
    while waiting := [trial for trial in trials if trial.outcome is None]:
        pods = subject.kube.list("Pod", subject.namespace, labels=selector)
        found = {pod["metadata"]["name"]: pod for pod in pods}
        for trial in waiting:
            trial.pod = found.get(trial.pod["metadata"]["name"], trial.pod)
            trial.outcome = _outcome(trial.pod)
        if subject.clock.now() >= deadline:
            break
        subject.clock.sleep(_POLL_SECONDS)
    for trial in trials:
        trial.outcome = trial.outcome or _too_late(trial.pod, seconds)


def _outcome(pod: Object) -> _Outcome | None:
    """Read the pod's outcome; None while it has none."""
    for container in _status(pod).get("containerStatuses") or []:
        state = container.get("state") or {}
        waiting, ended = state.get("waiting") or {}, state.get("terminated")
        said = " ".join(str(waiting.get("message") or waiting.get("reason")).split())
        if waiting.get("reason") in REFUSED and _LATER not in said:
            return _Outcome(
                level=Level.PROBLEM,
                said=f"cannot be pulled: {said}",
                advice="correct the installation's --images-registry and --images-tag, or, where "
                "the registry wants a login, name a secret with one for it",
                is_refused=True,
            )
        if ended and ended.get("exitCode") == 0:
            return _Outcome(level=Level.OK, said="starts")
        if ended:
            return _Outcome(
                level=Level.PROBLEM,
                said="was pulled, and its python ends with exit code "
                f"{ended.get('exitCode')} ({ended.get('reason')})",
                advice="build it again with `make images`",
            )
    return None


def _too_late(pod: Object, seconds: float) -> _Outcome:
    conditions = {item["type"]: item for item in _status(pod).get("conditions") or []}
    scheduled = conditions.get("PodScheduled") or {}
    if scheduled.get("status") == "False":
        return _Outcome(
            level=Level.WARNING,
            said=f"was not tried, its pod found no node in {seconds:.0f} s: "
            f"{scheduled.get('message')}",
            advice="give the cluster a node that fits, and look again",
        )
    return _Outcome(
        level=Level.WARNING,
        said=f"was not pulled in {seconds:.0f} s",
        advice="look again later: a node goes on with a pull that it has begun",
    )


def _delete(subject: Subject, names: Sequence[str]) -> None:
    """Delete every pod, and report at the end those that failed to go."""
    with contextlib.ExitStack() as stack:
        for name in names:
            stack.callback(subject.delete_trial, "Pod", name)


def _findings(subject: Subject, trials: Sequence[_Trial]) -> Iterator[Finding]:
    """Report the good images in one line, and likewise those that fail alike."""
    alike: dict[_Outcome, list[_Trial]] = {}
    for trial in trials:
        if trial.outcome is not None:
            alike.setdefault(_without(trial.image, trial.outcome), []).append(trial)
    for outcome, same in alike.items():
        names = ", ".join(trial.short for trial in same)
        if outcome.level is Level.OK:
            yield ok(f"images of {_registry(same[0])} start: {names}")
            continue
        first, others = same[0], ", ".join(trial.short for trial in same[1:])
        more = f"; and so it is with {others}" if others else ""
        yield Finding(
            level=outcome.level,
            message=f"image {first.image} {outcome.said.replace(_ANY, first.image)}{more}",
            advice=outcome.advice,
            command=subject.install_command(f"--{PULL_SECRET} SECRET")
            if outcome.is_refused
            else "",
        )


def _without(image: str, outcome: _Outcome) -> _Outcome:
    """Return the outcome without what differs from image to image."""
    return dataclasses.replace(outcome, said=outcome.said.replace(image, _ANY))


def _registry(trial: _Trial) -> str:
    return trial.image.rpartition("/")[0]


def _has_account(subject: Subject, name: str) -> bool:
    try:
        return subject.get("ServiceAccount", name) is not None
    except MissingRight:
        return True


def _status(pod: Object) -> Object:
    found: Object = pod.get("status") or {}
    return found
