"""What the installed template permits a workspace."""

from __future__ import annotations

import pytest

from argotune.steps.settings.step_params import names_pattern
from argotune.workflows.workspace.fields import WorkspaceError
from argotune.workflows.workspace.installed import check_installed, left_to_the_installer
from argotune.workflows.workspace.manifests import (
    INSTALLED_ANNOTATION,
    installed_values,
    template,
)
from tests.workflows.workspace.helpers import WORKSPACE, changed, read

HERE = "metadata.annotations.argotune.dev/"
ALLOWED = {"allowed-secrets": '["my-secret", "argotune-model-access"]'}


def problems_of(text: str, *, allow_loopback: bool = False, **values: str) -> list[str]:
    chosen = {**ALLOWED, **{name.replace("_", "-"): value for name, value in values.items()}}
    with pytest.raises(WorkspaceError) as caught:
        check_installed(read(text), template(chosen), allow_loopback=allow_loopback)
    return list(caught.value.problems)


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", '"text"', '{"images-tag": 1}', '{"allowed-secrets": "x"}', "[" * 100_000],
)
def test_an_annotation_that_somebody_edited_is_named_with_what_to_do(text: str) -> None:
    edited = template(ALLOWED)
    edited["metadata"]["namespace"] = "team-a"
    edited["metadata"]["annotations"][INSTALLED_ANNOTATION] = text
    with pytest.raises(WorkspaceError) as caught:
        check_installed(read(changed({})), edited)
    assert caught.value.problems == [
        f"WorkflowTemplate finetune: metadata.annotations.argotune.dev/installed: {text[:60]!r} is"
        " not the JSON that `argotune install` writes there; remove it by `kubectl annotate"
        " workflowtemplate finetune -n team-a argotune.dev/installed-`, and run `argotune install"
        " -n team-a` with all its flags again"
    ]


def test_what_is_as_it_is_installed_is_accepted() -> None:
    text = changed({"metadata/annotations": {"argotune.dev/model-cache-claim": "weights"}})
    check_installed(read(text), template({**ALLOWED, "model-cache-claim": "weights"}))


def test_all_that_the_installer_decided_otherwise_is_told_at_once() -> None:
    annotations = {"argotune.dev/model-cache-claim": "mine"}
    text = changed(
        {
            "metadata/annotations": annotations,
            "tuning/preset/presetOptions/modelAccessSecret": "payroll",
        }
    )
    assert problems_of(text, allow_loopback=True) == [
        f"{HERE}model-cache-claim: 'mine'; the installation decides it, as 'argotune-models':"
        " leave it out, or set it for all runs by `argotune install --model-cache-claim mine`",
        "--allow-loopback: only with --standalone; the installed template reaches no address of its"
        " own pod",
        "tuning.preset.presetOptions.modelAccessSecret: 'payroll' is not among the Secrets that the"
        " installation allows: my-secret, argotune-model-access; an administrator adds it by"
        " `argotune install --allow-secret payroll`",
    ]


def test_only_a_priority_class_that_the_installation_allows_is_accepted() -> None:
    text = changed({"metadata/annotations": {"argotune.dev/priority-class": "batch-low"}})
    assert problems_of(text) == [
        f"{HERE}priority-class: 'batch-low' is not among the PriorityClasses that the installation"
        " allows: none; an administrator adds it by `argotune install --allow-priority-class"
        " batch-low`"
    ]
    check_installed(read(text), template({**ALLOWED, "allowed-priority-classes": '["batch-*"]'}))


def test_only_a_claim_that_the_installation_allows_is_accepted() -> None:
    source = {"persistentVolumeClaim": {"claimName": "rows"}}
    text = changed({"tuning/input": {"volumeSource": source}})
    assert problems_of(text) == [
        "tuning.input.volumeSource: 'rows' is not among the PersistentVolumeClaims that the"
        " installation allows: none; an administrator adds it by `argotune install --allow-claim"
        " rows`"
    ]
    check_installed(read(text), template({**ALLOWED, "allowed-claims": '["rows"]'}))


def test_a_claim_to_read_from_is_none_to_write_to() -> None:
    text = changed({"metadata/annotations": {"argotune.dev/output-claim": "adapters"}})
    assert problems_of(text, allowed_claims='["adapters"]') == [
        f"{HERE}output-claim: 'adapters' is not among the PersistentVolumeClaims that the"
        " installation allows to write to: none; an administrator adds it by `argotune install"
        " --allow-output-claim adapters`"
    ]
    check_installed(read(text), template({**ALLOWED, "allowed-output-claims": '["adapters"]'}))


def test_a_prefix_allows_all_names_that_begin_with_it() -> None:
    check_installed(read(WORKSPACE), template({"allowed-secrets": '["my-*"]'}))
    assert problems_of(WORKSPACE, allowed_secrets='["my", "xmy-*"]')


def test_a_host_inside_the_network_is_told_with_the_rest() -> None:
    text = changed({"tuning/output/image": "registry.svc/my-model:1"})
    (problem,) = problems_of(text)
    assert problem.startswith("tuning.output.image: registry.svc is inside a private network; ")


@pytest.mark.parametrize("name", ["axb", "a.b.c", "a.b\n", "A.b"])
def test_a_name_is_no_pattern(name: str) -> None:
    import re

    assert not re.fullmatch(names_pattern(["a.b"]), name)


def test_a_reference_leaves_them_out_with_a_warning() -> None:
    text = changed({"metadata/annotations": {"argotune.dev/model-cache-claim": "mine"}})
    assert left_to_the_installer(read(text)) == [
        f"{HERE}model-cache-claim: left out, the installed template decides it"
    ]


def test_a_template_of_an_older_version_has_parameters() -> None:
    old = template()
    del old["metadata"]["annotations"][INSTALLED_ANNOTATION]
    old["spec"]["arguments"]["parameters"] += [{"name": "images-registry", "value": "r.example"}]
    assert installed_values(old) == {"images-registry": "r.example"}
