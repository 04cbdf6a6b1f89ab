"""Reading a Workspace and its ConfigMap; one error names every problem."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import cast

from argotune.steps.common.urls import redact
from argotune.steps.common.values import is_dns_label
from argotune.steps.contracts.in_service import DeployTo
from argotune.steps.contracts.service_plan import dump_adapters
from argotune.steps.contracts.start_adapter import NONE
from argotune.steps.contracts.vllm import AskedEngine
from argotune.steps.nodes.providers import PROVIDERS, ProviderName
from argotune.steps.plan.params import AskedBits, Params
from argotune.steps.plan.service.params import Params as ServiceParams
from argotune.steps.settings.clouds import cloud_of
from argotune.steps.settings.run_settings import (
    PREFIX,
    SETTINGS,
    annotation_settings,
)
from argotune.steps.settings.step_params import RUN_STEPS, SERVICE_STEPS, settings_problems
from argotune.workflows.workspace.config_map import (
    CONFIG_KEY,
    INFERENCE_KEY,
    ConfigMaps,
    FindConfigMap,
    read_config_map,
)
from argotune.workflows.workspace.documents import (
    API_VERSIONS,
    OLDER_VERSION,
    Texts,
    read_manifests,
)
from argotune.workflows.workspace.fields import (
    DNS_LABEL,
    FLAGS,
    NOT_BOTH,
    REFUSED,
    WITHOUT_EFFECT,
    Fields,
    WorkspaceError,
    check_fields,
    flag_of,
    unknown_setting,
)
from argotune.workflows.workspace.for_cluster import cluster_problems
from argotune.workflows.workspace.inference import check_options, is_known_image, read_inference
from argotune.workflows.workspace.input import Reach, read_adapter, read_input
from argotune.workflows.workspace.metadata import read_labels, read_options
from argotune.workflows.workspace.model import (
    ADAPTERS,
    OUTPUT_VOLUME,
    VALIDATION_URLS,
    Options,
    Workspace,
    provider_of,
)
from argotune.workflows.workspace.nodes import (
    NO_CLUSTER,
    FindClusterDefaults,
    check_node,
    complete,
)
from argotune.workflows.workspace.output import read_output, read_output_claim
from argotune.workflows.workspace.own_presets import OwnPresets, split_presets
from argotune.workflows.workspace.preset import (
    read_method,
    read_model_access_secret,
    read_model_source,
    read_preset,
)
from argotune.workflows.workspace.resource import read_instance_type, read_label_selector
from argotune.workflows.workspace.tags import unsafe
from argotune.workflows.workspace.workflow import to_parameters

OVERRIDES = tuple(dict.fromkeys((*FLAGS, *annotation_settings())))
"""Settings that a flag may replace; `urls` is a JSON list, the others are texts."""

_OF_TRAINING = ("method", "urls", "output-image", "push-secret")
"""Those of them that a service without training does not have."""
CheckPlan = Callable[[Params], Sequence[str]]
CheckServicePlan = Callable[[ServiceParams], Sequence[str]]
"""The plan's problems with a workspace that is wrong in other ways too, so that one error names
all."""


def read_workspace(
    texts: Sequence[tuple[str, str]],
    *,
    base_dir: Path,
    allow_loopback: bool,
    overrides: Mapping[str, str] | None = None,
    find_config_map: FindConfigMap | None = None,
    find_defaults: FindClusterDefaults | None = None,
    check_plan: CheckPlan | None = None,
    on_this_machine: bool = False,
    on_cluster: bool = False,
    files_are_here: bool = False,
) -> Workspace:
    """Read the one Workspace of the texts, each with the name of its file.

    Relative `oci:` directories and paths of data are below `base_dir`. `find_config_map` looks for
    a ConfigMap that tuning.config names and the texts do not contain, as in a cluster.
    `on_this_machine` says that no node is chosen and that data may be files, and `files_are_here`
    that those must be there; `on_cluster` refuses what is of this machine alone. Raises
    WorkspaceError with every problem of the files and of the plan.
    """
    manifests = read_manifests(texts)
    fields = Fields(manifests.workspace, overrides or {})
    fields.warnings += manifests.warnings
    _check_overrides(fields)
    check_fields(fields)
    _check_tuning(fields)
    workspace = _read(
        fields,
        manifests.config_maps,
        find_config_map,
        find_defaults,
        base_dir,
        allow_loopback=allow_loopback,
        on_this_machine=on_this_machine,
        files_are_here=files_are_here,
        on_cluster=on_cluster,
    )
    _check_refused_fields(fields)
    check_node(fields, workspace.options)
    _check_steps(workspace, fields, allow_loopback=allow_loopback, allow_files=on_this_machine)
    _check_texts(workspace, fields)
    if on_cluster:
        fields.problems += cluster_problems(workspace)
    if not fields.problems:
        return _with_remarks(workspace, fields)
    if check_plan is not None and workspace.preset:
        fields.problems += check_plan(plan_params(_with_usable_name(workspace)))
    raise WorkspaceError(fields.problems)


def read_service(
    texts: Texts,
    *,
    base_dir: Path,
    overrides: Mapping[str, str] | None = None,
    find_config_map: FindConfigMap | None = None,
    find_defaults: FindClusterDefaults | None = None,
    check_plan: CheckServicePlan | None = None,
    on_this_machine: bool = False,
    on_cluster: bool = False,
) -> Workspace:
    """Read the one Workspace of the texts, which serves a model without training.

    The arguments and errors are those of `read_workspace`.
    """
    manifests = read_manifests(texts)
    fields = Fields(manifests.workspace, overrides or {})
    fields.warnings += manifests.warnings
    _check_overrides(fields)
    fields.problems += [
        f"--{name}: is about training, and the file is about inference; leave it out"
        for name in _OF_TRAINING
        if name in fields.overrides
    ]
    check_fields(fields)
    _check_inference(fields)
    workspace = _read_service(
        fields,
        manifests.config_maps,
        find_config_map,
        find_defaults,
        base_dir,
        on_this_machine=on_this_machine,
    )
    _check_refused_fields(fields)
    _check_steps(workspace, fields, allow_loopback=False, allow_files=on_this_machine)
    _check_texts(workspace, fields)
    if on_cluster:
        fields.problems += cluster_problems(workspace)
    if not fields.problems:
        return _with_remarks(workspace, fields)
    if check_plan is not None and workspace.preset:
        fields.problems += check_plan(service_params(_with_usable_name(workspace)))
    raise WorkspaceError(list(dict.fromkeys(fields.problems)))


def is_about_inference(texts: Texts) -> bool:
    """Whether the Workspace of the texts serves a model without training.

    Raises WorkspaceError as `read_workspace` does for texts without one Workspace.
    """
    document = read_manifests(texts).workspace
    return document.get("tuning") is None and document.get("inference") is not None


def service_params(workspace: Workspace) -> ServiceParams:
    """Build the parameters of a service's plan step, which the command plans with first."""
    options = workspace.options
    return ServiceParams(
        name=workspace.name,
        preset=workspace.preset,
        own_preset=workspace.own_preset,
        # An image that is to be filled in has none of its own yet.
        adapters=dump_adapters(
            [each for each in workspace.adapters or () if is_known_image(each.image)]
        ),
        config=workspace.config,
        load_in_4bit=cast("AskedBits", options.get("service-load-in-4bit", "auto")),
        service_gpus=_count(options, "service-gpus"),
        engine=cast("AskedEngine", options.get("engine", "auto")),
        allow_cpu=options.get("allow-cpu") == "true",
        instance_type=workspace.instance_type,
        provider=cast("ProviderName", provider_of(options)),
        cloud=cloud_of(options),
        model_source=workspace.model_source,
    )


