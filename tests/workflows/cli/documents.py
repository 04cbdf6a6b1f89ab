"""Small workflows of shell commands, and workspaces."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any

HEAD = """\
apiVersion: argoproj.io/v1alpha1
kind: Workflow
metadata: {generateName: greet-}
"""


def workflow(*templates: dict[str, Any], head: str = HEAD, **spec: Any) -> str:
    """A Workflow of these templates; it begins with `main`."""
    return head + f"spec: {json.dumps({'entrypoint': 'main', 'templates': templates} | spec)}\n"


def shell(name: str, script: str, **more: Any) -> dict[str, Any]:
    """A template that runs a script with sh; when it fails, its log is its message."""
    container = {
        "image": "busybox",
        "command": ["sh", "-c"],
        "args": [script],
        "terminationMessagePolicy": "FallbackToLogsOnError",
    }
    return {"name": name, "container": container, **more}


def shown_duration(node: dict[str, Any]) -> str:
    """Of a step of a short run: a second may end while it goes on."""
    began, ended = (datetime.fromisoformat(node[key]) for key in ("startedAt", "finishedAt"))
    return f"{(ended - began).seconds}s"


def dag(*tasks: str, name: str = "main") -> dict[str, Any]:
    """A DAG of tasks, each `NAME` or `NAME after OTHER`, of templates of the same names."""
    return {"name": name, "dag": {"tasks": [_task(text) for text in tasks]}}


def _task(text: str) -> dict[str, str]:
    name, _, depends = text.partition(" after ")
    return {"name": name, "template": name} | ({"depends": depends} if depends else {})


GREETING = workflow(
    shell(
        "main",
        "echo {{workflow.parameters.word}} > /tmp/word",
        outputs={"parameters": [{"name": "said", "valueFrom": {"path": "/tmp/word"}}]},
    ),
    shell("other", "echo another template"),
    arguments={"parameters": [{"name": "word", "value": "hello"}]},
)
"""Says its parameter `word` in its output `said`."""

TINY = """\
apiVersion: kaito.sh/v1beta1
kind: Workspace
metadata:
  name: my-tiny
resource:
  labelSelector:
    matchLabels:
      app: my-tiny
tuning:
  preset:
    name: tiny
  method: lora
  input:
    urls:
      - https://example.com/data.parquet
  output:
    image: oci:dist/my-tiny
"""
"""A Workspace for this machine."""
