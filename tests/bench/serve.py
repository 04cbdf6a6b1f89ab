"""The server beside many clients: tokens/s, latency, equal answers, and adapters that join.

    python -m tests.bench.serve [--rounds 3]

Preset tiny (`make tiny`) on the CPU, over HTTP, from a process of its own, with 20 adapters of
random weights; every question is to another one of them or to the base. Each answer has as many
tokens as were asked for, because no token of the bench's contract ends one. In each round one
client asks the questions one by one, and then 16 clients ask them at once. Then somebody asks for 5
tokens while an answer of 900 runs, and one more adapter joins during 2,000 requests. Exits with 1
where a goal is missed.

With ARGOTUNE_VLLM_PYTHON, which tests/steps/vllm/real/venv prints, the same clients then ask the
server on a vLLM for CPUs; its figures are printed beside, and have no goal.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import httpx
import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM, AutoTokenizer

from argotune.presets.loader import model_preset
from argotune.steps.contracts.model_cache import base_of, cache_path
from argotune.steps.contracts.serving import Adapter, Base, ServingContract, write_contract
from tests.bench.ratio import median_ratio
from tests.steps.vllm.real.process import VARIABLE, environment

CLIENTS, QUESTIONS, TOKENS = 16, 32, 64
LEAST_SPEED_RATIO, MOST_LATENCY_RATIO = 3.0, 5.0
SHORT_TOKENS, LONG_TOKENS, MOST_SHORT_SECONDS = 5, 900, 1.0
ADAPTERS, REQUESTS = 20, 2000
BASE = "argotune/tiny"
_START_SECONDS = 300
_R = 8
_WORDS = ("sort", "json", "path", "time", "glob", "heap", "copy", "math")


@dataclass(frozen=True)
class Measured:
    """What some clients got."""

    tokens_per_second: float
    latency_seconds: float
    """Median."""
    answers: Sequence[str]


def main() -> int:
    """Print the figures and fail where a goal is missed."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=3)
    flags = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="bench-serve-") as place:
        directory = Path(place)
        model_dir = _model_dir()
        make_adapters(model_dir, directory)
        with serving(model_dir, directory) as url:
            missed = asyncio.run(measure(url, directory, flags.rounds))
        if python := os.environ.get(VARIABLE):
            with serving(model_dir, directory, python, "argotune.steps.vllm") as url:
                asyncio.run(measure_vllm(url, flags.rounds))
        return missed


def _model_dir() -> Path:
    home = Path(os.environ.get("ARGOTUNE_HOME", Path.home() / ".argotune"))
    preset = model_preset("tiny")
    directory = cache_path(home / "claims" / "argotune-models", preset.repository, preset.revision)
    if not directory.is_dir():
        raise SystemExit(f"{directory} is missing: run `make tiny`")
    return directory


def make_adapters(model_dir: Path, directory: Path) -> None:
    """Adapters with random weights: `first`, those in adapters/, and `late` to join them."""
    origin, digest = base_of(model_dir)
    tokenizer = AutoTokenizer.from_pretrained(model_dir)
    model = AutoModelForCausalLM.from_pretrained(model_dir, dtype=torch.float32)
    modules = ["qkv_proj", "o_proj", "gate_up_proj", "down_proj"]
    names = ["first", "late", *(f"adapters/adapter{n}" for n in range(1, ADAPTERS))]
    for seed, name in enumerate(names):
        torch.manual_seed(seed)
        config = LoraConfig(
            r=_R, lora_alpha=_R, target_modules=modules, init_lora_weights="gaussian"
        )
        adapted = get_peft_model(model, config)
        for parameter_name, parameter in adapted.named_parameters():
            if "lora_B" in parameter_name:
                torch.nn.init.normal_(parameter, std=0.02)
        adapted.save_pretrained(directory / name)
        model = adapted.unload()
        contract = ServingContract(
            base=Base(
                repository=BASE,
                revision=origin.version,
                family="phi3",
                source=origin.source,
                digest=digest,
            ),
            adapter=Adapter(name=name, r=_R, alpha=_R, target_modules=modules),
            quantization=None,
            chat_template=tokenizer.chat_template,
            stop_tokens=["<|end|>"],
            stop_token_ids=[],
            max_length=1024,
            longest_row=1024,
            rope="default",
        )
        write_contract(directory / name, contract)