def _with_usable_name(workspace: Workspace) -> Workspace:
    """A wrong name is among the problems already, and the plan would tell it again."""
    return workspace if is_dns_label(workspace.name) else replace(workspace, name="workspace")


def plan_params(workspace: Workspace) -> Params:
    """Build the plan step's parameters for a workspace, which the command plans with first."""
    options = workspace.options
    # What `submit` takes where the file says nothing; `run` says local by itself.
    provider = provider_of(options)
    target = SETTINGS["deploy-to"].default if PROVIDERS[provider].is_on_cluster else "process"
    return Params(
        name=workspace.name,
        preset=workspace.preset,
        own_preset=workspace.own_preset,
        method=workspace.method,
        config=workspace.config,
        instance_type=workspace.instance_type,
        provider=cast("ProviderName", provider),
        cloud=cloud_of(workspace.options),
        model_source=workspace.model_source,
        validation_urls=tuple(map(redact, workspace.validation_urls)),
        start_from=options.get("start-from", SETTINGS["start-from"].default),
        tune_cpu=options.get("tune-cpu", SETTINGS["tune-cpu"].default),
        tune_memory=options.get("tune-memory", SETTINGS["tune-memory"].default),
        deploy_to=cast("DeployTo", options.get("deploy-to", target)),
        serve_with=options.get("serve-with", ""),
        service_instance_type=options.get("service-instance-type") or None,
        service_gpus=_count(options, "service-gpus"),
        service_memory=options.get("service-memory") or None,
        engine=cast("AskedEngine", options.get("engine", "auto")),
        load_in_4bit=cast("AskedBits", options.get("service-load-in-4bit", "auto")),
        allow_cpu=options.get("allow-cpu") == "true",
    )


