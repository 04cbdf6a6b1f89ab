from __future__ import annotations

import logging
from pathlib import Path

import pytest

from argotune.steps.common.log_files import LogFiles


@pytest.fixture
def logger() -> logging.Logger:
    return logging.Logger("argotune.example")


def test_the_end_is_there_before_the_step_ends(tmp_path: Path, logger: logging.Logger) -> None:
    """A process that the kernel kills has no last word."""
    logger.addHandler(LogFiles("tune", outputs_dir=tmp_path, logs_dir=None))
    logger.info("step 1")
    assert (tmp_path / "log").read_text().endswith("INFO step 1\n")
    logger.info("step 2")
    assert (tmp_path / "log").read_text().endswith("INFO step 2\n")
    assert [path.name for path in tmp_path.iterdir()] == ["log"]


def test_the_end_is_fifty_lines_and_the_volume_has_all(
    tmp_path: Path, logger: logging.Logger
) -> None:
    logger.addHandler(LogFiles("tune", outputs_dir=tmp_path / "out", logs_dir=tmp_path / "logs"))
    for number in range(60):
        logger.info("step %d", number)
    assert len((tmp_path / "logs" / "tune.log").read_text().splitlines()) == 60
    tail = (tmp_path / "out" / "log").read_text().splitlines()
    assert len(tail) == 50
    assert tail[0].endswith("step 10")


def test_a_line_is_cut_before_it_is_too_long_for_a_result(
    tmp_path: Path, logger: logging.Logger
) -> None:
    logger.addHandler(LogFiles("tune", outputs_dir=tmp_path, logs_dir=None))
    logger.info("x" * 100_000)
    assert len((tmp_path / "log").read_text()) == 2001


def test_a_step_that_ended_well_has_an_empty_one(tmp_path: Path, logger: logging.Logger) -> None:
    files = LogFiles("tune", outputs_dir=tmp_path, logs_dir=None)
    logger.addHandler(files)
    logger.info("step 1")
    files.succeed()
    assert (tmp_path / "log").read_text() == ""
