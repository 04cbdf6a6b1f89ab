"""vLLM's own client: the one module that imports vLLM."""

from __future__ import annotations

import uuid
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import aclosing
from typing import Any

from vllm import AsyncEngineArgs, SamplingParams
from vllm.config import StructuredOutputsConfig
from vllm.inputs import tokens_input
from vllm.lora.request import LoRARequest
from vllm.sampling_params import RequestOutputKind, StructuredOutputsParams
from vllm.v1.engine.async_llm import AsyncLLM

from argotune.steps.common.errors import PermanentError
from argotune.steps.serve.engine.interface import EngineError, Question
from argotune.steps.vllm.engine import Chosen, Lora

_GRAMMARS = "guidance"
"""The backend that takes grammars in llguidance's form."""


class VllmClient:
    """See engine.Vllm."""

    def __init__(self, llm: AsyncLLM) -> None:
        self._llm = llm

    @property
    def has_ended(self) -> bool:
        """Whether it can answer no more."""
        return bool(self._llm.errored)

    @property
    def max_length(self) -> int:
        """Tokens of question and answer for which there is memory."""
        return int(self._llm.model_config.max_model_len)

    async def generate(
        self, question: Question, stop_token_ids: Sequence[int], lora: Lora | None
    ) -> AsyncGenerator[Sequence[Chosen]]:
        """Yield the tokens of an answer as they come, its stop token too."""
        outputs = self._llm.generate(
            tokens_input(list(question.prompt)),
            sampling_params(question, stop_token_ids),
            uuid.uuid4().hex,
            lora_request=None if lora is None else _request(lora),
        )
        # Closed before its end, it has vLLM end the answer too.
        async with aclosing(outputs) as found:
            async for output in found:
                (completion,) = output.outputs
                if completion.finish_reason in ("abort", "error"):
                    raise EngineError(f"vLLM ended the answer: {completion.finish_reason}")
                logprobs = completion.logprobs or [{}] * len(completion.token_ids)
                yield [
                    _chosen(token, each)
                    for token, each in zip(completion.token_ids, logprobs, strict=True)
                ]

    async def add_lora(self, lora: Lora) -> None:
        """Load an adapter."""
        await self._llm.add_lora(_request(lora))

    async def remove_lora(self, lora: Lora) -> None:
        """Forget an adapter."""
        await self._llm.remove_lora(lora.number)

    def close(self) -> None:
        """End vLLM's processes."""
        self._llm.shutdown()


def starter(arguments: Mapping[str, Any]) -> Callable[[], VllmClient]:
    """What starts vLLM with these arguments; it raises PermanentError where vLLM cannot start."""

    def start() -> VllmClient:
        args = AsyncEngineArgs(
            **arguments, structured_outputs_config=StructuredOutputsConfig(backend=_GRAMMARS)
        )
        try:
            return VllmClient(AsyncLLM.from_engine_args(args))
        # vLLM has errors of many kinds, and the reason is often in its processes' logs alone.
        except Exception as error:
            reason = str(error).partition("\n")[0] or type(error).__name__
            raise PermanentError(
                f"vLLM cannot serve {arguments['model']}: {reason}; the log before has its words. "
                "Where the GPU's memory is too small, serve on one with more, or on transformers "
                "with --load-in-4bit"
            ) from error

    return start


def sampling_params(question: Question, stop_token_ids: Sequence[int]) -> SamplingParams:
    """VLLM's parameters of a question; its texts and stop texts are found out by the server."""
    constraint = question.constraint
    return SamplingParams(
        temperature=question.sampling.temperature,
        top_p=question.sampling.top_p,
        seed=question.sampling.seed,
        max_tokens=question.max_new_tokens,
        # The serving contract's alone: not what the base model's tokenizer takes for an end.
        ignore_eos=True,
        stop_token_ids=list(stop_token_ids),
        logprobs=question.top_logprobs,
        detokenize=False,
        output_kind=RequestOutputKind.DELTA,
        structured_outputs=None
        if constraint is None
        else StructuredOutputsParams(grammar=constraint.grammar),
    )


def _request(lora: Lora) -> LoRARequest:
    # Numbers tell adapters apart, and a name may be given again.
    return LoRARequest(f"{lora.number}-{lora.name}", lora.number, str(lora.directory))


def _chosen(token: int, logprobs: Mapping[int, Any]) -> Chosen:
    """A token with what vLLM says of it and of the most likely ones."""
    if not logprobs:
        return Chosen(token)
    ranked = sorted(logprobs.items(), key=lambda item: item[1].rank)
    return Chosen(
        token, logprobs[token].logprob, tuple((other, each.logprob) for other, each in ranked)
    )
