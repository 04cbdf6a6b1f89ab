"""Find e-mail addresses, keys and other secrets in texts by their published forms.

Values are counted and never kept: no log, record or page has them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow.compute as pc

from argotune.steps.dataset.conversations import Conversations, flags


@dataclass(frozen=True)
class Form:
    """How values of one kind are written."""

    kind: str
    """What a value is, in the plural."""
    pattern: str
    """In the syntax that Python and RE2 share. Repetitions are bounded, so that no text makes
    Python's search slow."""
    is_valid: Callable[[str], bool] = lambda value: True
    """What a pattern cannot say, such as a checksum."""
    rest: str = r"[A-Za-z0-9+/=_-]*"
    """Python's pattern of what follows the bounded part of a value, and is masked with it."""


def _is_real_address(address: str) -> bool:
    """Whether an e-mail address is outside the domains of RFC 2606, which are for examples."""
    domain = "." + address.rpartition("@")[2].lower()
    return not domain.endswith(
        (".example.com", ".example.net", ".example.org", ".example", ".test", ".invalid")
    )


def _has_luhn_digit(number: str) -> bool:
    """Whether the last digit is ISO/IEC 7812's check digit of the others."""
    digits = [int(each) for each in number if each.isdigit()]
    doubled = [sum(divmod(2 * each, 10)) for each in digits[-2::-2]]
    return (sum(digits[-1::-2]) + sum(doubled)) % 10 == 0


def _has_iban_remainder(number: str) -> bool:
    """Whether ISO 13616's check digits fit: read as a number, the rest by 97 is 1."""
    plain = number.replace(" ", "")
    moved = plain[4:] + plain[:4]
    return int("".join(str(int(each, 36)) for each in moved)) % 97 == 1


FORMS = (
    Form(
        "e-mail addresses",
        r"\b[A-Za-z0-9._%+-]{1,64}@(?:[A-Za-z0-9-]{1,63}\.){1,5}[A-Za-z]{2,24}\b",
        _is_real_address,
    ),
    # RFC 7468, and RFC 9580 for OpenPGP. Keys of Google's service accounts are such blocks too.
    Form(
        "private keys",
        r"-----BEGIN (?:[A-Z0-9]{2,12} ){0,3}PRIVATE KEY(?: BLOCK)?-----",
        rest=r"(?s:.*?-----END [A-Z0-9 ]{1,60}-----|.*)",
    ),
    # https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_identifiers.html
    Form("AWS access keys", r"\b(?:AKIA|ASIA)[A-Z2-7]{16}\b"),
    # https://cloud.google.com/docs/authentication/api-keys
    Form("Google API keys", r"\bAIza[0-9A-Za-z_-]{35}"),
    # https://learn.microsoft.com/azure/storage/common/storage-configure-connection-string
    Form("Azure storage keys", r"\bAccountKey=[A-Za-z0-9+/]{86}=="),
    # https://github.blog/engineering/behind-githubs-new-authentication-token-formats
    Form("GitHub tokens", r"\b(?:gh[pousr]_[A-Za-z0-9]{36,251}|github_pat_[A-Za-z0-9_]{82})"),
    # https://docs.gitlab.com/security/tokens/#token-prefixes
    Form("GitLab tokens", r"\bglpat-[A-Za-z0-9_-]{20}"),
    # https://docs.slack.dev/authentication/tokens
    Form("Slack tokens", r"\bxox[abeoprs]-[A-Za-z0-9]{1,16}-[A-Za-z0-9-]{8,200}"),
    # https://platform.openai.com/docs/api-reference/authentication; Anthropic's begin with sk-ant-.
    Form(
        "OpenAI or Anthropic keys",
        r"\bsk-(?:[A-Za-z0-9]{48}\b|(?:proj|svcacct|admin|ant-[a-z0-9]{3,12})-[A-Za-z0-9_-]{40,250})",
    ),
    # https://huggingface.co/docs/hub/security-tokens
    Form("Hugging Face tokens", r"\bhf_[A-Za-z0-9]{34}\b"),
    # https://docs.npmjs.com/about-access-tokens
    Form("npm tokens", r"\bnpm_[A-Za-z0-9]{36}\b"),
    # https://pypi.org/help/#apitoken
    Form("PyPI tokens", r"\bpypi-AgE[A-Za-z0-9_-]{50,250}"),
    # https://docs.stripe.com/keys
    Form("Stripe keys", r"\b[rs]k_live_[A-Za-z0-9]{24,250}"),
    # RFC 7519; both parts begin with `{"` in base64.
    Form(
        "JSON Web Tokens", r"\beyJ[A-Za-z0-9_-]{8,500}\.eyJ[A-Za-z0-9_-]{8,500}\.[A-Za-z0-9_-]{8}"
    ),
    Form(
        "payment card numbers",
        r"\b(?:[2456][0-9]{3}(?:[ -]?[0-9]{4}){3}|3[47][0-9]{2}[ -]?[0-9]{6}[ -]?[0-9]{5})\b",
        _has_luhn_digit,
    ),
    Form(
        "IBANs",
        r"\b[A-Z]{2}[0-9]{2}(?: ?[A-Z0-9]{4}){2,7}(?: ?[A-Z0-9]{1,3})?\b",
        _has_iban_remainder,
    ),
)
_COMPILED = {form.kind: re.compile(f"({form.pattern})({form.rest})", re.ASCII) for form in FORMS}
_ANY = "|".join(form.pattern for form in FORMS)


def count_sensitive(conversations: Conversations) -> Mapping[str, npt.NDArray[np.int64]]:
    """Number of values in each row, by kind; kinds without any are left out; arrays of (rows,)."""
    # RE2 goes once over all texts; Python looks only at the few in which something was found.
    suspicious = np.flatnonzero(flags(pc.match_substring_regex(conversations.contents, _ANY)))
    rows = np.repeat(np.arange(len(conversations.lengths)), conversations.lengths)
    counts: dict[str, npt.NDArray[np.int64]] = {}
    for message in suspicious.tolist():
        for kind, _, _ in _values(conversations.contents[message].as_py()):
            if kind not in counts:
                counts[kind] = np.zeros(len(conversations.lengths), dtype=np.int64)
            counts[kind][rows[message]] += 1
    return counts


def mask(text: str) -> str:
    """The text with the kind in brackets in place of each value, such as `[e-mail addresses]`."""
    parts: list[str] = []
    done = 0
    for kind, start, end in sorted(_values(text), key=lambda value: value[1]):
        if end > done:
            parts += [text[done:start], f"[{kind}]"]
            done = end
    return "".join([*parts, text[done:]])


def _values(text: str) -> Iterator[tuple[str, int, int]]:
    """Kind, first character and end of each value."""
    for form in FORMS:
        for match in _COMPILED[form.kind].finditer(text):
            if form.is_valid(match.group(1)):
                yield form.kind, match.start(), match.end()