def _count(options: Options, name: str) -> int | None:
    return int(options[name]) if options.get(name) else None


def _read(
    fields: Fields,
    config_maps: ConfigMaps,
    find_config_map: FindConfigMap | None,
    find_defaults: FindClusterDefaults | None,
    base_dir: Path,
    *,
    allow_loopback: bool,
    on_this_machine: bool,
    files_are_here: bool,
    on_cluster: bool,
) -> Workspace:
    namespace = _read_namespace(fields)
    options = dict(read_options(fields))
    reach = Reach(
        base_dir=base_dir,
        allow_loopback=allow_loopback,
        on_this_machine=on_this_machine,
        files_are_here=files_are_here,
        on_cluster=on_cluster,
    )
    start_from = read_adapter(fields, base_dir, options.pop("start-from", None))
    if start_from is not None:
        options["start-from"] = start_from
    if start_from in (None, NONE) and "full-retrain-every" in options:
        fields.warnings.append(
            f"metadata.annotations.{PREFIX}full-retrain-every: has no effect without"
            f" {PREFIX}start-from: every run begins with a new adapter"
        )
    is_local = on_this_machine or provider_of(options) == "local"
    output = read_output(fields, base_dir)
    output_claim = read_output_claim(fields, options.pop("output-claim", None))
    if output_claim is not None:
        options["output-claim"] = output_claim
    name, labels = _read_name(fields), read_labels(fields)
    config_maps, preset_maps = split_presets(config_maps)
    preset = read_preset(fields, OwnPresets(fields, preset_maps, find_config_map))
    method = read_method(fields)
    data = read_input(
        fields,
        reach,
        secret=options.get("data-secret"),
        # Its queries may be secret, so it is no text among the options.
        validation=options.pop("validation-urls", None),
    )
    instance_type = read_instance_type(fields)
    if not is_local:
        options = _completed(fields, options, instance_type, find_defaults, namespace)
    return Workspace(
        name=name,
        namespace=namespace,
        labels=labels,
        preset=preset.name,
        own_preset=preset.text,
        method=method,
        urls=data.urls,
        validation_urls=data.validation_urls,
        data_secret=data.secret,
        data_claim=data.claim,
        config=read_config_map(fields, namespace, config_maps, find_config_map),
        output_image=output.image,
        push_secret=output.push_secret,
        instance_type=instance_type,
        label_selector=read_label_selector(
            fields, is_needed=not is_local and instance_type is not None
        ),
        model_source=read_model_source(fields, options.get("model-source")),
        model_access_secret=read_model_access_secret(fields),
        options=options,
        flags=frozenset(fields.overrides),
        warnings=(),
        problems_before_submit=(),
    )


