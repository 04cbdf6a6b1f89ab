"""What `make golden` writes from the templates.

Their YAML goes into workflows/rendered, and the graph of `finetune` into the README, as Mermaid,
which GitHub draws.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from argotune.workflows.templates import (
    accounts,
    admission,
    cluster_permissions,
    evaluate,
    finetune,
    gc,
    model_cache,
    network,
    operator,
    permissions,
    retrain,
    rollback,
    serve,
    workspace_crd,
)

RENDERED_DIR = Path(__file__).parent.parent / "rendered"
_HEADER = "# Written by `make golden` from workflows/templates/{}.py; edit that.\n"
_PLAIN = (
    accounts,
    permissions,
    cluster_permissions,
    admission,
    network,
    model_cache,
    workspace_crd,
    operator,
)
README = RENDERED_DIR.resolve().parents[1] / "README.md"
_MARK = "<!-- Written by `make golden` from workflows/rendered/finetune.yaml. -->\n"
_BLOCK = re.compile(re.escape(_MARK) + r"```mermaid\n.*?^```\n", re.MULTILINE | re.DOTALL)
# `tune` of `model.Succeeded && tune`: the word behind a dot is a state. What follows a skipped task
# is not on the usual way, and left out.
_TASK = re.compile(r"(?<![\w.-])[a-z][\w-]*\b(?!-|\.Skipped)")


@functools.cache
def golden() -> Mapping[str, str]:
    """Map each file's name to its YAML text, which takes seconds."""
    modules = (finetune, evaluate, serve, retrain, rollback)
    argo = {module: module.build().to_yaml() for module in modules}
    collection = f"{gc.build().to_yaml()}---\n{gc.build_schedule().to_yaml()}"
    plain = {module: yaml.safe_dump_all(module.build(), sort_keys=False) for module in _PLAIN}
    return {
        f"{module.NAME}.yaml": _HEADER.format(module.__name__.rpartition(".")[2]) + text
        for module, text in {**argo, gc: collection, **plain}.items()
    }


def mermaid(template: dict[str, Any]) -> str:
    """Draw the steps of the entrypoint's DAG, their dependencies, and the exit handler.

    A task that is no step, such as the approval, is there by setting only, and is left out, as are
    those for scorers.
    """
    spec = template["spec"]
    entrypoint, on_exit = spec["entrypoint"], spec["onExit"]
    dags = {item["name"]: item["dag"] for item in spec["templates"] if "dag" in item}
    (at_end,) = [item["steps"] for item in spec["templates"] if item["name"] == on_exit]
    steps = {item["name"] for item in spec["templates"] if "container" in item} - {"answer"}
    edges = [
        f"    {name} --> {task['name']}"
        for task in dags[entrypoint]["tasks"]
        for name in dict.fromkeys(_TASK.findall(task.get("depends", "")))
        if {name, task["name"]} <= steps
    ]
    always = [
        f"  {entrypoint} -. always .-> {step['name']}"
        for group in at_end
        for step in group
        if "when" not in step
    ]
    return "\n".join(["flowchart LR", f"  subgraph {entrypoint}", *edges, "  end", *always]) + "\n"


def page_with_graph(page: str) -> str:
    """Insert the graph of workflows/rendered into the README's text."""
    template = yaml.safe_load((RENDERED_DIR / f"{finetune.NAME}.yaml").read_text())
    if not _BLOCK.search(page):
        raise SystemExit(f"README.md has no Mermaid block below {_MARK.strip()!r}")
    block = f"{_MARK}```mermaid\n{mermaid(template)}```\n"
    return _BLOCK.sub(lambda _: block, page)
