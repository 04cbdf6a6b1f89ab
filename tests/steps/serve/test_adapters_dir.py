from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from argotune.steps.contracts.served import ADAPTER_HEADER, DIGEST_FILE
from argotune.steps.contracts.serving import write_contract
from argotune.steps.serve.adapters_dir import AdaptersDir
from argotune.steps.serve.app import make_app
from argotune.steps.serve.service import Service
from tests.fakes.engine import CONTRACT, FakeEngine
from tests.steps.serve.conftest import ask, make_service, question

DIGEST = f"sha256:{'5' * 64}"


def follower(directory: Path, engine: FakeEngine, service: Service | None = None) -> AdaptersDir:
    service = service or make_service(engine)
    return AdaptersDir(directory, engine, reserved={"demo"}, note_digest=service.note_digest)


def put(directory: Path, name: str, *, digest: str | None = None) -> None:
    """A whole adapter, renamed into place."""
    part = directory / f".{name}.part"
    part.mkdir()
    write_contract(part, CONTRACT)
    if digest is not None:
        (part / DIGEST_FILE).write_text(f"{digest}\n")
    part.rename(directory / name)


@pytest.fixture
def engine() -> FakeEngine:
    return FakeEngine("demo")


def test_adapters_join_and_leave_with_their_directories(engine: FakeEngine, tmp_path: Path) -> None:
    adapters = follower(tmp_path, engine)

    async def follow() -> list[str]:
        await adapters.follow()
        await asyncio.sleep(0)
        return list(engine.adapters())

    async def check() -> None:
        assert await follow() == ["demo"]
        put(tmp_path, "first")
        put(tmp_path, "second")
        (tmp_path / "half").mkdir()
        (tmp_path / "README.md").write_text("A file is no adapter.")
        assert await follow() == ["demo", "first", "second"]
        (tmp_path / "first").rename(tmp_path / ".first")
        # Perhaps another one is just renamed into its place.
        assert await follow() == ["demo", "first", "second"]
        assert await follow() == ["demo", "second"]

    asyncio.run(check())


def test_only_a_changed_adapter_is_loaded_again(
    engine: FakeEngine, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    adapters = follower(tmp_path, engine)
    put(tmp_path, "first")
    for _ in range(2):
        asyncio.run(adapters.follow())
    assert caplog.text.count("adapter added name=first") == 1
    (tmp_path / "first").rename(tmp_path / ".old")
    put(tmp_path, "first")
    asyncio.run(adapters.follow())
    assert caplog.text.count("adapter added name=first") == 2
    assert "removed" not in caplog.text


def test_a_failure_is_said_and_the_directory_is_followed_on(
    engine: FakeEngine, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    directory = tmp_path / "adapters"
    adapters = follower(directory, engine)
    asyncio.run(adapters.follow())
    (record,) = caplog.records
    assert record.message.startswith(f"{directory} is not followed now: FileNotFoundError: ")
    directory.mkdir()
    put(directory, "first")
    asyncio.run(adapters.follow())
    assert list(engine.adapters()) == ["demo", "first"]


def test_what_is_refused_is_said_once_and_takes_nothing_out_of_service(
    engine: FakeEngine, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    adapters = follower(tmp_path, engine)
    put(tmp_path, "demo")
    put(tmp_path, "first")
    asyncio.run(adapters.follow())
    (tmp_path / "first" / "serving.json").write_text("{")
    for _ in range(2):
        asyncio.run(adapters.follow())
    refusals = [record.message for record in caplog.records]
    assert refusals == [
        "adapter demo is refused: 'demo' is the name of what the server was started with",
        "adapter first is refused, and the one before stays in service: "
        f"{tmp_path}/first/serving.json: not a serving contract: Input data was truncated",
    ]
    assert list(engine.adapters()) == ["demo", "first"]


def test_a_reply_names_the_image_of_an_added_adapter_as_long_as_it_is_known(
    engine: FakeEngine, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    service = make_service(engine)
    adapters = follower(tmp_path, engine, service)
    app = make_app(service, max_body_bytes=4096)
    put(tmp_path, "first", digest=DIGEST)
    put(tmp_path, "wrong", digest="latest")
    asyncio.run(adapters.follow())
    assert f"adapter wrong is refused: {tmp_path}/wrong/image-digest: 'latest' is" in caplog.text
    named, base, wrong = ask(
        app, *(question(model=name) for name in ("first", "acme/random", "wrong"))
    )
    assert named.headers[ADAPTER_HEADER] == DIGEST
    assert (base.headers.get(ADAPTER_HEADER), wrong.status_code) == (None, 404)
    (tmp_path / "first").rename(tmp_path / ".old")
    put(tmp_path, "first")
    asyncio.run(adapters.follow())
    (unnamed,) = ask(app, question(model="first"))
    assert unnamed.status_code == 200
    assert ADAPTER_HEADER not in unnamed.headers


def test_a_server_that_ends_looks_no_more(
    engine: FakeEngine, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    adapters = follower(tmp_path / "gone", engine)
    asyncio.run(adapters.follow())
    assert "is not followed now: FileNotFoundError" in caplog.text
    caplog.clear()
    adapters.end()
    asyncio.run(adapters.follow())
    assert caplog.text == ""