@contextlib.contextmanager
def serving(
    model_dir: Path,
    directory: Path,
    python: str = sys.executable,
    module: str = "argotune.steps.serve",
) -> Iterator[str]:
    """The URL of a server of `first` and adapters/."""
    port_file = directory / "port"
    port_file.unlink(missing_ok=True)
    with (directory / "log").open("w") as log:
        process = subprocess.Popen(
            [
                *(python, "-m", module),
                f"--model-dir={model_dir}",
                f"--adapter-dir={directory / 'first'}",
                f"--adapters-dir={directory / 'adapters'}",
                "--name=first",
                "--port=0",
                f"--port-file={port_file}",
                f"--slots={CLIENTS}",
            ],
            stderr=log,
            stdout=log,
            env=os.environ if python == sys.executable else environment(),
        )
        try:
            yield _ready_url(process, port_file)
        finally:
            # vLLM's own processes end with it.
            process.terminate()
            process.wait()


def _ready_url(process: subprocess.Popen[bytes], port_file: Path) -> str:
    deadline = time.monotonic() + _START_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        time.sleep(0.1)
        if not port_file.exists():
            continue
        url = f"http://127.0.0.1:{port_file.read_text().strip()}"
        with contextlib.suppress(httpx.TransportError):
            if httpx.get(f"{url}/health").status_code == httpx.codes.OK:
                return url
    raise SystemExit(f"the server did not start: {(port_file.parent / 'log').read_text()[-2000:]}")


async def measure_vllm(url: str, rounds: int) -> None:
    """Print what the same clients got of the server on vLLM."""
    async with _client(url) as client:
        names = await _names(client)
        alone, together = await _rounds(client, names, rounds)
        short, long = await _beside(client)
    one = statistics.median(m.tokens_per_second for m in alone)
    many = statistics.median(m.tokens_per_second for m in together)
    print(
        f"on vLLM for CPUs: 1 client {one:.0f} tokens/s, {CLIENTS} clients {many / one:.1f} times "
        f"that, {len(names) - 1} adapters and the base mixed; {SHORT_TOKENS} tokens in "
        f"{short:.2f} s "
        f"beside {LONG_TOKENS} in {long:.0f} s"
    )


def _client(url: str) -> httpx.AsyncClient:
    limits = httpx.Limits(max_connections=CLIENTS + 1)
    return httpx.AsyncClient(base_url=url, timeout=600, limits=limits)


async def _names(client: httpx.AsyncClient) -> list[str]:
    return [model["id"] for model in (await client.get("/v1/models")).json()["data"]]


async def _rounds(
    client: httpx.AsyncClient, names: Sequence[str], rounds: int
) -> tuple[list[Measured], list[Measured]]:
    """What one client got and what many did, in turns."""
    await _ask(client, names, 1)
    alone, together = [], []
    for _ in range(rounds):
        alone.append(await _ask(client, names, 1))
        together.append(await _ask(client, names, CLIENTS))
    return alone, together


