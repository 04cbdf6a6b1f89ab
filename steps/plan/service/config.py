"""Kaito's inference_config.yaml: what of it a service follows, and what has no effect."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from argotune.steps.common import strict_yaml

PLACE = "inference_config.yaml"
_LENGTH = "max-model-len"
_SECTIONS = ("vllm", "transformers")
_SIZED = "the plan sizes the memory"
_OWN_TOOLS = "calls of tools are read in the form of the model's own chat template"
_WITHOUT_EFFECT: Mapping[str, str] = {
    "max_probe_steps": "the plan computes the longest context, nothing is tried",
    "vllm.cpu-offload-gb": _SIZED,
    "vllm.gpu-memory-utilization": _SIZED,
    "vllm.swap-space": _SIZED,
    "vllm.max-num-seqs": "as many answers are given at once as the memory holds, at most 16 on"
    " transformers and 256 on vLLM",
    "vllm.tensor-parallel-size": "one server uses one GPU; more servers are service-replicas",
    "vllm.pipeline-parallel-size": "one server uses one GPU; more servers are service-replicas",
    "vllm.quantization": "the base is in 16 bits, in 4 with service-load-in-4bit",
    "vllm.chat-template": "the model's own chat template is used",
    "vllm.tool-call-parser": _OWN_TOOLS,
    "vllm.enable-auto-tool-choice": _OWN_TOOLS,
}
_OTHER = "it is an argument of Kaito's server, and not of this one"


def read_inference_config(text: str, problems: list[str], warnings: list[str]) -> int | None:
    """Return the longest context that the config asks for, tokens; None: it says none.

    What is wrong is added to the problems, and each key that has no effect to the warnings.
    """
    if not text.strip():
        return None
    try:
        document = strict_yaml.load(text)
    except strict_yaml.YamlProblem as problem:
        problems.append(f"config: {PLACE}: {problem}")
        return None
    if document is None:
        return None
    if not isinstance(document, dict):
        problems.append(f"config: {PLACE}: {document!r}; accepted is a mapping with vllm")
        return None
    length = None
    for name, value in document.items():
        if name in _SECTIONS and isinstance(value, dict | None):
            length = _read_section(str(name), value or {}, problems, warnings) or length
        elif name in _SECTIONS:
            problems.append(f"config: {PLACE}: {name}: {value!r}; accepted is a mapping")
        else:
            warnings.append(_no_effect(str(name)))
    return length


def _read_section(
    section: str, keys: Mapping[Any, Any], problems: list[str], warnings: list[str]
) -> int | None:
    length = None
    for key, value in keys.items():
        # vLLM takes both spellings.
        name = f"{section}.{str(key).replace('_', '-')}"
        if name != f"vllm.{_LENGTH}":
            warnings.append(_no_effect(name))
        elif isinstance(value, bool) or not isinstance(value, int) or value < 1:
            problems.append(
                f"config: {PLACE}: {name}: {value!r}; accepted is a number of tokens, such as 4096"
            )
        else:
            length = value
    return length


def _no_effect(name: str) -> str:
    return f"{PLACE}: {name}: has no effect: {_WITHOUT_EFFECT.get(name, _OTHER)}"
