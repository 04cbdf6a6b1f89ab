"""Which login of a person a command takes along."""

from __future__ import annotations

from pathlib import Path

import pytest

from argotune.workflows.cli.login import Login


def test_the_file_that_the_environment_names_is_taken(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("REGISTRY_AUTH_FILE", raising=False)
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    of_docker, own, given = (tmp_path / name for name in ("config.json", "own.json", "given.json"))
    for path in (of_docker, own, given):
        path.write_text("{}")

    def taken(login: Login) -> tuple[Path | None, Path | None]:
        """By skopeo, which looks by itself where it is None, and by a step, which does not."""
        with login.registry() as registry:
            return registry.auth_file, login.auth_file_of_steps

    assert taken(Login()) == (of_docker, of_docker)
    monkeypatch.setenv("REGISTRY_AUTH_FILE", str(own))
    assert taken(Login()) == (None, own)
    assert taken(Login(auth_file=given)) == (given, given)
