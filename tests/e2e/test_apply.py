"""What we render passes the strict validation of a real API server and Argo's own lint."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from argotune.workflows.templates.golden import RENDERED_DIR
from argotune.workflows.workspace.manifests import dump, fill_in, read_rendered
from tests.e2e.cluster import CALL_SECONDS, Cluster

pytestmark = [pytest.mark.cluster, pytest.mark.smoke]

RENDERED = sorted(RENDERED_DIR.glob("*.yaml"))
DEMO = Path(__file__).parent.parent.parent / "workflows" / "demo"
WORKSPACE = DEMO / "workspace.yaml"
WITH_PUBLIC_DATA = DEMO / "dolly.yaml"
TINY_WEIGHTS = DEMO / "tiny-weights.yaml"


def test_there_are_rendered_files() -> None:
    assert RENDERED


@pytest.mark.parametrize("path", RENDERED, ids=lambda path: path.name)
def test_rendered_file_is_applied_with_strict_validation(cluster: Cluster, path: Path) -> None:
    # Nothing of the cluster itself is left behind: some files are not of one namespace.
    cluster.kubectl(
        "apply", "--server-side", "--dry-run=server", "--validate=strict", "-f", str(path)
    )


@pytest.mark.parametrize(
    "flags", [[], ["--template-ref"], ["--schedule", "0 3 * * *"]], ids=["whole", "ref", "cron"]
)
def test_rendered_workspace_is_created_with_strict_validation(
    cluster: Cluster, flags: list[str]
) -> None:
    # The installed template reaches no address of the machine itself.
    text = _render(*flags, WITH_PUBLIC_DATA) if flags else _render("--allow-loopback", WORKSPACE)
    cluster.kubectl("create", "--dry-run=server", "--validate=strict", "-f", "-", text=text)


def _render(*arguments: str | Path) -> str:
    command = [sys.executable, "-m", "argotune.workflows.cli", "render", *map(str, arguments)]
    answer = subprocess.run(
        command, capture_output=True, text=True, timeout=CALL_SECONDS, check=True
    )
    return answer.stdout


def test_workflow_that_makes_tiny_is_created_with_strict_validation(cluster: Cluster) -> None:
    cluster.kubectl("create", "--dry-run=server", "--validate=strict", "-f", str(TINY_WEIGHTS))


def test_argo_lints_what_is_installed_and_a_schedule(tmp_path: Path) -> None:
    installed, schedule = tmp_path / "installed.yaml", tmp_path / "schedule.yaml"
    documents = [fill_in(item, {}) for name in ("finetune", "gc") for item in read_rendered(name)]
    installed.write_text(dump(*documents))
    schedule.write_text(_render("--schedule", "0 3 * * *", WITH_PUBLIC_DATA))
    files = [str(installed), str(schedule), str(TINY_WEIGHTS)]
    subprocess.run(["argo", "lint", "--offline", *files], timeout=CALL_SECONDS, check=True)
