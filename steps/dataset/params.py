"""Parameters and results of the dataset step."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from argotune.steps.common.errors import ParamsError
from argotune.steps.contracts.in_service import DeployTo
from argotune.steps.registry.oci import parse_image

SECRET_VARIABLES = (
    "HF_TOKEN",
    "HF_ENDPOINT",
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    "AWS_REGION",
    "AWS_ENDPOINT_URL",
    "GOOGLE_APPLICATION_CREDENTIALS_JSON",
    "AZURE_STORAGE_KEY",
    "AZURE_STORAGE_SAS_TOKEN",
    "AZURE_TENANT_ID",
    "AZURE_CLIENT_ID",
    "AZURE_CLIENT_SECRET",
)
"""Keys of the run's Secret for data that become variables of this step, and of no other."""


@dataclass(frozen=True, kw_only=True)
class Params:
    """Fetch every dataset URL, check its rows, and write train and validation parquet files."""

    urls: tuple[str, ...]
    """URLs as a JSON list, with the scheme https, http, hf, s3, gs, abfs, abfss, oci, volume or
    file; all of them are used. A fragment `#sha256=HEX` is checked against the file."""
    urls_file: Path | None = None
    """The same URLs with their queries, a JSON list from a Secret; if the file exists, its URLs
    are downloaded, so that no parameter contains tokens."""
    validation_urls: tuple[str, ...] = ()
    """URLs of files whose rows are all held out, likewise; then no other row is, and rows of `urls`
    that ask what these ask are not trained on."""
    held_out: tuple[str, ...] = ()
    """Questions to hold out whatever share and seed say, 16 hex digits each, as the record of
    another dataset has them, for a replay; a JSON list."""
    validation_urls_file: Path | None = None
    """The same of them as urls-file."""
    plan_file: Path
    """The plan step's file."""
    work_dir: Path
    """Volume of the run; downloads go to work-dir/downloads, the result to work-dir/dataset."""
    tokenizer_dir: Path | None = None
    """The model's tokenizer and configuration, which the plan step brings; if it has none, tokens
    are not counted, and the rows are not judged by the chat template."""
    allow_loopback: bool = False
    """Allow URLs of this machine (127.0.0.0/8, ::1) and file URLs."""
    allow_files: bool = False
    """Allow file URLs: files, directories and patterns of this machine."""
    volume_dir: Path | None = None
    """Where the claim of volume URLs is mounted; empty: none."""
    auth_file: Path | None = None
    """Docker config.json for images with data; may not exist."""
    data_secret: str = "argotune-data"
    """Name of the Secret with that file and with the variables; used in messages only."""
    allow_http: bool = True
    """Allow http in addition to https."""
    allowed_hosts: tuple[str, ...] = ()
    """HOST or HOST:PORT of mirrors inside the network, as a JSON list; they may have any port, and
    any address except link-local addresses and cloud metadata services."""
    allowed_registries: tuple[str, ...] = ()
    """HOST or HOST:PORT of registries of images with data that may have private addresses, as a
    JSON list; outside a cluster all may."""
    ca_file: Path | None = None
    """Certificate authority of such mirrors, PEM, trusted in addition to the public ones; may not
    exist."""
    max_download_gib: float = 200.0
    """Largest file to download, GiB."""
    timeout_seconds: float = 60.0
    """Longest time without data from a server."""
    attempts: int = 6
    """Consecutive attempts without progress (lost connections, 5xx, 429) before the download of a
    file fails."""
    history_file: Path | None = None
    """Record of the last deployment (steps/contracts/history.py); empty: none."""
    only_if_changed: bool = False
    """Return changed=false, which ends the run successfully, if data, plan and weights equal those
    of the last deployment, or of a rejection that would be repeated (steps/dataset/changes.py)."""
    deploy_to: DeployTo = "kubernetes"
    """Where the run deploys its adapter: one that was only pushed is no reason to leave it out."""
    gate: str = ""
    """Digest of the gate's settings, an output of the plan step; empty: not compared."""
    samples: int = 5
    """Rows whose texts are on the page of the data."""

    def __post_init__(self) -> None:
        if not self.urls:
            raise ParamsError('--urls: empty; give a JSON list of URLs, such as ["https://..."]')
        lists = {"urls": self.urls, "validation-urls": self.validation_urls}
        problems = [
            f"--{flag}: {problem}"
            for flag, urls in lists.items()
            for url in urls
            if (problem := _image_problem(url)) is not None
        ]
        problems += [
            f"--held-out: {question!r} is not 16 hexadecimal digits"
            for question in self.held_out
            if re.fullmatch(r"[0-9a-f]{16}", question) is None
        ]
        if problems:
            raise ParamsError(problems)


def _image_problem(url: str) -> str | None:
    if not url.startswith("oci://"):
        return None
    try:
        parse_image(url.removeprefix("oci://"))
    except ValueError as error:
        return str(error)
    return None


@dataclass(frozen=True, kw_only=True)
class Result:
    """Outputs of the dataset step."""

    summary: str
    """What became of all rows: `2026 rows: 855 to train, 43 held out, 1128 duplicates, 0 refused;
    171,000 tokens an epoch, 57 steps`."""
    findings: str
    """What a person should look at, in one line: near duplicates, secrets, rows that are cut; all
    of it is on the page dataset/data.html."""
    rows: int
    """Usable rows of all files, including duplicates."""
    train_rows: int
    """Rows for training."""
    validation_rows: int
    """Held-out rows."""
    rejected_rows: int
    """Unusable rows; the log has their numbers and reasons."""
    duplicate_rows: int
    """Repeated rows; each distinct row is kept once."""
    removed_rows: int
    """Rows that are not trained on, because a row of the validation files asks the same."""
    tokens: int | None
    """Tokens of the train rows, up to max_length of each: one epoch; empty without the tokenizer,
    as the seven below."""
    learned_tokens: int | None
    """Those of them that the model learns to write."""
    longest_row_tokens: int | None
    """Tokens of the longest train row, before it is cut."""
    cut_rows: int | None
    """Train rows longer than max_length, which are cut there."""
    cut_tokens: int | None
    """Tokens that they lose."""
    validation_tokens: int | None
    """Tokens of the held-out rows."""
    steps: int | None
    """Optimizer steps of the run, if it does not end early; empty for over 5 million rows too."""
    run_tokens: int | None
    """Tokens of the whole run, each epoch's again, likewise."""
    digest: str
    """sha256:HEX over the content of train and validation rows, in order."""
    changed: bool
    """Whether to tune: false only with only-if-changed and unchanged data, plan and
    weights."""
