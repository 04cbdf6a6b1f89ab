"""Logins of registries: the Docker config.json that a dockerconfigjson secret holds.

It is checked before skopeo reads it, because skopeo goes on without a login where the file
lacks the registry, and the registry then answers something that names neither.
"""

from __future__ import annotations

import base64
import binascii
import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from argotune.steps.common.errors import PermanentError

_DOCKER_HUB = ("docker.io", "index.docker.io", "registry-1.docker.io")


def check_login(auth_file: Path, registry: str, *, secret: str | None = None) -> None:
    """Raise PermanentError unless the file has a usable login for the registry.

    The message names the file, its secret and the registries that it has, never a password.
    """
    check_config(auth_file.read_bytes(), registry, describe(auth_file, secret))


def check_config(
    text: bytes,
    registry: str,
    where: str,
    *,
    find_program: Callable[[str], str | None] = shutil.which,
) -> None:
    """The same of a config.json's text; `where` is how the message names it, and `find_program`
    looks for credential helpers where the login will be used."""
    config = _parsed(text, where)
    helper = _section(config, "credHelpers", where).get(registry)
    if helper is not None:
        _check_helper(str(helper), registry, where, find_program)
        return
    logins = {_host(key): login for key, login in _section(config, "auths", where).items()}
    if registry in _DOCKER_HUB:
        registry = next((host for host in _DOCKER_HUB if host in logins), registry)
    if registry not in logins:
        has = ", ".join(sorted(logins)) or "none"
        raise PermanentError(f"{where} has no login for registry {registry}; it has {has}")
    problem = _login_problem(logins[registry])
    if problem is not None:
        raise PermanentError(f"{where}, registry {registry}: {problem}")


def registries_of(text: bytes, where: str) -> list[str]:
    """The registries that a config.json has logins for. Raises PermanentError when it is none."""
    return sorted(map(_host, _section(_parsed(text, where), "auths", where)))


def describe(auth_file: Path | None, secret: str | None) -> str:
    """How messages name a login: by its secret, where it has one, and by its file."""
    if auth_file is None:
        return "no login file (no push or pull secret was given)"
    return f"secret {secret} ({auth_file})" if secret else f"login file {auth_file}"


def _parsed(text: bytes, where: str) -> Mapping[str, Any]:
    try:
        config = json.loads(text)
    except ValueError:
        # The parser's message would quote the text, which holds passwords.
        raise PermanentError(f"{where} is not JSON; it must be a Docker config.json") from None
    if not isinstance(config, dict):
        raise PermanentError(f"{where} is not a JSON object; it must be a Docker config.json")
    return config


def _section(config: Mapping[str, Any], name: str, where: str) -> Mapping[str, Any]:
    section = config.get(name) or {}
    if not isinstance(section, dict):
        raise PermanentError(f"{where}: {name!r} is not a JSON object")
    return section


def _check_helper(
    helper: str, registry: str, where: str, find_program: Callable[[str], str | None]
) -> None:
    program = f"docker-credential-{helper}"
    if find_program(program) is None:
        raise PermanentError(
            f"{where} leaves registry {registry} to the program {program}, which is not here; "
            "put the login itself under auths"
        )


def _login_problem(login: object) -> str | None:
    if not isinstance(login, dict):
        return "its login is not a JSON object"
    if login.get("identitytoken"):
        return None
    if not login.get("auth"):
        return "its login has no 'auth', the base64 of USER:PASSWORD"
    try:
        decoded = base64.b64decode(str(login["auth"]), validate=True).decode()
    except (binascii.Error, UnicodeDecodeError):
        return "its 'auth' is not base64"
    user, colon, password = decoded.partition(":")
    if not (user and colon and password.rstrip("\0")):
        return "its 'auth' is not the base64 of USER:PASSWORD"
    return None


def _host(key: str) -> str:
    """Docker writes the host alone, or as https://HOST/v1/."""
    return key.partition("://")[2].partition("/")[0] if "://" in key else key.partition("/")[0]
