"""The work of `argotune install` on a cluster: everything is tried first, then applied."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Collection
from dataclasses import dataclass
from importlib.metadata import version

from argotune.workflows.cli.errors import CliError
from argotune.workflows.cli.installation.applied import (
    INSTALLED_KINDS,
    Applied,
    field_managers,
    is_ours,
    shown,
)
from argotune.workflows.cli.installation.definition import Definition, let_go
from argotune.workflows.cli.installation.digests import look_up
from argotune.workflows.cli.installation.objects import (
    CA_CONFIG_MAP,
    CA_KEY,
    CLAIM,
    CLUSTER_KINDS,
    MANAGER,
    TEMPLATE,
    namespace_object,
    objects,
)
from argotune.workflows.cli.installation.operator import DEFINITION, MANAGED, MONITOR, OPERATOR
from argotune.workflows.cli.installation.settings import (
    Object,
    Settings,
    accounts_with_identities,
    installed_settings,
    version_of,
)
from argotune.workflows.cli.remote.api_errors import ClusterRefusal
from argotune.workflows.workspace.images import LARGE, SMALL, digests_of
from argotune.workflows.workspace.images import OPERATOR as OPERATOR_IMAGE
from argotune.workflows.workspace.manifests import install_defaults, installed_values

_ENFORCE = "pod-security.kubernetes.io/enforce"
_USERS_KINDS = ("PersistentVolumeClaim", "CronWorkflow")
"""Kinds that a user may have made or changed: the cache's claim, and schedules."""
_KEPT_KINDS = ("ConfigMap", "PersistentVolumeClaim")
"""Kinds that no install deletes: what an earlier --ca-file and --presets gave, and the weights."""


@dataclass
class _Tried:
    """An object before its apply."""

    item: Object
    before: Object | None = None
    """As the server has it; None where it is missing."""
    outcome: str = "created"
    """What the apply would do."""


