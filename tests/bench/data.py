"""Time and memory of what the dataset step looks for in rows, beside comparing every pair of rows.

    python -m tests.bench.data --rows 100000

Makes conversations of about 200 tokens from real words, one in ten with a few words changed of an
earlier one. In processes of their own: near duplicates by MinHash, secrets by pattern, both for
all rows; and the exact similarity of every pair of 2,000 of the rows, which is what near duplicates
are by definition. Prints seconds, peak memory, and the share of the exact pairs that MinHash finds;
exits with 1 above 60 seconds or 600 MB, or if it misses more than a tenth.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa

from argotune.steps.dataset.conversations import ASSISTANT, USER, Conversations
from argotune.steps.dataset.near_duplicates import MIN_SIMILARITY, Signatures
from argotune.steps.dataset.sensitive import count_sensitive
from tests.bench.child import Found, measured
from tests.bench.dataset import words_of_the_library
from tests.bench.memory import peak_mb

MAX_SECONDS, MAX_PEAK_MB, MIN_RECALL = 60, 600, 0.9
_BATCH_ROWS = 4000
_COMPARED_ROWS = 2000
_WORDS = 110
_RUN = 3


def main() -> None:
    """Parse the flags; with `--child`, be one of the measured processes."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--directory", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--child", choices=sorted(CHILDREN), help=argparse.SUPPRESS)
    flags = parser.parse_args()
    if flags.child:
        print(json.dumps(_measure(CHILDREN[flags.child], flags.directory)))
        return
    with tempfile.TemporaryDirectory(prefix="bench-data-") as name:
        directory = Path(name)
        texts = _texts(flags.rows)
        (directory / "rows.json").write_text(json.dumps(texts))
        found = {child: measured("tests.bench.data", child, directory) for child in CHILDREN}
    sys.exit(0 if _compare(flags.rows, found) else 1)


def _compare(rows: int, found: dict[str, Found]) -> bool:
    ours, pairs = found["findings"], found["every-pair"]
    # Every pair takes time by the square of the rows.
    every = pairs["seconds"] * (rows / _COMPARED_ROWS) ** 2
    recall = pairs["found"] / max(1, pairs["real"])
    good = ours["seconds"] < MAX_SECONDS and ours["peak_mb"] < MAX_PEAK_MB and recall > MIN_RECALL
    print(
        f"{rows} rows: {ours['seconds']:.1f} s ({ours['near_seconds']:.1f} for near duplicates),"
        f" {ours['cpu_seconds']:.1f} CPU s, peak {ours['peak_mb']:.0f} MB,"
        f" {ours['near']:.0f} near duplicates; every pair would take {every / 3600:.1f} h,"
        f" {every / ours['near_seconds']:.0f} times as long; of {pairs['real']:.0f} rows with an"
        f" exact similarity of {MIN_SIMILARITY + 0.05:.2f} MinHash finds {recall:.1%}:"
        f" {'good' if good else 'MISSED'}, limits {MAX_SECONDS} s, {MAX_PEAK_MB} MB,"
        f" {MIN_RECALL:.0%}"
    )
    return good


def _measure(work: Callable[[list[str]], Found], directory: Path) -> Found:
    texts = json.loads((directory / "rows.json").read_text())
    start, cpu_start = time.perf_counter(), time.process_time()
    found = work(texts)
    return {
        "seconds": time.perf_counter() - start,
        "cpu_seconds": time.process_time() - cpu_start,
        "peak_mb": peak_mb(),
        **found,
    }


def _findings(texts: list[str]) -> Found:
    signatures = Signatures()
    near_seconds = 0.0
    for start in range(0, len(texts), _BATCH_ROWS):
        rows = _conversations(texts[start : start + _BATCH_ROWS])
        count_sensitive(rows)
        began = time.perf_counter()
        signatures.add(rows)
        near_seconds += time.perf_counter() - began
    began = time.perf_counter()
    near = signatures.similar_earlier()
    signatures.similar_among(np.arange(signatures.rows) % 20 == 0)
    return {"near": len(near.rows), "near_seconds": near_seconds + time.perf_counter() - began}


def _every_pair(texts: list[str]) -> Found:
    """Compare each row with all before it, by its set of runs of three words."""
    texts = texts[:_COMPARED_ROWS]
    sets = [_runs(text) for text in texts]
    real = [
        row
        for row, runs in enumerate(sets)
        # A little above the limit, at which the estimate is right half of the time.
        if any(
            len(runs & other) >= (MIN_SIMILARITY + 0.05) * len(runs | other) for other in sets[:row]
        )
    ]
    signatures = Signatures()
    signatures.add(_conversations(texts))
    found = set(signatures.similar_earlier().rows.tolist())
    return {"real": len(real), "found": len(found.intersection(real))}


def _runs(text: str) -> set[tuple[str, ...]]:
    words = text.lower().split()
    return {tuple(words[at : at + _RUN]) for at in range(len(words) - _RUN + 1)}


CHILDREN: dict[str, Callable[[list[str]], Found]] = {
    "findings": _findings,
    "every-pair": _every_pair,
}


def _conversations(texts: list[str]) -> Conversations:
    """Each text as a question, with its last words as the answer."""
    halves = [text.rsplit(" ", _WORDS // 2) for text in texts]
    messages = [part for first, *last in halves for part in (first, " ".join(last))]
    roles = np.tile(np.array([USER, ASSISTANT], dtype=np.uint8), len(texts))
    return Conversations(
        lengths=np.full(len(texts), 2, dtype=np.int64),
        roles=roles,
        contents=pa.array(messages, pa.large_string()),
        learned=roles == ASSISTANT,
        refused=np.zeros(len(texts), dtype=np.uint8),
    )


def _texts(rows: int) -> list[str]:
    """Rows of words of the standard library's source, in which the same lines are not near."""
    rng = random.Random(0)
    words = list(dict.fromkeys(word for word in words_of_the_library() if word.isalnum()))
    texts: list[str] = []
    for _ in range(rows):
        if texts and rng.random() < 0.1:
            changed = rng.choice(texts[-_COMPARED_ROWS:]).split()
            for place in rng.sample(range(_WORDS), rng.randrange(1, 6)):
                changed[place] = rng.choice(words)
            texts.append(" ".join(changed))
        else:
            texts.append(" ".join(rng.choices(words, k=_WORDS)))
    return texts


if __name__ == "__main__":
    main()
