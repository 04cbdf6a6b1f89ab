"""What the steps of a run refuse of its settings, known before any of them begins.

The command line asks when it reads a file, and the plan step for runs that others submit: `argo`,
Argo's form, schedules. So what a late step would refuse costs no GPU.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

from argotune.presets.clouds import cloud_of_size
from argotune.steps.common.errors import ParamsError
from argotune.steps.common.fields import Field, fields_of, parse_fields, text_of
from argotune.steps.common.setting import Setting
from argotune.steps.common.urls import redact, url_problem
from argotune.steps.contracts.checks import LmEval, Scorer
from argotune.steps.contracts.in_service import NOT_DEPLOYED
from argotune.steps.contracts.training_plan import Evaluation
from argotune.steps.dataset import params as dataset
from argotune.steps.deploy import params as deploy
from argotune.steps.evaluate import params as evaluate
from argotune.steps.evaluate.side_by_side import params as evaluate_several
from argotune.steps.model import params as model
from argotune.steps.nodes.cost_limit import EVALUATION_SECONDS
from argotune.steps.nodes.providers import PROVIDERS, ProviderSettings, provider_settings
from argotune.steps.notify import params as notify
from argotune.steps.plan import params as plan
from argotune.steps.plan.service import params as plan_service
from argotune.steps.plan.side_by_side import params as plan_several
from argotune.steps.provision import params as provision
from argotune.steps.push import params as push
from argotune.steps.push.side_by_side import params as push_several
from argotune.steps.reject import params as reject
from argotune.steps.release import params as release
from argotune.steps.settings.run_settings import (
    SCORERS,
    SECRET_SETTINGS,
    SETTINGS,
    flags_of,
    installer_settings,
    parameter_settings,
)
from argotune.steps.watch import params as watch

PARAMS: Mapping[str, type[Any]] = {
    "plan": plan.Params,
    "dataset": dataset.Params,
    "model": model.Params,
    "provision": provision.Params,
    "watch": watch.Params,
    "evaluate": evaluate.Params,
    "push": push.Params,
    "deploy": deploy.Params,
    "reject": reject.Params,
    "release": release.Params,
    "notify": notify.Params,
    "plan.service": plan_service.Params,
    "plan.side_by_side": plan_several.Params,
    "evaluate.side_by_side": evaluate_several.Params,
    "push.side_by_side": push_several.Params,
}
"""The steps with flags that settings fill."""
RUN_STEPS = tuple(step for step in PARAMS if "." not in step)
"""Those of a run, in WorkflowTemplate `finetune`."""
EVALUATION_STEPS = (
    "plan.side_by_side",
    "dataset",
    "model",
    "provision",
    "watch",
    "evaluate.side_by_side",
    "push.side_by_side",
    "release",
)
"""Those of an evaluation of several models, in WorkflowTemplate `evaluate`."""
EVALUATION_WITHOUT: Mapping[str, Sequence[str]] = {
    "dataset": ("validation-urls", "only-if-changed", "deploy-to"),
    "model": ("output-image", "full-retrain-every"),
    "provision": ("at-cost-limit", "service-during-tuning"),
    "watch": ("at-cost-limit",),
    "release": ("workspace", "service-during-tuning"),
}
"""Flags of these steps that have their defaults there: an evaluation trains and deploys nothing."""
_MOUNTED_BY_AN_EVALUATION = (
    "urls-secret",
    "data-claim",
    "push-secret",
    "model-access-secret",
    "queue",
    "priority-class",
)
"""Settings of an evaluation that are no flags of steps."""

SERVICE_STEPS = ("plan.service", "model", "provision", "deploy", "release")
"""Those of a service without training, in WorkflowTemplate `serve`."""
SERVICE_WITHOUT: Mapping[str, Sequence[str]] = {
    "model": ("output-image", "full-retrain-every"),
    # The server's own CPUs and memory, and a node that lives as long as the service.
    "provision": (
        "tune-cpu",
        "tune-memory",
        "capacity-types",
        "spot-max-price-usd-per-hour",
        "lifetime-seconds",
        "max-cost-usd",
        "at-cost-limit",
        "keep-node-seconds",
        "service-during-tuning",
    ),
    # Strength is a copy's: an image cannot be changed.
    "deploy": ("adapter-from", "serve-with", "instance-type", "service-during-tuning"),
    "release": ("keep-node-seconds", "workspace", "service-during-tuning"),
}
"""Flags of these steps that are no settings there."""
_MOUNTED_BY_A_SERVICE = (
    "data-claim",
    "push-secret",
    "model-access-secret",
    "queue",
    "priority-class",
)
"""Settings of a service that are no flags of steps."""

# Flags that the template or an earlier step fills; the values only have the right form.
_LATER: Mapping[str, str] = {
    "cpu-memory": "2Gi",
    "created": "2026-01-31T12:00:00Z",
    "dataset-digest": f"sha256:{64 * '0'}",
    "disk-gib": "1",
    "image": "registry.example.com/later",
    "model-cache-claim": "later",
    "namespace": "later",
    "node-selector": '{"argotune.dev/node": "later"}',
    "reference": f"registry.example.com/later@sha256:{64 * '0'}",
    "serve-image": "registry.example.com/later",
    "verdict": "passed",
    "vllm-image": "registry.example.com/later",
    "workflow": "later",
}
_LATER_BY_KIND: Mapping[type, str] = {int: "1", float: "1", bool: "true", tuple: "[]"}


@dataclass(frozen=True, kw_only=True)
class Problem:
    """A refusal of a setting."""

    setting: str
    """Name of the setting; empty where it is no single one's."""
    text: str
    """The value, and what to do; after step and flag where it is no single setting's."""


