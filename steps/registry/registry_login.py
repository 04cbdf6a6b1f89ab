"""Registry logins from a Docker config.json, the content of a dockerconfigjson secret.

The file is checked before skopeo reads it. If the file has no login for the registry, skopeo
continues without one, and the registry's error then names neither the file nor the login.
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
    """Raise PermanentError unless a config.json's text has a usable login for the registry.

    `where` names the text in messages. `find_program` finds a credential helper on the machine
    that uses the login.
    """
    config = _parse(text, where)
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
    """The registries that a config.json has logins for. Raises PermanentError if it is invalid."""
    return sorted(map(_host, _section(_parse(text, where), "auths", where)))


def describe(auth_file: Path | None, secret: str | None) -> str:
    """The name of a login for messages: its secret, if known, and its file."""
    if auth_file is None:
        return "no login file (no push or pull secret was given)"
    return f"secret {secret} ({auth_file})" if secret else f"login file {auth_file}"


def _parse(text: bytes, where: str) -> Mapping[str, Any]:
    try:
        config = json.loads(text)
    except (ValueError, RecursionError):
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
            f"{where} uses the program {program} for registry {registry}, which is not installed; "
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
    """The host of a key of auths: Docker writes HOST or https://HOST/v1/."""
    return key.partition("://")[2].partition("/")[0] if "://" in key else key.partition("/")[0]
