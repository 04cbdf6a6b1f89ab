import io
import logging
import sys
from collections.abc import Iterator

import pytest

from argotune.steps.common import log
from argotune.steps.common.errors import Interrupted
from argotune.steps.common.log import line


@pytest.fixture
def root_handlers() -> Iterator[None]:
    """The root logger as it was before."""
    root = logging.getLogger()
    before, level = root.handlers[:], root.level
    yield
    root.handlers[:] = before
    root.setLevel(level)
    logging.captureWarnings(False)


class Stopped(io.StringIO):
    """A stream at which the signal to stop arrives."""

    def write(self, text: str) -> int:
        raise Interrupted("stopped")


@pytest.mark.usefixtures("root_handlers")
def test_the_order_to_stop_is_not_lost_in_a_log_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", Stopped())
    log.set_up()
    with pytest.raises(Interrupted):
        log.event(logging.getLogger("argotune"), "waiting")


def test_values_with_spaces_are_quoted_and_floats_are_short() -> None:
    assert line("saved", path="/a/b", loss=0.123456789, note='say "hi"') == (
        'saved path=/a/b loss=0.123457 note="say \\"hi\\""'
    )


def test_a_value_cannot_forge_a_second_line() -> None:
    assert "\n" not in line("read", name="x\nERROR forged")
