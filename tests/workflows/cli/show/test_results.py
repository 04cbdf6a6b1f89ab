from __future__ import annotations

import io
from typing import Any

from rich.console import Console

from argotune.workflows.cli.show.results import exit_code_of, phase_and_reason, print_results


def workflow_with(**outputs: str) -> dict[str, Any]:
    """A run that has succeeded, with these outputs."""
    parameters = [{"name": name, "value": value} for name, value in outputs.items()]
    node = {
        "id": "docs-1",
        "name": "docs-1",
        "displayName": "docs-1",
        "type": "DAG",
        "templateName": "finetune",
        "phase": "Succeeded",
        "outputs": {"parameters": parameters},
    }
    return {
        "metadata": {"name": "docs-1"},
        "spec": {},
        "status": {"phase": "Succeeded", "nodes": {"docs-1": node}},
    }


def printed(workflow: dict[str, Any]) -> str:
    text = io.StringIO()
    print_results(Console(file=text, width=100), workflow, ())
    return text.getvalue()


def test_a_run_whose_adapter_was_rejected_says_first_what_stays_in_service() -> None:
    workflow = workflow_with(verdict="rejected", outcome="kept v3")
    assert printed(workflow).splitlines()[1] == "docs-1: Succeeded, kept v3"
    assert phase_and_reason(workflow) == "Succeeded, kept v3"
    assert exit_code_of(workflow) == 0


def test_a_run_whose_adapter_passed_says_that_it_succeeded() -> None:
    workflow = workflow_with(verdict="passed", outcome="")
    assert printed(workflow).splitlines()[1] == "docs-1: Succeeded"
    assert phase_and_reason(workflow) == "Succeeded"


def test_that_a_step_was_not_tried_again_is_no_reason_of_the_run() -> None:
    workflow = workflow_with()
    workflow["status"] |= {
        "phase": "Failed",
        "message": "retryStrategy.expression evaluated to false",
    }
    assert printed(workflow) == "\ndocs-1: Failed\n"
    assert phase_and_reason(workflow) == "Failed"
    workflow["status"]["message"] = "child 'docs-1.plan' failed"
    assert printed(workflow) == "\ndocs-1: Failed\nchild 'docs-1.plan' failed\n"
    assert phase_and_reason(workflow) == "Failed: child 'docs-1.plan' failed"
