"""The Workflow of an evaluation of several models."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from argotune.workflows.workspace.manifests import workflow_of
from argotune.workflows.workspace.workflow import Object, split_url_lists

TEMPLATE = "evaluate"
"""Name of the WorkflowTemplate."""
NAME = "evaluation"
"""Name of evaluations, as a workspace's is that of its runs."""


def evaluation_arguments(
    models: Sequence[str],
    urls: Sequence[str],
    config: str,
    shown_answers: int,
    *,
    own_preset: str = "",
) -> dict[str, str]:
    """Return the template's parameters that an evaluation always gives; `own_preset` is JSON."""
    return {
        **({"own-preset": own_preset} if own_preset else {}),
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
    workflow = workflow_of(
        template,
        given,
        metadata={"name": run},
        workspace=NAME,
        title=f"{NAME} of {arguments['models']}",
    )
    return secret, workflow
