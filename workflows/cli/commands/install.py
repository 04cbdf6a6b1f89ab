"""argotune install: accounts, permissions, policies and templates in a namespace."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from argotune.steps.provenance.keys import line_of
from argotune.steps.settings.run_settings import SETTINGS
from argotune.workflows.cli import options
from argotune.workflows.cli.errors import InputError
from argotune.workflows.cli.installation.applied import Applied
from argotune.workflows.cli.installation.installer import Installer, warn, with_digests
from argotune.workflows.cli.installation.objects import (
    CLUSTER_KINDS,
    namespace_object,
    objects,
)
from argotune.workflows.cli.installation.operator import DEFINITION, Scope
from argotune.workflows.cli.installation.settings import ACCESS_MODES, Settings
from argotune.workflows.cli.providers.flags import (
    INSTALLABLE,
    install_flags,
    with_flags,
)
from argotune.workflows.cli.providers.registry import identities
from argotune.workflows.cli.public_key import read_key_files
from argotune.workflows.cli.remote.cluster import Cluster
from argotune.workflows.cli.texts import read_texts
from argotune.workflows.workspace import manifests

app = typer.Typer(add_completion=False)

_NODES = "Nodes that are made for runs"
_STORAGE = "Storage"
_DATA = "Data and registries inside the network"
_SCORERS = "Scorers of answers"
_SIGNATURES = "Signatures of adapters"
_OPERATOR = "The operator, which runs Workspaces that are applied"


_NO_LONGER = "No longer those that are installed; only those given beside it, if any."


class Output(StrEnum):
    """What to print in place of applying."""

    yaml = "yaml"


@app.command()
@with_flags(install_flags(), _NODES)
def install(
    namespace: Annotated[
        str | None,
        typer.Option("--namespace", "-n", help="Default: kubectl's current one."),
    ] = None,
    context: Annotated[str | None, typer.Option(help="Context of the kubeconfig.")] = None,
    create_namespace: Annotated[
        bool,
        typer.Option(
            "--create-namespace", help="Make the namespace; it then enforces `restricted`."
        ),
    ] = False,
    images_registry: Annotated[
        str | None,
        typer.Option(help="Registry of the step images, such as HOST:PORT/PATH; needed once."),
    ] = None,
    images_tag: Annotated[
        str | None,
        typer.Option(
            help="Tag of the step images; default: this version, also after an upgrade. Another"
            " one stays."
        ),
    ] = None,
    digests: Annotated[
        bool | None,
        typer.Option(
            "--digests/--no-digests",
            help="Look the digests of the step images up, so that a tag that moves changes no run;"
            " not where this machine cannot reach the registry.",
            show_default=False,
        ),
    ] = None,
    volume_size: Annotated[
        str | None,
        typer.Option(
            rich_help_panel=_STORAGE, help="Of each run's volume; default: what its plan needs."
        ),
    ] = None,
    storage_class: Annotated[
        str | None,
        typer.Option(
            rich_help_panel=_STORAGE, help="Of each run's volume; '' is the cluster's default."
        ),
    ] = None,
    models_size: Annotated[
        str | None,
        typer.Option(rich_help_panel=_STORAGE, help="Of the claim argotune-models; 200Gi."),
    ] = None,
    models_storage_class: Annotated[
        str | None,
        typer.Option(
            rich_help_panel=_STORAGE, help="Of argotune-models; one that can ReadWriteMany."
        ),
    ] = None,
    models_access_mode: Annotated[
        str | None,
        typer.Option(
            rich_help_panel=_STORAGE,
            help=f"{' or '.join(ACCESS_MODES)}; the latter only where there is one node.",
        ),
    ] = None,
    allow_host: Annotated[
        list[str] | None,
        typer.Option(
            rich_help_panel=_DATA,
            metavar="HOST[:PORT]",
            help="Internal host of datasets and registries, beside that of the step images and"
            " those that are installed; may be given several times.",
        ),
    ] = None,
    no_allow_hosts: Annotated[
        bool, typer.Option("--no-allow-hosts", rich_help_panel=_DATA, help=_NO_LONGER)
    ] = False,
    allow_secret: Annotated[
        list[str] | None,
        typer.Option(
            rich_help_panel=_DATA,
            metavar="NAME|PREFIX*",
            help="Secret that runs may name, beside argotune-push, argotune-model-access,"
            " argotune-data, argotune-signing, argotune-notify and those that are installed; may be"
            " given several times.",
        ),
    ] = None,
    no_allow_secrets: Annotated[
        bool,
        typer.Option("--no-allow-secrets", rich_help_panel=_DATA, help=_NO_LONGER),
    ] = False,
    allow_priority_class: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME|PREFIX*",
            help="PriorityClass that runs may name, beside those that are installed; may be given"
            " several times.",
        ),
    ] = None,
    no_allow_priority_classes: Annotated[
        bool, typer.Option("--no-allow-priority-classes", help=_NO_LONGER)
    ] = False,
    allow_claim: Annotated[
        list[str] | None,
        typer.Option(
            rich_help_panel=_DATA,
            metavar="NAME|PREFIX*",
            help="PersistentVolumeClaim that runs may read data from, beside those that are"
            " installed; may be given several times.",
        ),
    ] = None,
    no_allow_claims: Annotated[
        bool, typer.Option("--no-allow-claims", rich_help_panel=_DATA, help=_NO_LONGER)
    ] = False,
    allow_output_claim: Annotated[
        list[str] | None,
        typer.Option(
            rich_help_panel=_DATA,
            metavar="NAME|PREFIX*",
            help="PersistentVolumeClaim that runs may write copies of adapters to, beside those"
            " that are installed; may be given several times.",
        ),
    ] = None,
    no_allow_output_claims: Annotated[
        bool, typer.Option("--no-allow-output-claims", rich_help_panel=_DATA, help=_NO_LONGER)
    ] = False,
    scorer_image: Annotated[
        list[str] | None,
        typer.Option(
            rich_help_panel=_SCORERS,
            metavar="NAME=IMAGE@sha256:HEX",
            help="Image that checks of kind scorer may name by NAME, beside those that are"
            " installed; may be given several times.",
        ),
    ] = None,
    no_scorer_images: Annotated[
        bool, typer.Option("--no-scorer-images", rich_help_panel=_SCORERS, help=_NO_LONGER)
    ] = False,
    ca_file: Annotated[
        Path | None,
        typer.Option(
            rich_help_panel=_DATA, help="Private certificate authority of such hosts, PEM."
        ),
    ] = None,
    presets: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Directory with presets of your own, NAME.yaml, which runs may name; they replace"
            " those that are installed.",
        ),
    ] = None,
    require_signature: Annotated[
        bool | None,
        typer.Option(
            "--require-signature/--no-require-signature",
            rich_help_panel=_SIGNATURES,
            help="Deploy only adapters that a verification key signed.",
            show_default=False,
        ),
    ] = None,
    verification_key: Annotated[
        list[Path] | None,
        typer.Option(
            rich_help_panel=_SIGNATURES,
            metavar="FILE",
            help="Public key of who may sign adapters, PEM, such as cosign.pub; of several, any."
            " They replace those that are installed.",
        ),
    ] = None,
    operator: Annotated[
        bool | None,
        typer.Option(
            "--operator/--no-operator",
            rich_help_panel=_OPERATOR,
            help="For the Workspaces of this namespace, which `kubectl apply` makes; also their"
            " definition, where Kaito's is not there.",
            show_default=False,
        ),
    ] = None,
    operator_all_namespaces: Annotated[
        bool,
        typer.Option(
            "--operator-all-namespaces",
            rich_help_panel=_OPERATOR,
            help="For those of all namespaces that have an installation, too.",
        ),
    ] = False,
    cluster_roles: Annotated[
        bool,
        typer.Option(
            help="Also the ClusterRoles for GPU nodes; it takes a cluster's administrator."
        ),
    ] = True,
    force_conflicts: Annotated[
        bool,
        typer.Option("--force-conflicts", help="Take over fields that others have changed."),
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Let the server check everything, keep nothing.")
    ] = False,
    output: Annotated[
        Output | None,
        typer.Option("--output", "-o", help="Print the objects, and look at no cluster."),
    ] = None,
    *,
    given: Mapping[str, str],
) -> None:
    """Install argotune in a namespace: accounts, permissions, policies, templates.

    An option that is not given stays as it is installed; what changes is printed.
    Nothing is applied unless the server takes all of it.
    """
    said = _settings(
        images_registry=images_registry,
        images_tag=images_tag,
        by_digest=digests,
        volume_size=volume_size,
        storage_class=storage_class,
        models_size=models_size,
        models_storage_class=models_storage_class,
        models_access_mode=models_access_mode,
        allow_host=allow_host,
        no_allow_hosts=no_allow_hosts,
        allow_secret=allow_secret,
        no_allow_secrets=no_allow_secrets,
        allow_priority_class=allow_priority_class,
        no_allow_priority_classes=no_allow_priority_classes,
        allow_claim=allow_claim,
        no_allow_claims=no_allow_claims,
        allow_output_claim=allow_output_claim,
        no_allow_output_claims=no_allow_output_claims,
        scorer_image=scorer_image,
        no_scorer_images=no_scorer_images,
        ca_file=ca_file,
        presets_dir=presets,
        require_signature=require_signature,
        key_files=verification_key or [],
        given=given,
        operator=_scope(operator, of_all=operator_all_namespaces),
    )
    if output is not None:
        flags = {"--context": context, "--force-conflicts": force_conflicts, "--dry-run": dry_run}
        options.refuse(flags, "for a cluster, and --output looks at none")
        _print_yaml(said, namespace, create_namespace, cluster_roles)
        return
    installer = _installer(
        context, namespace, dry_run=dry_run, force=force_conflicts, cluster_roles=cluster_roles
    )
    installer.install(said, create_namespace=create_namespace)
    if not dry_run:
        print(f"check it: argotune doctor -n {installer.applied.cluster.namespace}")


def _settings(
    *,
    allow_host: list[str] | None,
    no_allow_hosts: bool,
    allow_secret: list[str] | None,
    no_allow_secrets: bool,
    allow_priority_class: list[str] | None,
    no_allow_priority_classes: bool,
    allow_claim: list[str] | None,
    no_allow_claims: bool,
    allow_output_claim: list[str] | None,
    no_allow_output_claims: bool,
    scorer_image: list[str] | None,
    no_scorer_images: bool,
    ca_file: Path | None,
    presets_dir: Path | None,
    require_signature: bool | None,
    key_files: Sequence[Path],
    given: Mapping[str, str],
    by_digest: bool | None,
    operator: Scope | None,
    **flags: str | None,
) -> Settings:
    """Read the flags. Raises InputError with all that is wrong with them."""
    problems = []
    emptied = {
        "allowed_hosts": no_allow_hosts,
        "allowed_secrets": no_allow_secrets,
        "allowed_priority_classes": no_allow_priority_classes,
        "allowed_claims": no_allow_claims,
        "allowed_output_claims": no_allow_output_claims,
        "scorer_images": no_scorer_images,
    }
    ca = None
    if ca_file is not None:
        try:
            ((_, ca),) = read_texts([ca_file])
        except InputError as error:
            problems += [f"--ca-file: {problem}" for problem in error.problems]
    presets = None
    try:
        presets = _presets(presets_dir)
    except InputError as error:
        problems += error.problems
    keys: list[str] = []
    try:
        keys = read_key_files("--verification-key", key_files, line_of)
    except InputError as error:
        problems += error.problems
    settings = Settings(
        **flags,
        by_digest=by_digest,
        operator=operator,
        is_beside_kaito=False,
        has_monitors=False,
        images_digests=None,
        api_server=None,
        allowed_hosts=_allowed(allow_host, none=no_allow_hosts),
        allowed_secrets=_allowed_secrets(allow_secret, none=no_allow_secrets),
        allowed_priority_classes=_allowed(allow_priority_class, none=no_allow_priority_classes),
        allowed_claims=_allowed(allow_claim, none=no_allow_claims),
        allowed_output_claims=_allowed(allow_output_claim, none=no_allow_output_claims),
        scorer_images=_scorers(scorer_image, none=no_scorer_images),
        emptied=frozenset(name for name, is_emptied in emptied.items() if is_emptied),
        ca=ca,
        presets=presets,
        require_signature=require_signature,
        verification_key=",".join(dict.fromkeys(keys)) or None,
        run_settings=_among(given, [row.name for row in INSTALLABLE]),
        identities=_among(given, [each.flag.name for each in identities()]),
    )
    problems += settings.problems()
    if problems:
        raise InputError(problems)
    return settings


def _scope(is_wanted: bool | None, *, of_all: bool) -> Scope | None:
    """Return whose Workspaces the operator works on; None without a flag. Raises InputError."""
    if of_all and is_wanted is False:
        raise InputError("--no-operator and --operator-all-namespaces: both are given; keep one")
    if of_all:
        return "all"
    return None if is_wanted is None else "namespace" if is_wanted else "none"


def _allowed(given: list[str] | None, *, none: bool) -> tuple[str, ...] | None:
    """Return the given ones; None without a flag."""
    return tuple(given) if given else () if none else None


def _scorers(given: list[str] | None, *, none: bool) -> dict[str, str] | None:
    """Return the image of each name; None without a flag."""
    if not given and not none:
        return None
    pairs = (text.partition("=") for text in given or [])
    return {name: image for name, _, image in pairs}


def _presets(directory: Path | None) -> dict[str, str] | None:
    """Read the files of a directory by the presets' names. Raises InputError."""
    if directory is None:
        return None
    if not directory.is_dir():
        raise InputError(f"--presets {directory}: no such directory")
    paths = sorted(directory.iterdir())
    others = [path.name for path in paths if path.suffix != ".yaml"]
    if others:
        raise InputError(
            f"--presets {directory}: {', '.join(others)}; accepted are files NAME.yaml, as"
            " `argotune presets add` writes"
        )
    return {path.stem: text for path, (_, text) in zip(paths, read_texts(paths), strict=True)}


