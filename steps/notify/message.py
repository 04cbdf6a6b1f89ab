"""The two forms of a notification: Slack's, which others understand too, and CloudEvents 1.0."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from argotune.steps.contracts.webhook import Format, read_format
from argotune.steps.notify.facts import Facts, Outcome

CONTENT_TYPES = {"slack": "application/json", "cloudevents": "application/cloudevents+json"}
_SENTENCES: dict[Outcome, str] = {
    "finished": "finished, and its adapter is in service",
    "pushed": "finished, and its adapter is pushed and not deployed",
    "failed": "failed",
    "rejected": "was rejected; what is in service stays",
    "awaiting-approval": "awaits approval",
    "unchanged": "changed nothing",
    "ended": "ended Succeeded; its results could not be read",
}
_SLACK_HOST = "hooks.slack.com"


def format_for(host: str, given: str) -> Format | None:
    """Return the format of the Secret or, without one, that of the host; None for another text."""
    if not given:
        return "slack" if host == _SLACK_HOST else "cloudevents"
    return read_format(given)


def slack(facts: Facts) -> dict[str, Any]:
    """Build the message of an incoming webhook.

    https://docs.slack.dev/messaging/formatting-message-text: three characters are escaped.
    """
    head = f"{facts.workspace}: run {facts.run} {_SENTENCES[facts.outcome]}"
    lines = [f"*{_escaped(head)}*", *([_escaped(facts.reason)] if facts.reason else [])]
    lines += [f"{name}: {_escaped(text)}" for name, text in facts.results.items()]
    if facts.outcome == "awaiting-approval":
        name = f"{facts.run} -n {facts.namespace}"
        lines.append(f"`argotune approve {name}` or `argotune reject {name}`")
    block = {"type": "section", "text": {"type": "mrkdwn", "text": "\n".join(lines)}}
    return {"text": _escaped(head), "blocks": [block]}


def cloud_event(facts: Facts, *, uid: str, now: datetime) -> dict[str, Any]:
    """Build the event in structured JSON, https://github.com/cloudevents/spec/blob/v1.0.2.

    A try again has the same id and source, so that who receives it knows it for the same event.
    """
    return {
        "specversion": "1.0",
        "id": f"{uid}.{facts.outcome}",
        "source": f"/argotune/namespaces/{facts.namespace}/workspaces/{facts.workspace}",
        "type": f"dev.argotune.run.{facts.outcome}",
        "subject": facts.run,
        "time": f"{now:%Y-%m-%dT%H:%M:%SZ}",
        "datacontenttype": "application/json",
        "data": {
            "workspace": facts.workspace,
            "run": facts.run,
            "namespace": facts.namespace,
            "outcome": facts.outcome,
            "reason": facts.reason,
            **facts.results,
        },
    }


def _escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
