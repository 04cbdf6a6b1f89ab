"""A cluster for the commands that install: a fake of its API server, named by a kubeconfig."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import yaml

from tests.fakes.apply import ApiServer, serving

RESTRICTED = {"pod-security.kubernetes.io/enforce": "restricted"}


@contextmanager
def api_server(monkeypatch: pytest.MonkeyPatch, directory: Path) -> Iterator[ApiServer]:
    """A server with the restricted namespace team-a, in which the kubeconfig works."""
    server = ApiServer()
    server.add_namespace("team-a", **RESTRICTED)
    with serving(server):
        config = {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "here",
            "clusters": [{"name": "cluster", "cluster": {"server": server.url}}],
            "users": [{"name": "user", "user": {}}],
            "contexts": [
                {
                    "name": "here",
                    "context": {"cluster": "cluster", "user": "user", "namespace": "team-a"},
                }
            ],
        }
        path = directory / "kubeconfig"
        path.write_text(yaml.safe_dump(config))
        monkeypatch.setenv("KUBECONFIG", str(path))
        yield server