def settings_problems(
    settings: Mapping[str, str],
    outputs: Mapping[str, str] | None = None,
    steps: Sequence[str] = RUN_STEPS,
) -> Iterator[Problem]:
    """List what is refused of a run's settings, each setting once.

    Args:
        settings: Texts by name, as parameters of the template; missing ones have their defaults.
            Secrets and PriorityClass are compared with the allowed ones where these are given.
        outputs: What earlier steps said already, by the flag of later ones.
        steps: The steps that refuse.
    """
    known: set[str] = set()
    found = chain(
        _all_problems(with_defaults(settings), outputs or {}, steps),
        _forbidden_secrets(settings),
        _forbidden_priority(settings),
        _forbidden_claims(settings),
        _without_approval(settings),
        _approved_without_gpu(with_defaults(settings)),
        _of_other_clouds(settings),
    )
    for problem in found:
        # provision and watch refuse the same flags.
        what = problem.setting or problem.text.partition(": ")[2]
        if what not in known:
            yield problem
        known.add(what)


def evaluation_settings() -> list[Setting]:
    """List the settings of a run that are parameters of WorkflowTemplate `evaluate` too."""
    return _settings_of(EVALUATION_STEPS, EVALUATION_WITHOUT, _MOUNTED_BY_AN_EVALUATION)


def service_settings() -> list[Setting]:
    """List the settings of a run that are parameters of WorkflowTemplate `serve` too."""
    return _settings_of(SERVICE_STEPS, SERVICE_WITHOUT, _MOUNTED_BY_A_SERVICE)


def _settings_of(
    steps: Sequence[str], without: Mapping[str, Sequence[str]], mounted: Sequence[str]
) -> list[Setting]:
    names = {
        name
        for step in steps
        for flag, name in flags_of(step).items()
        if flag in {field.kebab for field in fields_of(PARAMS[step])}
        and flag not in without.get(step, ())
    }
    names.update(mounted)
    return [row for row in parameter_settings() if row.name in names]


def params_of(step: str, settings: Mapping[str, str], outputs: Mapping[str, str]) -> Any:
    """Build a step's Params from all settings and what is known of earlier steps' outputs.

    Raises ParamsError.
    """
    flags = flags_of(step)
    values = {
        field.kebab: _value(field, flags, settings, outputs)
        for field in fields_of(PARAMS[step])
        if field.default is None or field.kebab in {*flags, *_LATER, *outputs}
    }
    return parse_fields(PARAMS[step], values)


def gate_digest(settings: Mapping[str, str]) -> str:
    """sha256:HEX of the settings that only evaluate reads, by their values and not their texts.

    Raises ParamsError.
    """
    gate = params_of("evaluate", with_defaults(settings), {})
    values = {
        field.kebab: text_of(getattr(gate, field.name))
        for field in fields_of(evaluate.Params)
        if _is_of_gate(field.kebab)
    }
    return f"sha256:{hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()}"


def _is_of_gate(flag: str) -> bool:
    setting = flags_of("evaluate").get(flag)
    return setting is not None and SETTINGS[setting].feeds == (f"evaluate.{flag}",)


def with_defaults(settings: Mapping[str, str]) -> dict[str, str]:
    """Return the settings, and the defaults of those that are missing."""
    rows = [*parameter_settings(), *installer_settings()]
    return {**{row.name: row.default for row in rows}, **settings}


