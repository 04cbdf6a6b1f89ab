"""Creating a workspace's objects on the cluster.

Nothing stays behind of a run that is deleted or was never created.
"""

from __future__ import annotations

from collections.abc import Mapping

from argotune.steps.cluster.errors import ApiRefusal
from argotune.steps.cluster.kube import Object
from argotune.steps.contracts.in_service import NOT_DEPLOYED, SUBMITTER_ANNOTATION, WORKSPACE_UID
from argotune.steps.nodes.providers import PROVIDERS
from argotune.workflows.cli.errors import CliError
from argotune.workflows.cli.remote.api_errors import ClusterError, ClusterRefusal, explain_errors
from argotune.workflows.cli.remote.client_keys import check_client_keys
from argotune.workflows.cli.remote.cluster import Cluster
from argotune.workflows.cli.remote.cluster_defaults import defaults_of
from argotune.workflows.cli.remote.gpus import with_gpu_of_nodes
from argotune.workflows.cli.remote.joining import check_joining, has_other_base
from argotune.workflows.cli.remote.runs import cluster_runs
from argotune.workflows.cli.remote.storage_class import class_of_runs, class_warnings
from argotune.workflows.cli.show.workflow_json import has_ended, makes_no_adapter, name_of
from argotune.workflows.workspace import collection, manifests
from argotune.workflows.workspace.allowed_hosts import host_warnings
from argotune.workflows.workspace.collection import collection_problems
from argotune.workflows.workspace.documents import Texts
from argotune.workflows.workspace.fields import WorkspaceError
from argotune.workflows.workspace.installed import (
    check_installed,
    check_node_settings,
)
from argotune.workflows.workspace.model import Workspace, provider_of
from argotune.workflows.workspace.nodes import node_is_of_run
from argotune.workflows.workspace.planned import (
    Planned,
    PlannedService,
    load,
    load_service,
    warnings_of,
    with_own_service,
)
from argotune.workflows.workspace.workflow import referring_workflow, whole_workflow

_EXISTS = 409


def plan_for_cluster(
    cluster: Cluster,
    texts: Texts,
    overrides: Mapping[str, str],
    *,
    allow_loopback: bool = False,
    substitute: bool = False,
    is_installed: bool = True,
) -> Planned:
    """Read and plan a workspace whose runs are pods of the cluster, and tell its warnings.

    `is_installed` says that they are those of the namespace's installation.
    Raises WorkspaceError with every problem of the file and of the plan.
    """

    def read(given: Mapping[str, str]) -> Planned:
        return load(
            texts,
            overrides=given,
            allow_loopback=allow_loopback,
            substitute=substitute,
            must_be_final=True,
            on_cluster=True,
            find_config_map=cluster.find_config_map,
            find_defaults=defaults_of(cluster, is_installed=is_installed),
            name_gpu=lambda found: with_gpu_of_nodes(cluster.within(found.namespace), found),
        )

    planned = read(overrides)
    there = cluster.within(planned.workspace.namespace)
    if reason := has_other_base(there, planned):
        planned = with_own_service(planned, reason, read, overrides)
    check_joining(there, planned)
    cluster.warn(warnings_of(planned, is_installation_asked=is_installed))
    return planned


def plan_service_for_cluster(
    cluster: Cluster,
    texts: Texts,
    overrides: Mapping[str, str],
    *,
    substitute: bool = False,
    is_installed: bool = True,
) -> PlannedService:
    """Read and plan a workspace that serves a model without training, as `plan_for_cluster`."""
    planned = load_service(
        texts,
        overrides=overrides,
        substitute=substitute,
        must_be_final=True,
        on_cluster=True,
        find_config_map=cluster.find_config_map,
        find_defaults=defaults_of(cluster, is_installed=is_installed),
    )
    cluster.warn(warnings_of(planned, is_installation_asked=is_installed))
    return planned


def submit(
    cluster: Cluster,
    workspace: Workspace,
    *,
    allow_loopback: bool,
    images: Mapping[str, str] | None,
    volume_size: str,
) -> str:
    """Create the run, and return its name.

    It refers to the installed template, or contains it with `images`. `volume_size` is what its
    plan needs, for an installation that has set none.
    """
    cluster.warn(_going_on(cluster, workspace))
    name = manifests.random_name(workspace.name)
    secret_name = f"{name}-urls"
    if images is None:
        secret, document = run_of_installation(
            cluster,
            workspace,
            allow_loopback=allow_loopback,
            volume_size=volume_size,
            secret_name=secret_name,
        )
    else:
        check_node_settings(workspace, manifests.install_defaults())
        check_collection(cluster, workspace.options)
        check_client_keys(cluster, workspace.options)
        cluster.warn(class_warnings(cluster, workspace.options.get("storage-class")))
        secret, document = whole_workflow(
            workspace,
            allow_loopback=allow_loopback,
            images=images,
            volume_size=volume_size,
            secret_name=secret_name,
        )
    create_with_secret(
        cluster, begun_by_person(cluster, manifests.with_name(document, name)), secret
    )
    return name


def _going_on(cluster: Cluster, workspace: Workspace) -> list[str]:
    """Warn of a run of the workspace that puts another adapter into the same service.

    Without the right to list runs nothing is known of one.
    """
    if workspace.options.get("deploy-to") == NOT_DEPLOYED:
        return []
    try:
        active = cluster_runs(cluster, workspace.name, only_active=True)
    except ClusterRefusal:
        return []
    names = [name_of(run) for run in active if not has_ended(run) and not makes_no_adapter(run)]
    if not names:
        return []
    return [
        f"{', '.join(names)} of the same workspace goes on; each replaces the service"
        f" {workspace.name} when it deploys, and with a gate the later one is refused there, after"
        " its training; give one another metadata.name, or stop the other:"
        f" argotune stop {names[0]} {cluster.flags}"
    ]


