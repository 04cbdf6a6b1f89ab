"""The work of `argotune uninstall` on a cluster: it deletes what `argotune install` made."""

from __future__ import annotations

from dataclasses import dataclass

from argotune.steps.nodes.labels import NODE_RUN_LABEL
from argotune.workflows.cli.errors import CliError
from argotune.workflows.cli.installation.applied import INSTALLED_KINDS, Applied, is_ours, shown
from argotune.workflows.cli.installation.definition import KIND, Definition, let_go
from argotune.workflows.cli.installation.objects import CLAIM, CLUSTER_KINDS, TEMPLATES
from argotune.workflows.cli.installation.operator import DEFINITION, MONITOR, OPERATOR, scope_of
from argotune.workflows.cli.installation.settings import Object
from argotune.workflows.cli.remote.api_errors import ClusterRefusal
from argotune.workflows.cli.remote.cluster import Cluster
from argotune.workflows.cli.show.schedules import template_of
from argotune.workflows.cli.show.workflow_json import COMPLETED_LABEL, PHASE_LABEL

_PART_OF = "app.kubernetes.io/part-of=argotune"


@dataclass(frozen=True, kw_only=True)
class Uninstaller:
    """One `argotune uninstall`."""

    applied: Applied
    dry_run: bool
    force: bool
    """Delete although runs are active."""
    delete_models: bool
    """Delete the model cache too."""
    cluster_roles: bool
    """Delete what only an administrator of the cluster may."""

    def uninstall(self) -> None:
        """Delete every object that `argotune install` made for the namespace, and print what stays.

        Raises CliError while runs are active, and with every refusal of the server at the end.
        """
        runs = _runs(self.applied.cluster)
        self._refuse_active(runs)
        self._refuse_nodes_of_services()
        problems: list[str] = []
        found = self._found(problems)
        for item in found:
            self._delete(item, problems)
        self._let_workspaces_go(found, problems)
        definition = self._definition_that_stays(problems)
        if not found and not problems:
            print(f"namespace {self.applied.cluster.namespace}: argotune install made nothing here")
        self._say_what_stays(runs, definition)
        if problems:
            raise CliError(problems)

    def _refuse_active(self, runs: list[Object]) -> None:
        active = [
            run["metadata"]["name"]
            for run in runs
            if (run["metadata"].get("labels") or {}).get(COMPLETED_LABEL) != "true"
        ]
        if active and not self.force:
            flags = self.applied.cluster.flags
            raise CliError(
                f"active runs would fail, and could not release their nodes: {', '.join(active)};"
                f" stop them (argotune stop {' '.join(active)} {flags}), or say --force"
            )

    def _refuse_nodes_of_services(self) -> None:
        """Refuse where a service has a node of its own, which no gc would give back any more."""
        found = self.applied.cluster.list("Deployment", NODE_RUN_LABEL)
        names = [str(item["metadata"]["name"]) for item in found]
        flags = self.applied.cluster.flags
        if names and not self.force:
            raise CliError(
                f"services with GPU nodes of their own, which nothing would give back any more:"
                f" {', '.join(names)}; stop them (argotune stop {' '.join(names)} --service"
                f" {flags}) and wait for gc (argotune gc {flags}), or say --force"
            )

    def _found(self, problems: list[str]) -> list[Object]:
        """List what is to be deleted, the last made first."""
        left: set[str] = set()
        if not self.cluster_roles:
            left |= {*CLUSTER_KINDS}
        if not self.delete_models:
            left.add("PersistentVolumeClaim")
        found: list[Object] = []
        for kind in reversed(INSTALLED_KINDS):
            if kind in left or (kind == MONITOR and not any(map(_is_operator, found))):
                continue
            try:
                found += self.applied.find_all(kind)
            except ClusterRefusal as error:
                # A cluster without Argo's kinds has no such objects.
                if error.status != 404:
                    problems.append(str(error))
        return found

    def _delete(self, item: Object, problems: list[str]) -> None:
        try:
            self.applied.delete(item["kind"], item["metadata"]["name"], dry_run=self.dry_run)
        except ClusterRefusal as error:
            problems.append(str(error))
            return
        print(f"{shown(item)} deleted{' (dry run)' if self.dry_run else ''}")

    def _let_workspaces_go(self, found: list[Object], problems: list[str]) -> None:
        """Let Workspaces go that would wait for the operator, which is deleted."""
        operator = next((each for each in found if _is_operator(each)), None)
        if operator is None:
            return
        everywhere = scope_of(operator) == "all"
        try:
            for name in let_go(self.applied, everywhere=everywhere, dry_run=self.dry_run):
                print(f"{name} is held no more{' (dry run)' if self.dry_run else ''}")
        except ClusterRefusal as error:
            problems.append(str(error))

    def _definition_that_stays(self, problems: list[str]) -> str | None:
        """Delete our definition of Workspaces where nobody needs it, or say why it stays."""
        if not self.cluster_roles:
            return None
        try:
            definition = Definition.of_cluster(self.applied)
            if not definition.is_there or definition.is_of_others:
                return None
            reason = definition.reason_to_stay(self.applied)
        except ClusterRefusal as error:
            # Who may not read definitions has installed none.
            if error.status == 403:
                return None
            problems.append(str(error))
            return None
        if reason is not None:
            return f"definition {DEFINITION}, for {reason} (kubectl delete crd {DEFINITION})"
        self._delete({"kind": KIND, "metadata": {"name": DEFINITION}}, problems)
        return None

    def _say_what_stays(self, runs: list[Object], definition: str | None) -> None:
        cluster = self.applied.cluster
        stays = [f"run {run['metadata']['name']}" for run in runs]
        stays += [f"schedule {name}" for name in self._schedules()]
        services = cluster.list("Deployment", f"{_PART_OF},app.kubernetes.io/managed-by=argotune")
        stays += [f"service {service['metadata']['name']}" for service in services]
        if not self.delete_models and self.applied.find("PersistentVolumeClaim", CLAIM):
            stays.append(f"claim {CLAIM} with the weights (--delete-models)")
        if definition is not None:
            stays.append(definition)
        if stays:
            print(f"stays: {', '.join(stays)}")

    def _schedules(self) -> list[str]:
        """List the schedules that others made, which cannot run without the template."""
        try:
            found = self.applied.cluster.list("CronWorkflow", "")
        except ClusterRefusal as error:
            if error.status == 404:
                return []
            raise
        return [
            str(item["metadata"]["name"])
            for item in found
            if template_of(item) in TEMPLATES and not is_ours(item)
        ]


def _is_operator(item: Object) -> bool:
    return (item["kind"], item["metadata"]["name"]) == ("Deployment", OPERATOR)


def _runs(cluster: Cluster) -> list[Object]:
    """List argotune's Workflows: by the label, or by the template before Argo has set the label."""
    try:
        labelled = cluster.collection("Workflow", _PART_OF, metadata_only=True).items
        unseen = cluster.list("Workflow", f"!{PHASE_LABEL},!{_PART_OF.partition('=')[0]}")
    except ClusterRefusal as error:
        if error.status == 404:
            return []
        raise
    return labelled + [item for item in unseen if _is_of_template(item)]


def _is_of_template(workflow: Object) -> bool:
    reference = workflow["spec"].get("workflowTemplateRef") or {}
    return reference.get("name") in TEMPLATES
