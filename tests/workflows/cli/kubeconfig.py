"""A kubeconfig for the fake of an API server."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml


def use_kubeconfig(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, server: str) -> None:
    """A kubeconfig of two contexts; the current one works in namespace team-a."""
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "first",
        "clusters": [{"name": "cluster", "cluster": {"server": server}}],
        "users": [{"name": "user", "user": {}}],
        "contexts": [
            {"name": name, "context": {"cluster": "cluster", "user": "user", "namespace": space}}
            for name, space in (("first", "team-a"), ("second", "team-b"))
        ],
    }
    path = tmp_path / "kubeconfig"
    path.write_text(yaml.safe_dump(config))
    monkeypatch.setenv("KUBECONFIG", str(path))
