"""The time by which tuning has to have ended, which `watch` writes and `tune` reads.

It is a key of a ConfigMap that belongs to the run's Workflow and that tune's pod mounts. The
kubelet brings a new value into a running pod within about a minute and a half, so the value is a
time of the clock and no number of seconds.
"""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

KEY = "stop-at"
"""Key of the ConfigMap, and name of the file."""
COST_LIMIT = "cost limit"
"""Why training ended early, where this time ended it."""
_TIME = "%Y-%m-%dT%H:%M:%SZ"


def config_map_of(workflow: str) -> str:
    """Name of the ConfigMap of a Workflow; `workflow` may be a tag of Argo."""
    return f"{workflow}-stop"


def stop_config_map(
    *, namespace: str, workflow: str, run: str, stop_at: datetime
) -> dict[str, object]:
    """Manifest of the ConfigMap; Kubernetes deletes it with the Workflow, whose UID is `run`."""
    owner = {
        "apiVersion": "argoproj.io/v1alpha1",
        "kind": "Workflow",
        "name": workflow,
        "uid": run,
    }
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {
            "name": config_map_of(workflow),
            "namespace": namespace,
            "labels": {"app.kubernetes.io/part-of": "argotune"},
            "ownerReferences": [owner],
        },
        "data": {KEY: f"{stop_at.astimezone(UTC):{_TIME}}"},
    }


def read_stop_time(file: Path) -> datetime | None:
    """The time in the file; None where there is no file or no time in it."""
    try:
        return datetime.strptime(file.read_text().strip(), _TIME).replace(tzinfo=UTC)
    except (OSError, ValueError):
        return None
