"""argotune report of a run on this machine."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.workflows.cli.command import Argotune
from tests.workflows.cli.conftest import Write
from tests.workflows.cli.documents import shell, workflow

CLAIM = {
    "metadata": {"name": "work"},
    "spec": {
        "accessModes": ["ReadWriteOnce"],
        "resources": {"requests": {"storage": "1Gi"}},
    },
}


@pytest.mark.parametrize(
    ("script", "code", "said"),
    [
        ("mkdir /work/logs; echo well > /work/logs/tune.log", 0, ["files  logs/tune.log (5 B)"]),
        ("true", 3, []),
    ],
)
def test_the_report_is_on_the_volume_of_the_run(
    argotune: Argotune, write: Write, tmp_path: Path, script: str, code: int, said: list[str]
) -> None:
    main = shell("main", script)
    main["container"]["volumeMounts"] = [{"name": "work", "mountPath": "/work"}]
    file = write("workflow.yaml", workflow(main, volumeClaimTemplates=[CLAIM]))
    assert argotune("run", file, "--name", "one").code == 0
    answer = argotune("report", "one", "--to", tmp_path / "kept")
    assert (answer.code, [line.rstrip() for line in answer.out.splitlines()[1:2]]) == (code, said)
    if code:
        assert answer.errors == ["run one has written no report"]
    else:
        assert (tmp_path / "kept" / "logs" / "tune.log").read_text() == "well\n"
