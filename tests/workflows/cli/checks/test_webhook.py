from __future__ import annotations

import pytest

from argotune.workflows.cli.checks.subject import Needs
from argotune.workflows.cli.checks.webhook import webhook
from tests.workflows.cli.checks.cluster import SPACE, healthy, look, messages
from tests.workflows.cli.checks.test_signing import TEMPLATE, put
from tests.workflows.installed import decide

URL = b"https://hooks.example.com/T0/secret"


def found(files: dict[str, bytes] | None, hosts: str = "[]", name: str = "hook") -> list[str]:
    cluster = healthy() if files is None else put(healthy(), "hook", **files)
    decide(cluster.objects[TEMPLATE], **{"allowed-hosts": hosts})
    needs = Needs(workspace="w", arguments={"notify-secret": name})
    return messages(look(cluster, webhook, needs=needs))


def test_nothing_is_said_where_nobody_is_to_be_told() -> None:
    assert found(None, name="") == []


def test_a_webhook_is_well_and_not_shown() -> None:
    assert found({"url": URL, "format": b"Slack\n"}) == ["ok: secret hook has the URL of a webhook"]


@pytest.mark.parametrize("files", [None, {"link": URL}])
def test_a_secret_without_a_url_is_said(files: dict[str, bytes] | None) -> None:
    assert found(files) == [
        f"problem: secret hook with the key url is not in namespace {SPACE}, so nobody would be"
        " told what becomes of the run"
    ]


def test_what_notify_would_refuse_is_said_without_the_secret() -> None:
    inside = {"url": b"http://chat.corp.internal/secret", "format": b"teams"}
    url, form = found(inside)
    assert url.startswith("problem: secret hook: its url is refused: chat.corp.internal is inside")
    assert form == (
        "problem: secret hook: its format is 'teams'; accepted are slack and cloudevents"
    )
    assert "/secret" not in url
    allowed = found({"url": inside["url"]}, '["Chat.corp.internal"]')
    assert allowed == ["ok: secret hook has the URL of a webhook"]