async def measure(url: str, directory: Path, rounds: int) -> int:
    """Print what was measured; 1 where a goal is missed."""
    async with _client(url) as client:
        names = await _names(client)
        alone, together = await _rounds(client, names, rounds)
        short, long = await _beside(client)
        failed, joined = await _join(client, names, directory)
    speed = median_ratio(
        [m.tokens_per_second for m in together], [m.tokens_per_second for m in alone]
    )
    latency = median_ratio(
        [m.latency_seconds for m in together], [m.latency_seconds for m in alone]
    )
    equal = all(m.answers == alone[0].answers for m in (*alone, *together))
    print(
        f"1 client {statistics.median(m.tokens_per_second for m in alone):.0f} tokens/s, {CLIENTS} "
        f"clients {speed:.1f} times that with {latency:.1f} times the latency, "
        f"{len(names) - 1} adapters and the base mixed, answers "
        f"{'equal' if equal else 'DIFFERENT'}; {SHORT_TOKENS} tokens in {short:.2f} s beside "
        f"{LONG_TOKENS} in {long:.0f} s; one more adapter joined during {REQUESTS} requests, of "
        f"which {failed} failed and {joined} were its own ({rounds} rounds, {os.cpu_count()} CPUs)"
    )
    goals = (
        len(names) == ADAPTERS + 1,
        speed >= LEAST_SPEED_RATIO,
        latency <= MOST_LATENCY_RATIO,
        equal,
        short < MOST_SHORT_SECONDS < long,
        failed == 0 < joined,
    )
    return 0 if all(goals) else 1


async def _ask(client: httpx.AsyncClient, names: Sequence[str], clients: int) -> Measured:
    """Let so many clients ask all questions, each its share one by one."""
    answers, seconds = [""] * QUESTIONS, [0.0] * QUESTIONS

    async def ask(first: int) -> None:
        for number in range(first, QUESTIONS, clients):
            began = time.perf_counter()
            response = await _answer(client, names[number % len(names)], number, TOKENS)
            seconds[number] = time.perf_counter() - began
            answers[number] = response.raise_for_status().json()["choices"][0]["message"]["content"]

    began = time.perf_counter()
    await asyncio.gather(*map(ask, range(clients)))
    took = time.perf_counter() - began
    return Measured(QUESTIONS * TOKENS / took, statistics.median(seconds), answers)


async def _beside(client: httpx.AsyncClient) -> tuple[float, float]:
    """Seconds of a short answer that begins during a long one, and of the long one."""
    began = time.perf_counter()
    long = asyncio.create_task(_answer(client, "first", 0, LONG_TOKENS))
    await asyncio.sleep(1)
    middle = time.perf_counter()
    (await _answer(client, "first", 1, SHORT_TOKENS)).raise_for_status()
    short = time.perf_counter() - middle
    (await long).raise_for_status()
    return short, time.perf_counter() - began


async def _join(
    client: httpx.AsyncClient, names: Sequence[str], directory: Path
) -> tuple[int, int]:
    """Requests that failed while one more adapter joined, and answers that it gave."""
    models, numbers = list(names), iter(range(REQUESTS))
    failed = own = 0

    async def ask() -> None:
        nonlocal failed, own
        for number in numbers:
            if number == REQUESTS // 4:
                (directory / "late").rename(directory / "adapters" / "late")
            model = models[number % len(models)]
            response = await _answer(client, model, number, 2)
            failed += response.status_code != httpx.codes.OK
            own += model == "late" and response.status_code == httpx.codes.OK

    async def look() -> None:
        while "late" not in models:
            await asyncio.sleep(0.1)
            listed = (await client.get("/v1/models")).json()["data"]
            if any(model["id"] == "late" for model in listed):
                models.append("late")

    await asyncio.gather(look(), *(ask() for _ in range(CLIENTS)))
    return failed, own


async def _answer(
    client: httpx.AsyncClient, model: str, number: int, tokens: int
) -> httpx.Response:
    question = f"What is {_WORDS[number % len(_WORDS)]} number {number % QUESTIONS}?"
    return await client.post(
        "/v1/chat/completions",
        json={
            "model": model,
            "messages": [{"role": "user", "content": question}],
            "max_tokens": tokens,
            "temperature": 0,
        },
    )


if __name__ == "__main__":
    sys.exit(main())