@dataclass(frozen=True, kw_only=True)
class Installer:
    """One `argotune install`."""

    applied: Applied
    dry_run: bool
    force_conflicts: bool
    """Take over fields that other managers own."""
    cluster_roles: bool
    """Install what only an administrator of the cluster may."""

    def install(self, said: Settings, *, create_namespace: bool) -> None:
        """Apply the installation; settings that are not given stay as they are installed.

        Nothing is applied when the server refuses any object; then CliError has all refusals.
        """
        there = self._namespace_is_there(may_be_made=create_namespace)
        template = self._installed_template() if there else None
        before = self._installed_settings(template) if there else Settings()
        settings = said.over(before)
        _warn_of_own_tag(template, settings)
        settings = self._beside_kaito(settings)
        has_or_had = settings.has_operator or before.has_operator
        has_monitors = has_or_had and self.applied.knows(MONITOR)
        settings = dataclasses.replace(settings, has_monitors=has_monitors)
        settings = with_digests(
            settings,
            settings.ca or (self._installed_ca() if there else None),
            installed=digests_of(installed_values(template)) if template else {},
        )
        if settings.scorer_images:
            addresses = self.applied.api_server_addresses()
            settings = dataclasses.replace(settings, api_server=addresses)
        wanted = objects(settings, self.applied.cluster.namespace)
        if not there:
            there = self._make_namespace()
        if not self.cluster_roles:
            wanted = [item for item in wanted if item["kind"] not in CLUSTER_KINDS]
        names = {shown(item) for item in wanted}
        if there:
            wanted = [item for item in wanted if self._is_to_be_applied(item, said)]
        for tried in self._try(wanted, there=there):
            outcome = tried.outcome if self.dry_run else self._apply(tried.item, tried.before)
            self._say(tried.item, outcome)
        known = before if template is None else _with_tag(before, template)
        for change in known.changes_of(_with_tag(settings, None)):
            print(f"{change}{' (dry run)' if self.dry_run else ''}")
        if there:
            self._prune(names, has_monitors=has_monitors)
            self._let_workspaces_go(before, settings)

    def _beside_kaito(self, settings: Settings) -> Settings:
        """Look whose the definition of Workspaces is, where there is to be an operator.

        Raises CliError for what --no-cluster-roles leaves out and the operator needs.
        """
        if not settings.has_operator:
            return settings
        definition = Definition.of_cluster(self.applied)
        if not self.cluster_roles and settings.operator == "all":
            raise CliError(
                "--operator-all-namespaces: takes ClusterRoles, which --no-cluster-roles leaves to"
                " an administrator of the cluster; --operator works on this namespace alone"
            )
        if not self.cluster_roles and not definition.is_there:
            raise CliError(
                f"--operator: the definition {DEFINITION} is not there, and --no-cluster-roles"
                " leaves it to an administrator of the cluster; let one install the operator"
            )
        if definition.is_of_others:
            print(
                f"{definition.shown} unchanged, for it is not of argotune install: the operator"
                f" works on Workspaces with the annotation {MANAGED} alone"
            )
        return dataclasses.replace(settings, is_beside_kaito=definition.is_of_others)

    def _let_workspaces_go(self, before: Settings, settings: Settings) -> None:
        """Let Workspaces go that the operator, of which there is none any more, would hold."""
        if not before.has_operator or settings.operator in ("all", before.operator):
            return
        kept = self.applied.cluster.namespace if settings.has_operator else None
        everywhere = before.operator == "all"
        for name in let_go(self.applied, everywhere=everywhere, but=kept, dry_run=self.dry_run):
            print(f"{name} is held no more{' (dry run)' if self.dry_run else ''}")

    def _namespace_is_there(self, *, may_be_made: bool) -> bool:
        """Whether the namespace exists. Raises CliError where it does not and may not be made."""
        name = self.applied.cluster.namespace
        try:
            found = self.applied.find("Namespace", name)
        except ClusterRefusal as error:
            if error.status != 403:
                raise
            warn(f"cannot see whether the namespace enforces `restricted`: {error}")
            return True
        if found is not None:
            _warn_of_unrestricted(found)
            return True
        if not may_be_made:
            raise CliError(f"namespace {name}: there is none; --create-namespace makes it")
        return False

    def _make_namespace(self) -> bool:
        """Create the namespace; whether it is there then, which it is not in a dry run."""
        wanted = namespace_object(self.applied.cluster.namespace)
        self.applied.create_namespace(wanted, dry_run=self.dry_run)
        self._say(wanted, "created")
        return not self.dry_run

    def _installed_template(self) -> Object | None:
        return self._find_ours("WorkflowTemplate", TEMPLATE)

    def _installed_settings(self, template: Object | None) -> Settings:
        return installed_settings(
            template,
            self._find_ours("PersistentVolumeClaim", CLAIM),
            {name: self._find_ours("ServiceAccount", name) for name in accounts_with_identities()},
            self._find_ours("Deployment", OPERATOR),
        )

    def _find_ours(self, kind: str, name: str) -> Object | None:
        found = self.applied.find(kind, name)
        return found if found and is_ours(found) else None

    def _installed_ca(self) -> str | None:
        """Return the certificates that the steps trust, whoever made their ConfigMap."""
        found = self.applied.find("ConfigMap", CA_CONFIG_MAP) or {}
        ca: str | None = (found.get("data") or {}).get(CA_KEY)
        return ca

    def _is_to_be_applied(self, item: Object, said: Settings) -> bool:
        if item["kind"] not in _USERS_KINDS:
            return True
        found = self.applied.find(item["kind"], item["metadata"]["name"])
        reason = None if found is None else self._reason_to_keep(found, said)
        if reason is not None:
            self._say(item, f"unchanged{reason}")
        return reason is None

    def _reason_to_keep(self, found: Object, said: Settings) -> str | None:
        """Say why an object that a user may have made or changed stays; None where it does not."""
        if found["kind"] == "PersistentVolumeClaim":
            if not is_ours(found):
                return ", for it is not of argotune install"
            # A bound claim takes a larger size and nothing else.
            return None if said.says_of_models else ""
        return None if self.force_conflicts else _changed_by_others(found)

    def _try(self, wanted: list[Object], *, there: bool) -> list[_Tried]:
        """Return each object with the effect that its apply would have."""
        all_tried, problems = [], []
        for item in wanted:
            tried = _Tried(item)
            all_tried.append(tried)
            if not there and item["kind"] not in CLUSTER_KINDS:
                continue
            try:
                tried.before = self.applied.find(item["kind"], item["metadata"]["name"])
                tried.outcome = self._apply(item, tried.before, is_trial=True)
            except ClusterRefusal as error:
                # The role of a binding does not exist yet, because a dry run stores nothing.
                if error.status != 404 or not item["kind"].endswith("Binding"):
                    problems.append(str(error))
        if problems:
            raise CliError(problems)
        if not there:
            warn("the namespace is not there yet: what goes into it was not tried on the server")
        return all_tried

    def _apply(self, item: Object, before: Object | None, *, is_trial: bool = False) -> str:
        return self.applied.apply(item, before, dry_run=is_trial, force=self.force_conflicts)

    def _prune(self, names: Collection[str], *, has_monitors: bool) -> None:
        """Delete what an earlier version installed and this one, of these names, does not."""
        left = {*_KEPT_KINDS} if self.cluster_roles else {*_KEPT_KINDS, *CLUSTER_KINDS}
        if not has_monitors:
            # A person may have no right to them, and without an operator there is none.
            left.add(MONITOR)
        for kind in [kind for kind in INSTALLED_KINDS if kind not in left]:
            for item in self.applied.find_all(kind):
                if shown(item) in names:
                    continue
                if kind in _USERS_KINDS and (reason := _changed_by_others(item)):
                    self._say(item, f"stays{reason}")
                    continue
                self.applied.delete(kind, item["metadata"]["name"], dry_run=self.dry_run)
                self._say(item, "pruned")

    def _say(self, item: Object, outcome: str) -> None:
        print(f"{shown(item)} {outcome}{' (dry run)' if self.dry_run else ''}")


