"""A judge: a model behind an API as OpenAI's that scores an answer.

The reply has to end with a line that has the score alone. Another reply scores 0 and says so in
the examples; where no reply has a score, the judge or its prompt is wrong, and the step fails.
"""

from __future__ import annotations

import json
import math
import re
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import httpx

from argotune.steps.common.errors import PermanentError, TransientError
from argotune.steps.common.printable import printable
from argotune.steps.common.urls import redact
from argotune.steps.contracts.checks import Judge
from argotune.steps.evaluate.checks.rows import AnsweredRow, Score, wrong
from argotune.steps.evaluate.params import JUDGE_VARIABLES

KEY_VARIABLE, BASE_URL_VARIABLE = JUDGE_VARIABLES
_OPENAI = "https://api.openai.com/v1"

_SLOT = re.compile(r"\{(prompt|answer|reference)\}")
# A sign is none of the marks around a score, or -1 would be one.
_SCORE = re.compile(
    r"[^\w+-]*(?:score[^\w+-]*)?(?P<score>\d+(?:\.\d+)?)(?:\s*/\s*(?P<of>\d+(?:\.\d+)?))?\W*", re.I
)
_RETRIED_STATUSES = frozenset({408, 409, 425, 429, 500, 502, 503, 504, 529})
_ATTEMPTS = 5
_MOST_PAUSE_SECONDS = 60.0
_MOST_REPLY_BYTES = 1 << 20
_TIMEOUT_SECONDS = 120.0
"""Of one connection or read; a judge that thinks sends nothing meanwhile."""


class _TryAgain(Exception):
    """The judge did not answer this time; `pause_seconds` is what it asked for."""

    def __init__(self, reason: str, pause_seconds: float | None = None) -> None:
        self.pause_seconds = pause_seconds
        super().__init__(reason)


@dataclass(frozen=True, kw_only=True)
class JudgeKey:
    """The key of an API, which is sent to that API alone.

    Who submits a run names the judge and must not get the key of the namespace by that.
    """

    text: str
    base_url: str = _OPENAI

    def for_url(self, url: str) -> str | None:
        """The key if the judge is behind its API."""
        return self.text if url.rstrip("/") == self.base_url.rstrip("/") else None


def read_key(environment: Mapping[str, str]) -> JudgeKey | None:
    """The key and its API among the variables; None without a key.

    Raises PermanentError for a key that no header can carry.
    """
    text = environment.get(KEY_VARIABLE, "").strip()
    if not text.isascii() or not text.isprintable():
        raise PermanentError(
            f"{KEY_VARIABLE} has characters that no HTTP header takes; put the key there as the "
            "API gave it"
        )
    base_url = environment.get(BASE_URL_VARIABLE, "").strip() or _OPENAI
    return JudgeKey(text=text, base_url=base_url) if text else None


