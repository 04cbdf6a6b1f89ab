"""The Secret of a webhook, where the workspace names one.

Without it, or with a URL that notify refuses, nobody would be told what became of the run.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator

from argotune.steps.contracts.webhook import format_problem, url_problem
from argotune.workflows.cli.checks.finding import Finding, ok, problem
from argotune.workflows.cli.checks.installation import setting_of
from argotune.workflows.cli.checks.subject import Subject


def webhook(subject: Subject) -> Iterator[Finding]:
    """Check whether the Secret has a URL and a format that notify takes."""
    name = subject.needs.arguments.get("notify-secret")
    if not name:
        return
    found = subject.get("Secret", name)
    create = (
        f"kubectl -n {subject.namespace} create secret generic {name} --from-literal=url=URL"
        " --from-literal=format=FORMAT"
    )
    data = (found or {}).get("data") or {}
    values = {key: base64.b64decode(text).decode(errors="replace") for key, text in data.items()}
    url = values.get("url", "").strip()
    if not url:
        yield problem(
            f"secret {name} with the key url is not in namespace {subject.namespace}, so nobody"
            " would be told what becomes of the run",
            "make it, with the webhook's URL",
            create,
        )
        return
    allowed = json.loads(setting_of(subject, "allowed-hosts") or "[]")
    problems = {
        "url": url_problem(
            url, allowed_hosts=[host.lower() for host in allowed], allow_loopback=False
        ),
        "format": format_problem(values.get("format", "")),
    }
    for key, said in problems.items():
        if said is not None:
            yield problem(
                f"secret {name}: its {key} {said}", "delete it, and make it again", create
            )
    if not any(problems.values()):
        yield ok(f"secret {name} has the URL of a webhook")
