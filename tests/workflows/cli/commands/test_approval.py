"""argotune approve and reject of a run on this machine."""

from __future__ import annotations

import getpass
import json
import re
from pathlib import Path

from tests.workflows.cli.command import Argotune, Processes, finish, wait_until
from tests.workflows.cli.conftest import Write
from tests.workflows.cli.documents import HEAD, dag, shell, workflow

SUPPLIED = {"supplied": {}, "default": "reject"}
ASK = {
    "name": "approve",
    "suspend": {},
    "outputs": {
        "parameters": [
            {"name": "decision", "valueFrom": SUPPLIED},
            {"name": "reason", "valueFrom": {"supplied": {}, "default": ""}},
        ]
    },
}


def test_a_run_waits_for_its_approval(
    start: Processes, argotune: Argotune, write: Write, home_dir: Path, tmp_path: Path
) -> None:
    text = workflow(
        dag("approve", "end after approve"), ASK, shell("end", f"touch {tmp_path}/end"), head=HEAD
    )
    process = start("run", write("workflow.yaml", text), "--name", "one")
    record = home_dir / "runs" / "one" / "workflow.json"
    wait_until(lambda: record.exists() and "awaits" in argotune("status", "one").out)
    advice = (
        "one awaits approval, then it is rejected: read `argotune report one`, decide by"
        " `argotune approve one` or `argotune reject one`"
    )
    assert advice in argotune("status", "one").out
    resumed = argotune("run", "--resume", "one")
    assert (resumed.code, resumed.errors) == (2, [f"run {advice}"])
    who = getpass.getuser()
    answer = argotune("approve", "one", "--reason", "good")
    assert (answer.code, answer.out) == (0, f"run one: approved by {who}\n")
    assert finish(process).code == 0
    assert (tmp_path / "end").exists()
    nodes = json.loads(record.read_text())["status"]["nodes"].values()
    (asked,) = [node for node in nodes if node["displayName"] == "approve"]
    values = {each["name"]: each["value"] for each in asked["outputs"]["parameters"]}
    assert values == {"decision": "approve", "reason": "good"}
    again = argotune("reject", "one")
    assert (again.code, again.errors) == (2, [f"run one was approved by {who}: good"])


def test_a_name_that_no_run_has_is_refused(argotune: Argotune) -> None:
    answer = argotune("approve", "nobody")
    assert (answer.code, len(answer.errors)) == (2, 1)
    assert re.match("'nobody': no run or workspace of this name", answer.errors[0])
