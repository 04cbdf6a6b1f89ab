"""argotune chat and argotune stop, with a server that has no model."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from argotune.steps.contracts.services import KEYS, RECORD, Service, process_started, write_record
from tests.fakes.serve import BASE
from tests.workflows.cli.command import Argotune, environment, wait_until
from tests.workflows.cli.conftest import Write
from tests.workflows.cli.documents import GREETING
from tests.workflows.cli.terminal import on_terminal

Serve = Callable[..., "subprocess.Popen[bytes]"]

READY = "\x1b[?2004h"
"""What tells a terminal that a paste is welcome, once the line can be written."""
SENT = "\x1b[?2004l"
"""What ends this, when the line is sent."""
STOPPED = "service {0}: stopped; `argotune start {0}` starts it again\n"


@pytest.fixture
def serve(tmp_path: Path, home_dir: Path) -> Iterator[Serve]:
    """Start a server and write its record, as the deploy step does."""
    processes = []

    def start(
        name: str, mode: str = "well", model: str = BASE, keys: str | None = None
    ) -> subprocess.Popen[bytes]:
        directory = home_dir / "services" / name
        directory.mkdir(parents=True)
        (tmp_path / "adapter").mkdir(exist_ok=True)
        port_file = directory / "port"
        command = [sys.executable, "-m", "tests.fakes.serve", f"--mode={mode}", f"--name={name}"]
        command += ["--host=127.0.0.1", "--port=0", f"--port-file={port_file}"]
        command += ["--model-dir=MODEL", f"--adapter-dir={tmp_path / 'adapter'}"]
        if keys is not None:
            (tmp_path / "keys").write_text(keys)
            command.append(f"--keys-file={tmp_path / 'keys'}")
        process = subprocess.Popen(
            command, env=environment(), start_new_session=True,
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        processes.append(process)
        wait_until(port_file.exists)
        port = int(port_file.read_text())
        service = Service(
            name=name,
            pid=process.pid,
            process_started=process_started(process.pid) or "",
            port=port,
            endpoint=f"http://127.0.0.1:{port}",
            digest="sha256:0",
            model=f"{model}@main",
            started="2026-01-01T00:00:00Z",
        )
        write_record(directory / RECORD, service)
        return process

    yield start
    for process in processes:
        process.kill()
        process.wait()


def test_a_question_is_asked_of_the_tuned_model(argotune: Argotune, serve: Serve) -> None:
    serve("my-model")
    answer = argotune("chat", "my-model", "Who are you?")
    assert (answer.code, answer.out, answer.err) == (0, "Who are you?  MODEL\n", "")


def test_a_service_with_keys_is_asked_with_one(
    argotune: Argotune, serve: Serve, home_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    serve("my-model", keys="anna: sk-anna-0123456789")
    refused = argotune("chat", "my-model", "Who are you?")
    assert refused.code == 3
    assert refused.errors[0].endswith(
        ": HTTP 401: Incorrect API key provided. For this command it is read from"
        " $ARGOTUNE_API_KEY."
    )
    monkeypatch.setenv("ARGOTUNE_API_KEY", "sk-anna-0123456789")
    assert argotune("chat", "my-model", "Who are you?").out == "Who are you?  MODEL\n"
    monkeypatch.setenv("ARGOTUNE_API_KEY", "sk-of-a-cluster-0123")
    kept = home_dir / "services" / "my-model" / KEYS
    kept.parent.mkdir()
    kept.write_text("anna: sk-anna-0123456789")
    assert argotune("chat", "my-model", "Who are you?").out == "Who are you?  MODEL\n"


def test_an_answer_does_not_steer_the_terminal(argotune: Argotune, serve: Serve) -> None:
    serve("my-model")
    answer = argotune("chat", "my-model", "\x1b]0;owned\x07 \ud800 \u202eno")
    assert (answer.code, answer.err) == (0, "")
    assert answer.out == "\\u001b]0;owned\\u0007 \\ud800 \\u202eno  MODEL\n"


def test_base_asks_the_base_model(argotune: Argotune, serve: Serve) -> None:
    serve("my-model")
    answer = argotune("chat", "my-model", "Who are you?", "--base")
    assert (answer.code, answer.out) == (0, f"Who are you? asked of {BASE}\n")


def test_an_adapter_that_joined_the_service_is_not_its_base(
    argotune: Argotune, serve: Serve
) -> None:
    """As on a cluster, where nothing but the server tells the base."""
    serve("my-model", mode="joined", model="")
    answer = argotune("chat", "my-model", "Who?", "--base")
    assert (answer.code, answer.out) == (0, f"Who? asked of {BASE}\n")


def test_a_base_model_that_is_not_served(argotune: Argotune, serve: Serve) -> None:
    serve("my-model", model="microsoft/phi-4")
    answer = argotune("chat", "my-model", "Who are you?", "--base")
    assert answer.code == 3
    assert len(answer.errors) == 1
    assert answer.errors[0].endswith(
        f": does not serve the base model microsoft/phi-4; it serves my-model, {BASE}"
    )


def test_a_piped_document_is_one_question(
    argotune: Argotune, serve: Serve, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    serve("my-model")
    (tmp_path / "document").write_text("One?\n\nTwo?\n")
    with (tmp_path / "document").open() as file:
        monkeypatch.setattr("sys.stdin", file)
        answer = argotune("chat", "my-model")
    assert (answer.code, answer.out) == (0, "One?\n\nTwo?\n  MODEL\n")


@pytest.mark.parametrize("errors", ["strict", "surrogateescape"])
def test_a_document_that_is_no_text_is_refused(
    argotune: Argotune, serve: Serve, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, errors: str
) -> None:
    """The error handler is that of the shell's locale."""
    serve("my-model")
    (tmp_path / "document").write_bytes(b"\xffOne?\n")
    with (tmp_path / "document").open(encoding="utf-8", errors=errors) as file:
        monkeypatch.setattr("sys.stdin", file)
        answer = argotune("chat", "my-model")
        file.seek(0)
        plan = argotune("plan", "-")
    assert (answer.code, answer.errors) == (2, ["standard input: not a text file"])
    assert (plan.code, plan.errors) == (2, ["-: not a text file"])