def secret_problem(name: str, allowed: Sequence[str]) -> str | None:
    """Say why a run may not use the Secret; None where the installation allows it."""
    if is_allowed(name, allowed):
        return None
    return (
        f"{name!r} is not among the Secrets that the installation allows: {', '.join(allowed)}; an "
        f"administrator adds it by `argotune install --allow-secret {name}`"
    )


def priority_problem(name: str, allowed: Sequence[str]) -> str | None:
    """Say why a run may not use the PriorityClass; None where the installation allows it."""
    if is_allowed(name, allowed):
        return None
    return (
        f"{name!r} is not among the PriorityClasses that the installation allows: "
        f"{', '.join(allowed) or 'none'}; an administrator adds it by `argotune install "
        f"--allow-priority-class {name}`"
    )


CLAIMS: Mapping[str, tuple[str, str]] = {
    "data-claim": ("allowed-claims", "--allow-claim"),
    "output-claim": ("allowed-output-claims", "--allow-output-claim"),
}
"""Setting that names a claim -> the setting that lists the allowed ones, and the flag of `argotune
install` that adds to it. What runs may read is not what they may write to."""


def claim_problem(setting: str, name: str, allowed: Sequence[str]) -> str | None:
    """Say why a run may not use the claim; None where the installation allows it."""
    if is_allowed(name, allowed):
        return None
    what = "allows" if setting == "data-claim" else "allows to write to"
    return (
        f"{name!r} is not among the PersistentVolumeClaims that the installation {what}: "
        f"{', '.join(allowed) or 'none'}; an administrator adds it by `argotune install "
        f"{CLAIMS[setting][1]} {name}`"
    )


def scorer_problems(evaluation: Evaluation, settings: Mapping[str, str]) -> Iterator[str]:
    """Report scorers that the installation does not allow; its settings are texts by name."""
    allowed: dict[str, str] = json.loads(settings.get(SCORERS, "{}"))
    if settings.get("gate") == "off":
        return
    is_here = settings.get("allow-files") == "true"
    advice = (
        "name its program, `argotune run --scorer NAME=PROGRAM`"
        if is_here
        else "an administrator adds it by `argotune install --scorer-image NAME=IMAGE@sha256:…`"
    )
    for check in evaluation.scorers:
        if check.scorer not in allowed:
            yield (
                f"check {check.title}: {check.scorer!r} is not among the scorers that the "
                f"installation allows: {', '.join(allowed) or 'none'}; "
                f"{advice.replace('NAME', check.scorer)}"
            )


def cost_limit_problems(evaluation: Evaluation, settings: Mapping[str, str]) -> Iterator[str]:
    """Report checks for which a run that ends at its cost limit leaves no time.

    `settings` are texts by name, those that are given; they name the setting that is refused.
    """
    if settings.get("at-cost-limit") != "push" or settings.get("gate") == "off":
        return
    for check in evaluation.checks:
        if isinstance(check, LmEval | Scorer):
            yield (
                f"push keeps {EVALUATION_SECONDS:.0f} s of the node back for the evaluation, and"
                f" check {check.title}, of kind {check.kind}, may take longer, so the run would be"
                " stopped before its push; accepted is stop, or a training_config without the check"
            )


def names_pattern(names: Sequence[str]) -> str:
    """Build a regular expression of the allowed names, NAME or PREFIX*, for Go and Python."""
    parts = [name.replace(".", "[.]").replace("*", "[a-z0-9.-]*") for name in names]
    return f"^({'|'.join(parts)})$"


def is_allowed(name: str, allowed: Sequence[str]) -> bool:
    """Return whether the name is one of the allowed ones, NAME or PREFIX*."""
    return re.fullmatch(names_pattern(allowed), name) is not None


def _all_problems(
    settings: Mapping[str, str], outputs: Mapping[str, str], steps: Sequence[str]
) -> Iterator[Problem]:
    for row in parameter_settings():
        accepted = row.parameter_problem(settings[row.name])
        if accepted is not None:
            yield Problem(setting=row.name, text=f"{settings[row.name]!r}; accepted is {accepted}")
    for step in steps:
        yield from _problems_of(step, settings, outputs)
    yield from _url_problems(settings)


def _problems_of(
    step: str, settings: Mapping[str, str], outputs: Mapping[str, str]
) -> Iterator[Problem]:
    flags = flags_of(step)
    try:
        params_of(step, settings, outputs)
    except ParamsError as error:
        for problem in error.problems:
            flag, _, reason = problem.removeprefix("--").partition(": ")
            setting = flags.get(flag, "")
            yield Problem(setting=setting, text=reason if setting else f"step {step}: {problem}")