def _completed(
    fields: Fields,
    options: Options,
    instance_type: str | None,
    find_defaults: FindClusterDefaults | None,
    namespace: str | None,
) -> dict[str, str]:
    """The options with what the machine and the installation say of the node."""
    defaults = NO_CLUSTER
    if find_defaults is not None and "provider" not in options:
        defaults = find_defaults(namespace, instance_type)
    return complete(fields, options, instance_type, defaults)


def _read_service(
    fields: Fields,
    config_maps: ConfigMaps,
    find_config_map: FindConfigMap | None,
    find_defaults: FindClusterDefaults | None,
    base_dir: Path,
    *,
    on_this_machine: bool,
) -> Workspace:
    section = "inference"
    namespace = _read_namespace(fields)
    options = check_options(fields, read_options(fields))
    is_local = on_this_machine or provider_of(options) == "local"
    name, labels = _read_name(fields), read_labels(fields)
    config_maps, preset_maps = split_presets(config_maps)
    own_presets = OwnPresets(fields, preset_maps, find_config_map)
    preset, inference = read_preset(fields, own_presets, section), read_inference(fields, base_dir)
    config = read_config_map(
        fields, namespace, config_maps, find_config_map, section=section, key=INFERENCE_KEY
    )
    instance_type = read_instance_type(fields)
    if not is_local:
        options = _completed(fields, options, instance_type, find_defaults, namespace)
    return Workspace(
        adapters=inference.adapters,
        name=name,
        namespace=namespace,
        labels=labels,
        preset=preset.name,
        own_preset=preset.text,
        method="lora",
        urls=(),
        validation_urls=(),
        data_secret=None,
        data_claim=inference.claim,
        config=config,
        output_image="",
        push_secret=inference.pull_secret,
        instance_type=instance_type,
        label_selector=read_label_selector(
            fields, is_needed=not is_local and instance_type is not None
        ),
        model_source=read_model_source(fields, options.get("model-source"), section),
        model_access_secret=read_model_access_secret(fields, section),
        options=options,
        flags=frozenset(fields.overrides),
        warnings=(),
        problems_before_submit=(),
    )


def _read_name(fields: Fields) -> str:
    name = fields.required_text("metadata.name", DNS_LABEL, flag="name")
    if name is not None and not is_dns_label(name):
        path = fields.shown("metadata.name", "name")
        fields.problems.append(f"{path}: {name!r}; accepted are {DNS_LABEL}")
    return name or ""


def _read_namespace(fields: Fields) -> str | None:
    namespace = fields.text("metadata.namespace")
    if namespace is not None and not is_dns_label(namespace):
        fields.problems.append(f"metadata.namespace: {namespace!r}; accepted are {DNS_LABEL}")
    return namespace


def _check_overrides(fields: Fields) -> None:
    fields.problems += [
        unknown_setting(name, text, annotation_settings())
        for name, text in fields.overrides.items()
        if name not in OVERRIDES
    ]


def _check_tuning(fields: Fields) -> None:
    """Check for exactly one of tuning and inference, and for tuning; reading ends without it."""
    _check_version(fields)
    tuning, inference = fields.get("tuning"), fields.get("inference")
    if tuning is not None and inference is not None:
        fields.problems.append(f"inference: {NOT_BOTH}")
    if isinstance(tuning, dict):
        return
    if tuning is None and inference is not None:
        fields.problems.append(
            "inference: this Workspace serves a model without training, and this command is about"
            " training; `argotune doctor`, `plan`, `render`, `submit` and `run` take it"
        )
    elif tuning is None:
        fields.problems.append("tuning: missing; accepted are preset, method, input and output")
    raise WorkspaceError(fields.problems)


