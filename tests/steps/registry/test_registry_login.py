from __future__ import annotations

import base64
import json
from pathlib import Path

import pytest

from argotune.steps.common.errors import PermanentError
from argotune.steps.registry.registry_login import check_config, check_login, registries_of

AUTH = base64.b64encode(b"user:pass").decode()


def problem(tmp_path: Path, content: object, registry: str = "acr.io") -> str | None:
    """What is said about a login file, with the file's name shortened."""
    path = tmp_path / "config.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    try:
        check_login(path, registry, secret="acr-push")
    except PermanentError as error:
        return str(error).replace(f"secret acr-push ({path})", "SECRET")
    return None


@pytest.mark.parametrize(
    ("registry", "auths"),
    [
        ("acr.io", {"acr.io": {"auth": AUTH}}),
        ("acr.io", {"https://acr.io/v1/": {"auth": AUTH}}),
        ("acr.io", {"acr.io": {"auth": "", "identitytoken": "t"}}),
        ("docker.io", {"https://index.docker.io/v1/": {"auth": AUTH}}),
        ("r.io:5000", {"other.io": {"auth": AUTH}, "r.io:5000": {"auth": AUTH}}),
    ],
)
def test_logins_that_skopeo_can_use(tmp_path: Path, registry: str, auths: object) -> None:
    assert problem(tmp_path, {"auths": auths}, registry) is None


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{no json", "SECRET is not JSON; it must be a Docker config.json"),
        ("[" * 100_000, "SECRET is not JSON; it must be a Docker config.json"),
        ("[]", "SECRET is not a JSON object; it must be a Docker config.json"),
        ({"auths": []}, "SECRET has no login for registry acr.io; it has none"),
        ({"auths": ["acr.io"]}, "SECRET: 'auths' is not a JSON object"),
        (
            {"auths": {"b.io": {"auth": AUTH}, "a.io": {"auth": AUTH}}},
            "SECRET has no login for registry acr.io; it has a.io, b.io",
        ),
        (
            {"auths": {"acr.io": {"username": "user", "password": "geheim"}}},
            "SECRET, registry acr.io: its login has no 'auth', the base64 of USER:PASSWORD",
        ),
        (
            {"auths": {"acr.io": {"auth": "!!"}}},
            "SECRET, registry acr.io: its 'auth' is not base64",
        ),
        (
            {"auths": {"acr.io": {"auth": base64.b64encode(b"geheim").decode()}}},
            "SECRET, registry acr.io: its 'auth' is not the base64 of USER:PASSWORD",
        ),
        (
            {"auths": {"acr.io": "geheim"}},
            "SECRET, registry acr.io: its login is not a JSON object",
        ),
        (
            {"credHelpers": {"acr.io": "no-such-helper"}},
            "SECRET uses the program docker-credential-no-such-helper for registry acr.io, which "
            "is not installed; put the login itself under auths",
        ),
    ],
)
def test_what_is_wrong_with_a_login_is_said_without_it(
    tmp_path: Path, content: object, message: str
) -> None:
    said = problem(tmp_path, content)
    assert said == message
    assert "geheim" not in said


def test_a_helper_is_looked_for_where_the_login_will_be_used() -> None:
    text = json.dumps({"credHelpers": {"acr.io": "any"}}).encode()
    check_config(text, "acr.io", "SECRET", find_program=lambda program: f"/bin/{program}")
    with pytest.raises(PermanentError, match="uses the program docker-credential-any"):
        check_config(text, "acr.io", "SECRET", find_program=lambda program: None)


def test_the_registries_of_a_login_file() -> None:
    text = json.dumps({"auths": {"https://index.docker.io/v1/": {}, "acr.io": {}}}).encode()
    assert registries_of(text, "SECRET") == ["acr.io", "index.docker.io"]
