"""What the requests for OpenAI's two kinds of completions have in common."""

from __future__ import annotations

from typing import Self

from pydantic import model_validator

from argotune.steps.serve.parameters import (
    MostAnswers,
    RequestBody,
    Seed,
    StopTexts,
    StrictModel,
    Temperature,
    TopP,
)


class StreamOptions(StrictModel):
    """Options of a streamed answer."""

    include_usage: bool | None = None
    """Whether a last chunk says how many tokens there were."""
    include_obfuscation: bool | None = None
    """Accepted without effect: no chunk is padded."""


class OpenAIBody(RequestBody):
    """A request for one or several answers of a model, whole or as a stream."""

    model: str
    temperature: Temperature | None = None
    top_p: TopP | None = None
    seed: Seed | None = None
    """Equal seeds give equal answers; the second of n answers has the next seed, and so on."""
    n: MostAnswers | None = None
    """Number of answers."""
    stop: StopTexts | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None

    @model_validator(mode="after")
    def _check_stream_options(self) -> Self:
        if self.stream_options is not None and not self.stream:
            raise ValueError("stream_options needs stream: true")
        return self

    @property
    def wants_usage(self) -> bool:
        """Whether a streamed answer ends with its counts of tokens."""
        return bool(self.stream_options and self.stream_options.include_usage)