def _changed_by_others(found: Object) -> str | None:
    """Name the others who changed what `install` applied; None where nobody did."""
    others = field_managers(found, "spec") - {MANAGER}
    return f", for {', '.join(sorted(others))} changed it" if others else None


def with_digests(
    settings: Settings, ca: str | None, *, installed: Collection[str] = ()
) -> Settings:
    """Add the digests of the images, where the settings want them and name a registry.

    Images without one stay by tag, with a warning. Raises CliError where the registry has none of
    them, or lacks one of those that are `installed` by digest: every run would fail, or one that
    works now.
    """
    if settings.by_digest is False or settings.images_registry is None:
        return settings
    values = {**install_defaults(), **settings.installer_values()}
    steps = (*SMALL, *([OPERATOR_IMAGE] if settings.has_operator else []), *LARGE)
    digests = look_up(values, ca, steps)
    lost = [step for step in installed if step in digests.missing]
    if digests.has_none or lost:
        what = f"image of {', '.join(lost)}" if lost and not digests.has_none else "step image"
        raise CliError(
            f"--images-tag {values['images-tag']}: {values['images-registry']} has no {what} of"
            f" this tag: {digests.failure}; push the images, or name another tag or registry;"
            " --no-digests installs a tag before its images are there"
        )
    if digests.failure is not None:
        by_tag = [step for step in steps if step not in digests.found]
        images = f"images of {', '.join(by_tag)}" if digests.found else "images"
        warn(
            f"{images} are installed by tag, and change when somebody pushes to"
            f" {values['images-registry']}: {digests.failure}; install again when that is mended,"
            " or with --no-digests where this machine cannot reach the registry"
        )
    return dataclasses.replace(settings, images_digests=digests.found)


def _with_tag(settings: Settings, template: Object | None) -> Settings:
    """Say the tag also where it is the version's own: the template's, else this version's."""
    values = install_defaults() if template is None else installed_values(template)
    return dataclasses.replace(settings, images_tag=settings.images_tag or values.get("images-tag"))


def _warn_of_own_tag(template: Object | None, settings: Settings) -> None:
    """Warn where templates change their version and images that somebody chose do not."""
    ours, theirs = version("argotune"), None if template is None else version_of(template)
    if template is None or theirs == ours or settings.images_tag in (None, ours):
        return
    if settings.images_tag == installed_values(template).get("images-tag"):
        warn(
            f"images-tag {settings.images_tag} stays, and the templates become those of argotune"
            f" {ours}: push its images under that tag, or take --images-tag {ours}"
        )


def _warn_of_unrestricted(namespace: Object) -> None:
    name = namespace["metadata"]["name"]
    level = (namespace["metadata"].get("labels") or {}).get(_ENFORCE)
    if level != "restricted":
        warn(
            f"namespace {name} enforces {level or 'no'} Pod Security Standard; all that argotune"
            f" runs satisfies restricted: kubectl label --overwrite namespace {name}"
            f" {_ENFORCE}=restricted"
        )


def warn(text: str) -> None:
    """Tell the person on stderr."""
    print(f"warning: {text}", file=sys.stderr)