def _allowed_secrets(given: list[str] | None, *, none: bool) -> tuple[str, ...] | None:
    """Return the default's and the given ones; None without a flag."""
    if not given and not none:
        return None
    default: list[str] = json.loads(SETTINGS["allowed-secrets"].default)
    return tuple(dict.fromkeys([*default, *(given or [])]))


def _among(given: Mapping[str, str], names: Collection[str]) -> dict[str, str]:
    return {name: text for name, text in given.items() if name in names}


def _print_yaml(
    said: Settings, namespace: str | None, create_namespace: bool, cluster_roles: bool
) -> None:
    if namespace is None:
        raise InputError("--namespace: missing; --output looks at no cluster for the current one")
    if said.has_operator and cluster_roles:
        warn(
            f"the definition {DEFINITION} is among the objects: do not apply it where Kaito has"
            " its own, and give the operator the argument --managed-only there"
        )
    found = [namespace_object(namespace)] if create_namespace else []
    found += objects(with_digests(said, said.ca), namespace)
    wanted = [item for item in found if cluster_roles or item["kind"] not in CLUSTER_KINDS]
    print(manifests.dump(*wanted), end="")


def _installer(
    context: str | None, namespace: str | None, *, dry_run: bool, force: bool, cluster_roles: bool
) -> Installer:
    return Installer(
        applied=Applied(cluster=Cluster(context=context, namespace=namespace)),
        dry_run=dry_run,
        force_conflicts=force,
        cluster_roles=cluster_roles,
    )
