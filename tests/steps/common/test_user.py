from __future__ import annotations

import getpass

import pytest

from argotune.steps.common.user import user_name


def test_a_user_whom_the_system_does_not_know_has_no_name(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown() -> str:
        raise KeyError("getpwuid(): uid not found: 12345")

    monkeypatch.setattr(getpass, "getuser", unknown)
    assert user_name() == ""