def begun_by_person(cluster: Cluster, run: Object) -> Object:
    """Return the Workflow with the name by which the API server knows who creates it.

    Step deploy notes it of the version that it puts into service. A server that does not tell is no
    obstacle.
    """
    try:
        with explain_errors("who you are"):
            person = cluster.kube.user_name()
    except ClusterError:
        person = ""
    if not person:
        return run
    return manifests.with_annotations(run, {SUBMITTER_ANNOTATION: person})


def check_collection(cluster: Cluster, options: Mapping[str, str]) -> None:
    """Raise WorkspaceError where nothing would delete the run's node if the run is lost."""
    if not node_is_of_run(options):
        return
    provider = provider_of(options)
    problems = collection_problems(
        cluster.get("CronWorkflow", collection.NAME),
        cluster.get("WorkflowTemplate", collection.NAME),
        provider=provider,
        settings=options,
    )
    reasons = "; ".join(problems)
    if reasons:
        raise WorkspaceError(
            [
                f"provider {provider} makes a node for the run, and nothing would delete it if the "
                f"run were deleted or terminated: {reasons} in namespace {cluster.namespace}; "
                f"`argotune install {cluster.flags} "
                f"--{PROVIDERS[provider].needed_setting} ...` installs and resumes it"
            ]
        )


def run_of_installation(
    cluster: Cluster,
    workspace: Workspace,
    *,
    allow_loopback: bool,
    volume_size: str,
    secret_name: str,
) -> tuple[Object | None, Object]:
    """Build a Workflow of the installed template, after the Secret of its URLs, if any.

    Raises WorkspaceError for what the installation does not allow, and CliError where there is none
    or it is of another version.
    """
    installed = check_against_installation(cluster, workspace, allow_loopback=allow_loopback)
    try:
        return referring_workflow(
            workspace,
            allow_loopback=allow_loopback,
            installed=installed,
            volume_size=volume_size,
            secret_name=secret_name,
        )
    except WorkspaceError as error:
        # The workspace was accepted before: it is the template that differs.
        raise CliError(
            [
                *error.problems,
                f"WorkflowTemplate {workspace.template} in namespace {cluster.namespace} is of"
                " another version than this command:"
                f" `argotune install {cluster.flags}` brings this one's",
            ]
        ) from error


def check_against_installation(
    cluster: Cluster, workspace: Workspace, *, allow_loopback: bool
) -> Object:
    """Check what the installation allows and makes for its runs, and return its template.

    Raises WorkspaceError for what it does not allow, and CliError where there is none.
    """
    installed = _installed_template(cluster, workspace.template)
    try:
        check_installed(workspace, installed, allow_loopback=allow_loopback)
    except WorkspaceError as error:
        raise WorkspaceError([_name_namespace(each, cluster) for each in error.problems]) from error
    warnings = host_warnings(workspace, manifests.decided_values(installed))
    cluster.warn(_name_namespace(each, cluster) for each in warnings)
    check_collection(cluster, workspace.options)
    check_client_keys(cluster, workspace.options)
    own_class = workspace.options.get("storage-class")
    cluster.warn(class_warnings(cluster, own_class or class_of_runs(installed["spec"])))
    return installed


def _name_namespace(text: str, cluster: Cluster) -> str:
    """Name the namespace in what the text proposes of `argotune install`."""
    return text.replace("`argotune install --", f"`argotune install {cluster.flags} --")


def _installed_template(cluster: Cluster, name: str) -> Object:
    template = cluster.get("WorkflowTemplate", name)
    if template is None:
        cluster.check_namespace()
        raise CliError(
            f"WorkflowTemplate {name} is not in namespace {cluster.namespace}:"
            f" `argotune install {cluster.flags}` puts it there, and `argotune submit --standalone"
            " --images-registry REGISTRY` does without"
        )
    return template


def create_with_secret(cluster: Cluster, document: Object, secret: Object | None) -> Object:
    """Create a Workflow or CronWorkflow with the Secret of its URLs, and return it.

    The Secret is owned by it and is deleted with it, so it must exist first: it is suspended until
    the Secret is there.
    """
    if secret is None:
        return cluster.create(document)
    created = cluster.create({**document, "spec": {**document["spec"], "suspend": True}})
    kind, name = document["kind"], created["metadata"]["name"]
    try:
        cluster.create(owned_by(secret, created))
        return cluster.patch(kind, name, {"spec": {"suspend": None}})
    except BaseException:
        cluster.delete(kind, name)
        raise


def owned_by(manifest: Object, owner: Object) -> Object:
    """Return the manifest as one of an object that exists, with which it is deleted."""
    reference = {
        "apiVersion": owner["apiVersion"],
        "kind": owner["kind"],
        "name": owner["metadata"]["name"],
        "uid": owner["metadata"]["uid"],
    }
    return {**manifest, "metadata": {**manifest["metadata"], "ownerReferences": [reference]}}


def of_workspace(document: Object, workspace: Object) -> Object:
    """Return the object with the annotation that it is an applied Workspace's."""
    return manifests.with_annotations(document, {WORKSPACE_UID: workspace["metadata"]["uid"]})


def create_if_absent(cluster: Cluster, document: Object) -> Object:
    """Create an object, or return the one of its name that is there."""
    kind, name = document["kind"], document["metadata"]["name"]
    with explain_errors(f"{kind} {name}"):
        try:
            return cluster.kube.create(document, cluster.namespace)
        except ApiRefusal as error:
            if error.status != _EXISTS:
                raise
            return cluster.kube.read(kind, cluster.namespace, name)
