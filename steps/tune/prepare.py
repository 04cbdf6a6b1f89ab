"""A run's packed data as a memory-mapped Arrow file, shared by all attempts and processes.

Its pages are in the kernel's page cache: data may exceed the pod's memory, and the processes of a
node share one copy.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow

from argotune.steps.common import log
from argotune.steps.common.fs import replacing, sha256_file
from argotune.steps.contracts.steps_of_run import fit_batch, pack_rows
from argotune.steps.contracts.training_plan import Training
from argotune.steps.tokens.template import ChatTemplate
from argotune.steps.tokens.tokenise import Census, read_rows
from argotune.steps.tune.pack import SCHEMA, Packs, pack

_FORMAT = "3"
"""Increased with every change after which the same rows give other packs."""
_KEY = b"argotune"
_BATCH_FIELDS = (
    "micro_batch_tokens",
    "accumulation_steps",
    "rows_per_micro_batch",
    "min_steps",
    "epochs",
    "seed",
)
"""What the rows of each micro-batch depend on."""

_logger = logging.getLogger(__name__)


def prepare(
    split: Path,
    file: Path,
    template: ChatTemplate,
    tokenizer: Any,
    training: Training,
) -> tuple[Packs, Census]:
    """The packs of a parquet file, stored in the Arrow file `file`, and counts of its rows.

    The micro-batches are those of `fit_batch`. An existing file of the same inputs is reused.
    Raises PermanentError if `split` is not a file of the dataset step, and OSError if the disk is
    full.
    """
    made_from = {
        "format": _FORMAT,
        "rows": sha256_file(split) if split.exists() else "none",
        "template": _sha256(f"{template.source}\0{template.marked}"),
        # The template's text has their names.
        "special tokens": str(sorted(template.special_tokens.items())),
        "stop tokens": str(template.stop_token_ids),
        "tokenizer": _sha256(tokenizer.backend_tokenizer.to_str()),
        "max_length": str(training.max_length),
        "batch": str([getattr(training, name) for name in _BATCH_FIELDS]),
    }
    kept = _open_packs(file, made_from)
    if kept is not None:
        log.event(_logger, "prepared_before", file=split.name, micro_batches=len(kept[0]))
        return kept
    rows, census = read_rows(split, template, tokenizer, training.max_length)
    lengths = rows.lengths.tolist()
    fitted = fit_batch(training, tokens=sum(lengths), longest=max(lengths, default=0))
    batches = pack(rows, pack_rows(lengths, fitted))
    about = {_KEY: json.dumps({"made_from": made_from, "census": vars(census)})}
    with (
        replacing(file) as temporary,
        pyarrow.ipc.new_file(temporary, SCHEMA.with_metadata(about)) as writer,
    ):
        for batch in batches:
            writer.write_batch(batch)
    made = _open_packs(file, made_from)
    if made is None:
        raise OSError(f"{file} does not read as it was written")
    return made


def _open_packs(file: Path, made_from: Mapping[str, str]) -> tuple[Packs, Census] | None:
    """The content of a packs file; None if it is missing, damaged or of other inputs."""
    try:
        reader = pyarrow.ipc.open_file(pyarrow.memory_map(str(file)))
        about = json.loads((reader.schema.metadata or {}).get(_KEY, b"{}"))
        if about.get("made_from") != made_from:
            return None
        packs = Packs(reader.get_batch(number) for number in range(reader.num_record_batches))
    except (FileNotFoundError, pyarrow.ArrowInvalid):
        return None
    return packs, Census.of(about["census"])


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
