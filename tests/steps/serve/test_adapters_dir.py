from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from argotune.steps.contracts.serving import write_contract
from argotune.steps.serve.adapters_dir import AdaptersDir
from tests.fakes.engine import CONTRACT, FakeEngine


def put(directory: Path, name: str) -> None:
    """A whole adapter, renamed into place."""
    part = directory / f".{name}.part"
    part.mkdir()
    write_contract(part, CONTRACT)
    part.rename(directory / name)


@pytest.fixture
def engine() -> FakeEngine:
    return FakeEngine("demo")


def test_adapters_join_and_leave_with_their_directories(engine: FakeEngine, tmp_path: Path) -> None:
    adapters = AdaptersDir(tmp_path, engine, reserved="demo")

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
        assert await follow() == ["demo", "second"]

    asyncio.run(check())


def test_only_a_changed_adapter_is_loaded_again(
    engine: FakeEngine, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    adapters = AdaptersDir(tmp_path, engine, reserved="demo")
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
    adapters = AdaptersDir(directory, engine, reserved="demo")
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
    adapters = AdaptersDir(tmp_path, engine, reserved="demo")
    put(tmp_path, "demo")
    put(tmp_path, "first")
    asyncio.run(adapters.follow())
    (tmp_path / "first" / "serving.json").write_text("{")
    for _ in range(2):
        asyncio.run(adapters.follow())
    refusals = [record.message for record in caplog.records]
    assert refusals == [
        "adapter demo is refused: 'demo' is the name of the server's first adapter",
        "adapter first is refused, and the one before stays in service: "
        f"{tmp_path}/first/serving.json: not a serving contract: Input data was truncated",
    ]
    assert list(engine.adapters()) == ["demo", "first"]