def _check_inference(fields: Fields) -> None:
    """Check for a mapping; reading ends without it."""
    _check_version(fields)
    if not isinstance(fields.get("inference"), dict):
        raise WorkspaceError(fields.problems)


def _check_version(fields: Fields) -> None:
    if fields.document.get("apiVersion") == API_VERSIONS[1]:
        fields.warnings.append(f"apiVersion: {OLDER_VERSION}")


def _check_refused_fields(fields: Fields) -> None:
    for path, reason in REFUSED.items():
        if fields.get(path):
            fields.problems.append(f"{path}: {reason}")
    for path, reason in WITHOUT_EFFECT.items():
        if fields.get(path):
            fields.warnings.append(f"{path}: has no effect: {reason}")


def _check_steps(
    workspace: Workspace, fields: Fields, *, allow_loopback: bool, allow_files: bool
) -> None:
    """Report what a step would refuse, by its place in the file, each place once."""
    arguments = to_parameters(workspace, allow_loopback=allow_loopback, allow_files=allow_files)
    steps = SERVICE_STEPS if workspace.is_service else RUN_STEPS
    if "service-port" in workspace.options and "deploy-to" not in workspace.options:
        # Only a server of this machine has one; `argotune submit` refuses it by name.
        arguments |= {"deploy-to": "process", "services-dir": "/"}
    for problem in settings_problems(arguments, steps=steps):
        if not problem.setting:
            fields.problems.append(problem.text)
            continue
        row = SETTINGS[problem.setting]
        is_of_file = bool(row.place) or row.is_annotation
        is_left_open = row.is_installable and problem.setting not in workspace.options
        # An empty text or list stands for a field whose problem is reported already.
        is_known = bool(fields.problems) and arguments.get(row.name) in ("", "[]")
        if not is_of_file or is_left_open or is_known:
            continue
        flag = flag_of(row.name)
        place = (
            flag if row.name in fields.overrides else _place_in_file(row.name, workspace, fields)
        )
        known = [*fields.problems, *fields.placeholders]
        if not any(each.startswith((f"{place}:", f"{place}[")) for each in known):
            fields.problems.append(f"{place}: {problem.text}")


def _place_in_file(name: str, workspace: Workspace, fields: Fields) -> str:
    field = {"validation-urls": VALIDATION_URLS, "output-claim": OUTPUT_VOLUME}.get(name)
    return field if field and fields.get(field) else workspace.place_of(name)


def _check_texts(workspace: Workspace, fields: Fields) -> None:
    """Report text that Argo would expand or cannot pass on; input.py checks the URLs."""
    options = {workspace.place_of(name): text for name, text in workspace.options.items()}
    texts = {
        workspace.place_of("instance-type"): workspace.instance_type,
        workspace.place_of("output-image"): workspace.output_image,
        "tuning.preset.presetOptions.image": fields.get("tuning.preset.presetOptions.image"),
        "inference.preset.presetOptions.image": fields.get("inference.preset.presetOptions.image"),
        **{f"{ADAPTERS}: {each.name}": each.image for each in workspace.adapters or ()},
        **options,
    }
    for path, text in texts.items():
        problem = unsafe(text) if isinstance(text, str) else None
        if problem is not None:
            fields.problems.append(f"{path}: {text!r}; {problem}")
    problem = unsafe(workspace.config, lines=True)
    if problem is not None:
        key = INFERENCE_KEY if workspace.is_service else CONFIG_KEY
        fields.problems.append(f"{workspace.place_of('config')}: {key}: {problem}")


def _with_remarks(workspace: Workspace, fields: Fields) -> Workspace:
    to_fill_in = [f"{placeholder} (to be filled in)" for placeholder in fields.placeholders]
    return replace(
        workspace,
        warnings=(*fields.warnings, *to_fill_in),
        host_warnings=tuple(fields.host_warnings),
        problems_before_submit=tuple(fields.placeholders),
    )
