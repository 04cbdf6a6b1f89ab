"""The definition of the kind Workspace; what a server makes of it is in tests/e2e."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

import jsonschema_rs
import pytest
import yaml

from argotune.workflows.templates.golden import RENDERED_DIR
from argotune.workflows.workspace.fields import FIELDS, WorkspaceError
from argotune.workflows.workspace.read import is_about_inference, read_service, read_workspace
from tests.workflows.templates.workspace_files import REFUSED, TAKEN
from tests.workflows.workspace.helpers import BASE_DIR

(CRD,) = yaml.safe_load_all((RENDERED_DIR / "workspace-crd.yaml").read_text())
NEWER, OLDER = CRD["spec"]["versions"]
STRUCTURE = {
    version["name"]: jsonschema_rs.validator_for(version["schema"]["openAPIV3Schema"])
    for version in (NEWER, OLDER)
}
STRUCTURAL = {
    "text for a number", "number for a label", "no preset", "no name of the preset", "no method",
    "no input", "one URL", "no output", "no image", "adapter without source", "strength",
}  # fmt: skip
"""What is wrong in the form; the other files break a rule of CEL, for which it takes a server."""


def test_a_file_that_the_reader_takes_has_the_form() -> None:
    for about, text in TAKEN.items():
        read(text)
        assert not errors_of(text), about


@pytest.mark.parametrize("about", REFUSED)
def test_a_file_without_the_form_is_refused_by_the_reader_too(about: str) -> None:
    with pytest.raises(WorkspaceError):
        read(REFUSED[about])
    assert bool(errors_of(REFUSED[about])) == (about in STRUCTURAL)


def test_an_unknown_field_is_kept_at_every_level_for_the_operator_to_refuse() -> None:
    for version in (NEWER, OLDER):
        found = dict(objects(version["schema"]["openAPIV3Schema"]))
        del found["status"]
        assert {"", *(path for path in FIELDS if path not in ("", "metadata"))} <= found.keys()
        assert all(schema["x-kubernetes-preserve-unknown-fields"] for schema in found.values())


def test_every_field_is_described() -> None:
    for version in (NEWER, OLDER):
        undescribed = [
            path
            for path, schema in fields(version["schema"]["openAPIV3Schema"])
            if not schema.get("description")
        ]
        assert undescribed == []


def test_the_older_version_differs_in_one_default_which_is_stored() -> None:
    newer, older = (copy.deepcopy(each["schema"]["openAPIV3Schema"]) for each in (NEWER, OLDER))
    resource = older["properties"]["resource"]
    assert resource.pop("default") == {}
    assert resource["properties"]["instanceType"].pop("default") == "Standard_NC24ads_A100_v4"
    assert newer == older
    assert (NEWER["storage"], OLDER["storage"]) == (True, False)


def test_columns_are_those_of_kaito_and_wide_ones_those_of_the_status() -> None:
    argotune = NEWER["schema"]["openAPIV3Schema"]["properties"]["status"]["properties"]["argotune"]
    narrow, wide = [], {}
    for column in NEWER["additionalPrinterColumns"]:
        if column.get("priority"):
            wide[column["name"].upper()] = column["jsonPath"].rpartition(".")[2]
        else:
            narrow.append(column["name"].upper())
    # The server adds NAME.
    assert narrow == ["INSTANCE", "RESOURCEREADY", "INFERENCEREADY", "WORKSPACEREADY", "AGE"]
    assert list(wide) == ["PROGRESS", "ETA", "SPENT", "VERSION", "RUN"]
    assert set(wide.values()) <= argotune["properties"].keys()


def read(text: str) -> None:
    files = [("one.yaml", text)]
    if is_about_inference(files):
        read_service(files, base_dir=BASE_DIR, on_cluster=True)
    else:
        read_workspace(files, base_dir=BASE_DIR, allow_loopback=False, on_cluster=True)


def errors_of(text: str) -> list[str]:
    """What an API server says of the form, without the rules of CEL."""
    document = yaml.safe_load(text)
    structure = STRUCTURE[document["apiVersion"].partition("/")[2]]
    return [error.message for error in structure.iter_errors(document)]


def fields(schema: dict[str, Any], path: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """Every field below, by its path."""
    for name, child in schema.get("properties", {}).items():
        here = f"{path}.{name}".lstrip(".")
        yield here, child
        yield from fields(child, here)
        yield from fields(child.get("items", {}), f"{here}[]")


def objects(schema: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """The objects with fields of their own, but those of the status."""
    yield "", schema
    for path, child in fields(schema):
        if "properties" in child and not path.startswith("status."):
            yield path, child
