"""The Workflow of an evaluation of several models."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from argotune.steps.nodes.labels import WORKSPACE_LABEL
from argotune.workflows.workspace.manifests import arguments_for
from argotune.workflows.workspace.workflow import Object, split_url_lists

TEMPLATE = "evaluate"
"""Name of the WorkflowTemplate."""
NAME = "evaluation"
"""Name of evaluations, as a workspace's is that of its runs."""


def evaluation_arguments(
    models: Sequence[str], urls: Sequence[str], config: str, shown_answers: int
) -> dict[str, str]:
    """Return the template's parameters that an evaluation always gives."""
    return {
        "name": NAME,
        "models": json.dumps(models),
        "urls": json.dumps(urls, ensure_ascii=False),
        "config": config,
        "shown-answers": str(shown_answers),
    }


def evaluation_workflow(
    template: Mapping[str, Any], run: str, arguments: Mapping[str, str]
) -> tuple[Object | None, Object]:
    """Build a Workflow of arguments for the installed template, after the Secret of its URLs.

    There is a Secret where a URL has a query, which may hold a token.
    """
    lists = {"urls": json.loads(arguments["urls"])}
    given, secret = split_url_lists(NAME, lists, arguments, f"{run}-urls")
    workflow = {
        "apiVersion": "argoproj.io/v1alpha1",
        "kind": "Workflow",
        "metadata": {
            "name": run,
            "labels": {
                "app.kubernetes.io/part-of": "argotune",
                WORKSPACE_LABEL: NAME,
                # As Argo's server sets it. Lists of runs have no more than their metadata.
                "workflows.argoproj.io/workflow-template": TEMPLATE,
            },
            "annotations": {"workflows.argoproj.io/title": f"{NAME} of {arguments['models']}"},
        },
        "spec": {
            "workflowTemplateRef": {"name": TEMPLATE},
            "arguments": arguments_for(given, template["spec"]),
        },
    }
    return secret, workflow
