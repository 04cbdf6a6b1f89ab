from __future__ import annotations

from collections.abc import Iterator

import pytest

from argotune.steps.contracts.training_plan import Data
from tests.fakes.http import FileServer, file_server
from tests.fakes.plans import small_plan


@pytest.fixture
def server() -> Iterator[FileServer]:
    with file_server() as files:
        yield files


@pytest.fixture
def data() -> Data:
    return small_plan().data