def _value(
    field: Field,
    flags: Mapping[str, str],
    settings: Mapping[str, str],
    outputs: Mapping[str, str],
) -> str:
    name = field.kebab
    if name in flags:
        return settings[flags[name]]
    return outputs.get(name) or _LATER.get(name) or _LATER_BY_KIND.get(field.kind, "later")


def _url_problems(settings: Mapping[str, str]) -> Iterator[Problem]:
    """Report the URLs that the dataset step would not fetch; they are shown without queries."""
    allow_loopback, allow_files = (
        settings[name] == "true" for name in ("allow-loopback", "allow-files")
    )
    for name in ("urls", "validation-urls"):
        try:
            urls = json.loads(settings[name])
        except (ValueError, RecursionError):
            continue  # reported already
        for index, url in enumerate(urls):
            problem = url_problem(url, allow_loopback=allow_loopback, allow_files=allow_files)
            if problem is not None:
                yield Problem(setting=name, text=f"[{index}]: {redact(url)!r}: {problem}")


def _forbidden_secrets(settings: Mapping[str, str]) -> Iterator[Problem]:
    """Report Secrets that the template would not mount; a default one may be missing."""
    allowed: list[str] = json.loads(settings.get("allowed-secrets", '["*"]'))
    for name in SECRET_SETTINGS:
        if name == "urls-secret":
            continue  # it is made for the run, and the admission policy holds its name
        secret = settings.get(name, "")
        problem = secret_problem(secret, allowed)
        if secret not in ("", SETTINGS[name].default) and problem is not None:
            yield Problem(setting=name, text=problem)


def _forbidden_priority(settings: Mapping[str, str]) -> Iterator[Problem]:
    allowed: list[str] = json.loads(settings.get("allowed-priority-classes", '["*"]'))
    name = settings.get("priority-class", "")
    problem = priority_problem(name, allowed) if name else None
    if problem is not None:
        yield Problem(setting="priority-class", text=problem)


def _of_other_clouds(settings: Mapping[str, str]) -> Iterator[Problem]:
    """Report alternatives that are machines of another cloud than the first."""
    first, given = (
        settings.get(name, "") for name in ("instance-type", "alternative-instance-types")
    )
    cloud = cloud_of_size(first)
    try:
        names = json.loads(given or "[]")
    except (ValueError, RecursionError):
        return  # reported already
    for name in names if cloud and isinstance(names, list) else ():
        other = cloud_of_size(str(name))
        if other not in ("", cloud):
            yield Problem(
                setting="alternative-instance-types",
                text=f"{name} is a machine of {other}, and {first} of {cloud}; accepted are"
                " machines of one cloud",
            )


def _without_approval(settings: Mapping[str, str]) -> Iterator[Problem]:
    """Report what is said about an approval that the run does not need."""
    if settings.get("approval") == "required":
        return
    for name in ("approval-timeout-seconds", "on-approval-timeout"):
        value = settings.get(name, "")
        if value not in ("", SETTINGS[name].default):
            text = f"{value!r} without an approval; give approval: required too, or leave it out"
            yield Problem(setting=name, text=text)


def _approved_without_gpu(settings: Mapping[str, str]) -> Iterator[Problem]:
    """Report a service that would need the run's node, which is gone before the approval."""
    provider = settings["provider"]
    if settings["approval"] != "required" or provider not in PROVIDERS:
        return
    if settings["deploy-to"] == NOT_DEPLOYED or settings["serve-with"]:
        return
    given = {row.name: settings[row.name] for row in provider_settings()}
    try:
        is_of_run = PROVIDERS[provider].node_is_of_run(parse_fields(ProviderSettings, given))
    except ParamsError:
        return  # reported already
    if is_of_run and settings["service-gpus"] != "0" and not settings["service-label-selector"]:
        yield Problem(
            setting="approval",
            text=(
                f"'required' with provider {provider}, whose node is given back before the run"
                " waits, so that the service would have no GPU; give service-gpus 0, which serves"
                " on CPUs, or by service-label-selector the labels of another GPU node"
            ),
        )


def _forbidden_claims(settings: Mapping[str, str]) -> Iterator[Problem]:
    for setting, (list_name, _) in CLAIMS.items():
        allowed: list[str] = json.loads(settings.get(list_name, '["*"]'))
        name = settings.get(setting, "")
        problem = claim_problem(setting, name, allowed) if name else None
        if problem is not None:
            yield Problem(setting=setting, text=problem)
    if settings.get("output-claim") and settings["output-claim"] == settings.get("data-claim"):
        yield Problem(
            setting="output-claim",
            text=f"{settings['output-claim']!r} is the data's claim too, where the next run would"
            " read the adapter's JSON files as data; name another one",
        )
