"""Runs cases here and on a real Argo and compares: ``python -m tests.workflows.engine.on_argo``.

Needs KUBECONFIG; ``--image NAME=REFERENCE`` says what the cluster pulls
instead of a case's image, ``--write`` keeps what Argo answered as the expected result.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import yaml

from argotune.workflows.engine.run import Options, run
from argotune.workflows.engine.state.load import parse_documents
from tests.workflows.engine.summary import summary

CASES = Path(__file__).parent / "cases"
# Of one case; beside whole runs a pod of it may wait for minutes.
_TIMEOUT_SECONDS = 600
_ACCOUNT = "engine-cases"
_ACCESS: list[dict[str, Any]] = [
    {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": _ACCOUNT}},
    {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "Role",
        "metadata": {"name": _ACCOUNT},
        "rules": [
            {
                "apiGroups": ["argoproj.io"],
                "resources": ["workflowtaskresults"],
                "verbs": ["create", "patch"],
            }
        ],
    },
    {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "RoleBinding",
        "metadata": {"name": _ACCOUNT},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": _ACCOUNT},
        "subjects": [{"kind": "ServiceAccount", "name": _ACCOUNT}],
    },
]


class ClusterError(Exception):
    """The cluster did not do what it was asked for."""


def here(case: Path, directory: Path) -> dict[str, Any]:
    """The summary of a case, run by the local engine."""
    options = Options(
        run_dir=directory / case.stem,
        claims_dir=directory / "claims",
        working_dir=directory,
        name=case.stem,
        namespace="argo",
    )
    return summary(run(_documents(case), options))


def _documents(case: Path) -> list[dict[str, Any]]:
    return parse_documents(case.read_text(), case.name)


def grant_access() -> None:
    """Makes the account that the cases run as on Argo; call it before the first `there`."""
    _apply(_ACCESS)


def there(case: Path, images: dict[str, str]) -> dict[str, Any]:
    """The summary of a case, run by Argo; several may run at once."""
    others: list[dict[str, Any]] = []
    workflows: list[dict[str, Any]] = []
    for document in _documents(case):
        text = json.dumps(document)
        for name, reference in images.items():
            text = text.replace(f'"image": "{name}"', f'"image": "{reference}"')
        (workflows if document["kind"] == "Workflow" else others).append(json.loads(text))
    workflow = workflows[0]
    workflow["metadata"].pop("generateName", None)
    workflow["metadata"]["name"] = case.stem
    workflow["spec"]["serviceAccountName"] = _ACCOUNT
    _call("kubectl", "-n", "argo", "delete", "workflow", case.stem, "--ignore-not-found")
    if others:
        _apply(others)
    _call("kubectl", "-n", "argo", "create", "-f", "-", text=json.dumps(workflow))
    _call("kubectl", "-n", "argo", "wait", "workflow", case.stem,
          "--for=condition=Completed", f"--timeout={_TIMEOUT_SECONDS - 10}s")  # fmt: skip
    answer = _call("kubectl", "-n", "argo", "get", "workflow", case.stem, "-o", "json")
    return summary(json.loads(answer))


def _apply(objects: list[dict[str, Any]]) -> None:
    _call("kubectl", "-n", "argo", "apply", "-f", "-", text=yaml.safe_dump_all(objects))


def _call(*command: str, text: str | None = None, check: bool = True) -> str:
    done = subprocess.run(
        command, input=text, capture_output=True, text=True, timeout=_TIMEOUT_SECONDS, check=False
    )
    if check and done.returncode:
        raise ClusterError(f"{' '.join(command)}: {done.stderr.strip()}")
    return done.stdout


def differences(ours: Any, theirs: Any, path: str = "") -> list[str]:
    """One line for each place where the two summaries differ."""
    if isinstance(ours, dict) and isinstance(theirs, dict):
        return [
            line
            for key in sorted(ours.keys() | theirs.keys())
            for line in differences(ours.get(key), theirs.get(key), f"{path}/{key}")
        ]
    return [] if ours == theirs else [f"{path}: here {ours!r}, on Argo {theirs!r}"]


def main() -> int:
    """Compares the named cases, or all of them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("cases", nargs="*")
    parser.add_argument("--image", action="append", default=[], metavar="NAME=REFERENCE")
    parser.add_argument("--write", action="store_true")
    arguments = parser.parse_args()
    images = dict(image.split("=", 1) for image in arguments.image)
    grant_access()
    failed = 0
    for case in sorted(CASES.glob("*.yaml")):
        if arguments.cases and case.stem not in arguments.cases:
            continue
        with tempfile.TemporaryDirectory() as directory:
            ours = here(case, Path(directory))
        try:
            theirs = there(case, images)
        except ClusterError as error:
            print(f"NO ANSWER  {case.stem}\n    {error}")
            failed += 1
            continue
        found = differences(ours, theirs)
        print(
            f"{'same' if not found else 'DIFFERENT'}  {case.stem}", *found, sep="\n    ", flush=True
        )
        failed += bool(found)
        if arguments.write:
            text = json.dumps(theirs, indent=1, ensure_ascii=False) + "\n"
            case.with_suffix(".expected.json").write_text(text, encoding="utf-8")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
