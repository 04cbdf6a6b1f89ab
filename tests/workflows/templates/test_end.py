"""The end of a run on the engine: release whatever happens, and notify beside it."""

from __future__ import annotations

from pathlib import Path

from argotune.workflows.engine.model import JsonObject
from argotune.workflows.engine.record import RECORD
from argotune.workflows.engine.run import run
from argotune.workflows.workspace.manifests import workflow
from tests.fakes.webhook import webhook
from tests.workflows.engine.running import options
from tests.workflows.templates.test_approval import GIVEN, document, phases

NOTIFIED = {"notify_secret": "argotune-notify"}


def fail(made: JsonObject, *names: str) -> JsonObject:
    """The workflow, in which the templates of these names fail."""
    for template in made["spec"]["templates"]:
        if template["name"] in names:
            template["container"]["command"] = ["sh", "-c", "exit 3"]
    return made


def test_nobody_is_told_without_a_secret(tmp_path: Path) -> None:
    found = phases(run([document()], options(tmp_path)))
    assert (found["release"], found["notify"]) == ("Succeeded", "Skipped")


def test_a_notification_that_fails_is_no_failure_of_the_run(tmp_path: Path) -> None:
    settings = {**NOTIFIED, "approval": "required", "approval_timeout_seconds": "1ms"}
    made = fail(document(**settings), "notify", "notify-waiting")
    finished = run([made], options(tmp_path))
    found = phases(finished)
    assert (found["notify-waiting"], found["notify"]) == ("Failed", "Failed")
    assert (finished["status"]["phase"], found["approve"]) == ("Succeeded", "Succeeded")


def test_a_release_that_fails_is_told_of_and_fails_the_run(tmp_path: Path) -> None:
    finished = run([fail(document(**NOTIFIED), "release")], options(tmp_path))
    found = phases(finished)
    assert (found["release"], found["notify"]) == ("Failed", "Succeeded")
    assert finished["status"]["phase"] == "Failed"


def test_a_run_of_this_machine_tells_the_webhook_of_its_secret(tmp_path: Path) -> None:
    """The step itself, with the Secret as the user's environment gives it."""
    with webhook() as inbox:
        installed = {
            "notify-secret": "argotune-notify",
            "run-record": str(tmp_path / "run" / RECORD),
            "allow-loopback": "true",
        }
        real = workflow({**GIVEN, **installed})["spec"]["templates"]
        made = fail(document(**NOTIFIED), "tune")
        templates = {each["name"]: each for each in made["spec"]["templates"]}
        templates["notify"] = next(each for each in real if each["name"] == "notify")
        templates["notify"]["container"]["volumeMounts"] = [
            each
            for each in templates["notify"]["container"]["volumeMounts"]
            if each["name"] != "argotune-ca"
        ]
        made["spec"]["templates"] = list(templates.values())
        secrets = {"argotune-notify": {"url": inbox.url, "format": "cloudevents"}}
        finished = run([made], options(tmp_path, secret_values=secrets))
    assert phases(finished)["notify"] == "Succeeded"
    (call,) = inbox.calls
    data = call.message["data"]
    assert (data["workspace"], data["run"], data["outcome"]) == ("mine", "wf", "failed")
    assert data["reason"].startswith("tune: ")
