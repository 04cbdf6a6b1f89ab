from __future__ import annotations

import pytest

from argotune.steps.dataset.sensitive import FORMS, count_sensitive, mask
from tests.steps.dataset.conversation import conversations

# In two pieces each, so that scanners of this repository find no secret.
VALUES = {
    "e-mail addresses": "ann.lee+news@" + "mail.contoso.com",
    "private keys": "-----BEGIN RSA PRIVATE " + "KEY-----\nMIIEow\n-----END RSA PRIVATE KEY-----",
    "AWS access keys": "AKIA" + "IOSFODNN7EXAMPLE".replace("8", "2").replace("9", "3"),
    "Google API keys": "AIza" + "SyD-9tSrke72PouQMnMX-a7eZSW0jkFMBWY",
    "Azure storage keys": "AccountKey=" + "a1+/" * 21 + "b2==",
    "GitHub tokens": "ghp_" + "a1B2" * 9,
    "GitLab tokens": "glpat-" + "a1B2c" * 4,
    "Slack tokens": "xoxb-" + "123456789012-1234567890123-AbCdEfGhIjKl",
    "OpenAI or Anthropic keys": "sk-proj-" + "a1B2" * 12,
    "Hugging Face tokens": "hf_" + "aB" * 17,
    "npm tokens": "npm_" + "a1B2" * 9,
    "PyPI tokens": "pypi-" + "AgEIcHlwaS5vcmc" + "aB1_" * 12,
    "Stripe keys": "sk_live_" + "a1B2" * 6,
    "JSON Web Tokens": "eyJhbGciOiJIUzI1NiJ9." + "eyJzdWIiOiIxMjM0In0." + "SflKxwRJSMeKKF2Q",
    "payment card numbers": "4111 1111 " + "1111 1111",
    "IBANs": "GB82 WEST " + "1234 5698 7654 32",
}


def counted(*texts: str) -> dict[str, list[int]]:
    return {kind: rows.tolist() for kind, rows in count_sensitive(conversations(*texts)).items()}


def test_every_form_has_a_value_here() -> None:
    assert [form.kind for form in FORMS] == list(VALUES)


@pytest.mark.parametrize("kind", VALUES)
def test_value_is_counted_in_its_row_and_masked(kind: str) -> None:
    text = f"before {VALUES[kind]} after"
    assert counted("nothing here", text) == {kind: [0, 1]}
    assert mask(text) == f"before [{kind}] after"


@pytest.mark.parametrize(
    "text",
    [
        "@dataclass def f(a@b): 3 @ 4",
        "write to user@example.com or me@host.test",
        "4111 1111 1111 1112",  # the check digit is wrong
        "GB83 WEST 1234 5698 7654 32",  # so are these
        "sk-learn and hf_hub_download and AKIA",
        "a number 1234567890123456789",
    ],
)
def test_what_only_looks_alike_is_not_counted(text: str) -> None:
    assert counted(text) == {}
    assert mask(text) == text


def test_values_of_a_row_are_added_up_over_its_messages() -> None:
    address = VALUES["e-mail addresses"]
    found = count_sensitive(
        conversations([("user", f"{address} or {address}"), ("assistant", address)], "nothing")
    )
    assert {kind: rows.tolist() for kind, rows in found.items()} == {"e-mail addresses": [3, 0]}


def test_text_of_another_script_around_a_value_does_not_hide_it() -> None:
    assert counted(f"地址{VALUES['e-mail addresses']}。") == {"e-mail addresses": [1]}


def test_key_is_masked_to_its_end() -> None:
    cut_key, _, _ = VALUES["private keys"].partition("-----END")
    assert mask(f"before {cut_key}") == "before [private keys]"
    assert mask(f"{VALUES['JSON Web Tokens'] + 'x' * 2000} after") == "[JSON Web Tokens] after"


def test_values_that_overlap_are_masked_as_one() -> None:
    cut_key, _, _ = VALUES["private keys"].partition("-----END")
    assert mask(f"{cut_key} {VALUES['npm tokens']}") == "[private keys]"


def test_long_text_without_a_value_is_searched_in_linear_time() -> None:
    # Without bounds in the patterns this takes hours.
    assert counted("a." * 50_000 + "@ " + "A1 " * 20_000 + VALUES["npm tokens"]) == {
        "npm tokens": [1]
    }