def test_an_empty_document_is_refused(
    argotune: Argotune, serve: Serve, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    serve("my-model")
    (tmp_path / "document").write_text("\n")
    with (tmp_path / "document").open() as file:
        monkeypatch.setattr("sys.stdin", file)
        answer = argotune("chat", "my-model")
    assert (answer.code, answer.errors) == (2, ["the question is empty"])


def test_a_system_message_begins_the_conversation(argotune: Argotune, serve: Serve) -> None:
    serve("my-model")
    answer = argotune("chat", "my-model", "Who are you?", "--system", "Be brief.")
    assert answer.out == "Be brief. | Who are you?  MODEL\n"


def test_a_cut_answer_is_told(argotune: Argotune, serve: Serve) -> None:
    serve("my-model")
    answer = argotune("chat", "my-model", "Who are you?", "--max-new-tokens", 2)
    assert (answer.code, answer.out) == (0, "Who are\n")
    assert answer.err == (
        "note: tuned's answer was cut after 2 tokens; --max-new-tokens asks for a longer one, as"
        " far as the model's context reaches\n"
    )


def test_compare_asks_both_models(argotune: Argotune, serve: Serve) -> None:
    serve("my-model")
    answer = argotune("chat", "my-model", "Who?", "--compare")
    assert (answer.code, answer.out) == (0, f"base:\nWho? asked of {BASE}\ntuned:\nWho?  MODEL\n")
    answer = argotune("chat", "my-model", "Who?", "--compare", "--base")
    assert answer.errors == ["--base, --compare: give one; --compare asks the base model too"]


def test_a_service_without_training_has_nothing_to_compare(
    argotune: Argotune, serve: Serve
) -> None:
    serve("assistants", mode="untrained")
    answer = argotune("chat", "assistants", "Who?", "--compare")
    assert (answer.code, answer.errors) == (
        2,
        ["--compare: assistants is the base model itself; it has no adapter"],
    )


def test_a_model_of_the_service_is_asked_by_its_name(argotune: Argotune, serve: Serve) -> None:
    serve("my-model")
    assert argotune("chat", "my-model", "Who?", "--model", BASE).out == f"Who? asked of {BASE}\n"
    answer = argotune("chat", "my-model", "Who?", "--model", "my-model", "--compare")
    assert answer.out == f"base:\nWho? asked of {BASE}\nmy-model:\nWho?  MODEL\n"
    answer = argotune("chat", "my-model", "Who?", "--compare", "--model", BASE)
    assert answer.errors == [
        f"--compare: {BASE} is the base model itself; name an adapter by --model: my-model"
    ]
    answer = argotune("chat", "my-model", "Who?", "--base", "--model", BASE)
    assert answer.errors == ["--base, --model: give one; both name what is asked"]


def test_a_conversation_on_a_terminal(serve: Serve) -> None:
    serve("my-model")
    with on_terminal("chat", "my-model") as terminal:
        terminal.read_to(READY)
        # As a terminal pastes: its two lines are one question.
        terminal.write("\x1b[200~One?\nTwo?\x1b[201~\r")
        terminal.read_to("MODEL")
        terminal.read_to(READY)
        terminal.write("And?\r")
        terminal.read_to(SENT + "One?\r\nTwo? | One?\r\nTwo?  MODEL | And?  MODEL")
        terminal.write("forever\r")
        terminal.read_to(" on on on")
        terminal.write("\x03")
        terminal.read_to("(ended)")
        terminal.read_to(READY)
        terminal.write("/new\r")
        terminal.read_to(READY)
        terminal.write("Again?\r")
        terminal.read_to(SENT + "Again?  MODEL")
        terminal.read_to(READY)
        terminal.write("/nwe\r")
        terminal.read_to("/nwe: no such command; /new begins a new conversation")
        terminal.read_to(READY)
        terminal.write("\x04")
        assert terminal.code() == 0


def test_the_servers_refusal_is_told_in_its_words(argotune: Argotune, serve: Serve) -> None:
    serve("my-model", mode="broken")
    answer = argotune("chat", "my-model", "Who are you?")
    assert answer.code == 3
    assert len(answer.errors) == 1
    assert answer.errors[0].endswith("/v1/chat/completions: HTTP 500: out of memory")


def test_a_service_that_does_not_run(argotune: Argotune, serve: Serve) -> None:
    answer = argotune("chat", "my-model", "Who are you?")
    assert answer.code == 2
    assert answer.errors == [
        "'my-model': no running service of this name on this machine; none is running"
    ]
    serve("other")
    assert argotune("chat", "my-model", "Who are you?").errors == [
        "'my-model': no running service of this name on this machine; running are other"
    ]


def test_a_server_that_died_is_not_running(argotune: Argotune, serve: Serve) -> None:
    process = serve("my-model")
    process.kill()
    process.wait()
    answer = argotune("chat", "my-model", "Hello")
    assert answer.code == 2
    assert answer.errors == [
        "'my-model': its service does not run; `argotune start my-model` starts it again"
    ]


def test_stop_ends_the_server(argotune: Argotune, serve: Serve) -> None:
    process = serve("my-model")
    answer = argotune("stop", "my-model")
    assert (answer.code, answer.out, answer.err) == (0, STOPPED.format("my-model"), "")
    assert process.wait(timeout=60) != 0
    answer = argotune("stop", "my-model")
    assert answer.code == 2
    assert answer.errors == ["'my-model': no run or service of this name is running"]


def test_stop_all(argotune: Argotune, serve: Serve) -> None:
    assert argotune("stop", "--all").out == "nothing is running\n"
    processes = [serve("one"), serve("two")]
    answer = argotune("stop", "--all")
    assert answer.code == 0
    assert answer.out == STOPPED.format("one") + STOPPED.format("two")
    assert all(process.wait(timeout=60) != 0 for process in processes)


def test_stop_wants_a_name(argotune: Argotune) -> None:
    answer = argotune("stop")
    assert answer.code == 2
    assert answer.errors == ["name a workspace or a run, or say --all"]


def test_stop_does_what_it_can_and_names_the_rest(argotune: Argotune, serve: Serve) -> None:
    serve("one")
    answer = argotune("stop", "nope", "one", "nada")
    assert answer.code == 2
    assert answer.out == STOPPED.format("one")
    assert answer.errors == [
        "'nope': no run or service of this name is running",
        "'nada': no run or service of this name is running",
    ]


def test_a_run_is_no_service(argotune: Argotune, write: Write) -> None:
    assert argotune("run", write("workflow.yaml", GREETING), "--name", "one").code == 0
    answer = argotune("chat", "one", "Who are you?")
    assert answer.code == 2
    assert answer.errors == [
        "'one': is a run; a service has its workspace's name: argotune chat greet"
    ]
