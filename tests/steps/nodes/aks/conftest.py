from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fakes.tls import self_signed
from tests.steps.nodes.aks import azure as fake


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return self_signed(tmp_path_factory.mktemp("tls"), ["127.0.0.1"])


@pytest.fixture
def azure(certificate: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> Iterator[fake.Azure]:
    """An AKS cluster without GPU nodes."""
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificate[0]))
    with fake.azure(certificate) as made:
        yield made
