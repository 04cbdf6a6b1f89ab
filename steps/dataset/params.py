"""Parameters and results of the dataset step."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class Params:
    """Fetch every dataset URL, check its rows, and write train and validation parquet files."""

    urls: tuple[str, ...]
    """URLs as a JSON list: https, http or file; all of them are used. A fragment
    `#sha256=HEX` is checked against the file."""
    urls_file: Path | None = None
    """The same URLs with their queries, a JSON list from a secret; where the file exists it is
    what is fetched, so that tokens stand in no parameter."""
    plan_file: Path
    """The plan step's file."""
    work_dir: Path
    """Volume of the run; downloads go to work-dir/downloads, the result to work-dir/dataset."""
    allow_loopback: bool = False
    """Permit URLs of this machine (127.0.0.0/8, ::1) and file URLs."""
    allow_http: bool = True
    """Permit http beside https."""
    allowed_hosts: tuple[str, ...] = ()
    """HOST or HOST:PORT of mirrors inside the network, as a JSON list; any port, and any address
    but link-local ones and those of a cloud's metadata."""
    ca_file: Path | None = None
    """Certificate authority of such mirrors, PEM, trusted beside the public ones; a missing file
    is none."""
    max_download_gib: float = 200.0
    """Largest file that is fetched, GiB."""
    timeout_seconds: float = 60.0
    """Longest silence of a server."""
    attempts: int = 6
    """Tries in a row that bring nothing new (cut connections, 5xx, 429) before the step gives
    up on a file."""
    history_file: Path | None = None
    """Record of what was last tuned and deployed (steps/contracts/history.py); empty: none."""
    only_if_changed: bool = False
    """Report changed=false, which ends the run well, when data and plan equal the record's."""


@dataclass(frozen=True, kw_only=True)
class Result:
    rows: int
    """Usable rows of all files, duplicates among them."""
    train_rows: int
    """Rows that are trained on."""
    validation_rows: int
    """Rows that are held out."""
    rejected_rows: int
    """Unusable rows; the log has their numbers and reasons."""
    duplicate_rows: int
    """Rows that stand again elsewhere; each distinct row is kept once."""
    digest: str
    """sha256:HEX over the content of train and validation rows, in order."""
    changed: bool
    """Whether there is something to tune: false only with only-if-changed and equal data and
    plan."""