class JudgeClient:
    """Asks one judge about answers; threads may share it."""

    def __init__(
        self,
        check: Judge,
        transport: httpx.BaseTransport,
        *,
        key: JudgeKey | None = None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._check = check
        self._sleep = sleep
        self._scored, self._asked = 0, 0
        self._last_reply = ""
        self._lock = threading.Lock()
        self._key = key
        sent = key.for_url(check.url) if key else None
        headers = {"Authorization": f"Bearer {sent}"} if sent else {}
        self._url = f"{check.url.rstrip('/')}/chat/completions"
        # Redirects are not followed: they would carry the key to another server.
        self._client = httpx.Client(
            transport=transport, headers=headers, timeout=_TIMEOUT_SECONDS, trust_env=False
        )

    def score(self, row: AnsweredRow) -> Score:
        """Ask for the score of one answer.

        Raises TransientError if the judge does not answer, PermanentError if it refuses.
        """
        reply = self._ask(fill_in(self._check.prompt, row))
        value = read_score(reply, self._check.scale)
        with self._lock:
            self._asked += 1
            self._scored += value is not None
            self._last_reply = reply
        if value is None:
            return wrong(f"the judge gave no score: {printable(reply[-200:])!r}")
        share = value / self._check.scale
        return Score(share, f"the judge gave {value:g} of {self._check.scale:g}")

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def require_scores(self) -> None:
        """Raise PermanentError if the judge was asked, and no reply at all had a score."""
        if self._asked and not self._scored:
            raise PermanentError(
                f"check {self._check.title}: none of {self._asked} replies of "
                f"{self._check.model} ends with a score from 0 to {self._check.scale:g}; the last "
                f"one ends {printable(self._last_reply[-200:])!r}; mend the prompt, or take a "
                "larger judge"
            )

    def _ask(self, question: str) -> str:
        failures = 0
        while True:
            try:
                return self._try(question)
            except (_TryAgain, httpx.TransportError) as failure:
                failures += 1
                reason = str(failure) or type(failure).__name__
                if failures == _ATTEMPTS:
                    raise TransientError(
                        f"the judge at {redact(self._url)} gave no answer: {reason}"
                    ) from failure
                self._sleep(_pause_seconds(failure, failures))

    def _try(self, question: str) -> str:
        system = (
            f"You score an answer. The score is a number from 0 to {self._check.scale:g}. End your "
            "reply with a line that has the score alone."
        )
        body: dict[str, object] = {
            "model": self._check.model,
            "messages": [
                {"role": "system", "content": system},
                {"role": "user", "content": question},
            ],
        }
        if self._check.temperature is not None:
            body["temperature"] = self._check.temperature
        with self._client.stream("POST", self._url, json=body) as response:
            text = _bounded_body(response)
            if not response.is_success:
                self._refuse(response, text)
            return self._content(text)

    def _refuse(self, response: httpx.Response, text: bytes) -> None:
        said = printable(text[:300].decode(errors="replace"))
        status = f"{response.status_code} {response.reason_phrase}".rstrip()
        if response.status_code in _RETRIED_STATUSES:
            wait = response.headers.get("Retry-After", "")
            raise _TryAgain(f"{status}: {said}", float(wait) if wait.isdecimal() else None)
        advice = {
            401: self._key_advice(),
            403: f"may the key in {KEY_VARIABLE} use this model?",
            404: "is the URL the base of the API, with /v1, and the model's name right?",
        }.get(response.status_code, "is it an API as OpenAI's?")
        raise PermanentError(
            f"check {self._check.title}: the judge at {redact(self._url)} answered {status}: "
            f"{said}; {advice}"
        )

    def _key_advice(self) -> str:
        if self._key is None:
            return f"put the API's key as {KEY_VARIABLE} into the Secret argotune-judge"
        if self._key.for_url(self._check.url) is None:
            return (
                f"{KEY_VARIABLE} is sent to {redact(self._key.base_url)} alone; name this URL as "
                f"{BASE_URL_VARIABLE} beside it in the Secret argotune-judge"
            )
        return f"is {KEY_VARIABLE} of the Secret argotune-judge right?"

    def _content(self, text: bytes) -> str:
        try:
            content = json.loads(text)["choices"][0]["message"]["content"]
        except (ValueError, KeyError, IndexError, TypeError, RecursionError):
            content = None
        if not isinstance(content, str):
            raise PermanentError(
                f"check {self._check.title}: the judge at {redact(self._url)} answered something "
                f"other than OpenAI's API does: {printable(text[:300].decode(errors='replace'))}"
            )
        return content


def fill_in(prompt: str, row: AnsweredRow) -> str:
    """The prompt with the row's texts in its slots; other braces stay, as those of JSON."""
    texts = {"prompt": row.prompt, "answer": row.answer, "reference": row.reference}
    return _SLOT.sub(lambda slot: texts[slot[1]], prompt)


def read_score(reply: str, scale: float) -> float | None:
    """The score in the reply's last line, from 0 to `scale`; None if it has none.

    Marks around it are ignored: **8**, Score: 8, 8/10. A score of another scale is none.
    """
    lines = reply.strip().splitlines()
    found = _SCORE.fullmatch(lines[-1]) if lines else None
    if found is None or found["of"] not in (None, f"{scale:g}"):
        return None
    score = float(found["score"])
    return score if math.isfinite(score) and score <= scale else None


def _bounded_body(response: httpx.Response) -> bytes:
    body = b""
    for chunk in response.iter_bytes(1 << 16):
        body += chunk
        if len(body) > _MOST_REPLY_BYTES:
            raise PermanentError(
                f"the judge at {redact(str(response.url))} sends more than "
                f"{_MOST_REPLY_BYTES >> 20} MiB as one reply; is it an API as OpenAI's?"
            )
    return body


def _pause_seconds(failure: Exception, failures: int) -> float:
    asked = failure.pause_seconds if isinstance(failure, _TryAgain) else None
    return min(2.0 ** (failures - 1) if asked is None else asked, _MOST_PAUSE_SECONDS)
