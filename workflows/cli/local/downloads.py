"""Downloads that outlive a look at the data: the next look and the next run begin with them.

The dataset step asks the server first whether it still has the same version of a file
(`steps/dataset/target.py`), so a record of such a download ends with .kept.json instead of .json.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from argotune.workflows.cli.home import Home

WORK = Path("claims", "work")
"""The volume of a run in its directory."""
_DOWNLOADS = "downloads"
_KEPT = ".kept.json"
_OF_PARTS = ".part.json"


def lend_downloads(here: Home, workspace: str, run_dir: Path) -> None:
    """Give a new run the files that the last look at the workspace's data has downloaded.

    They are links to the same files, so that they take no room twice.
    """
    found = here.of_looks.runs_dir / workspace / WORK / _DOWNLOADS
    lent = run_dir / WORK / _DOWNLOADS
    for record in [*found.glob("*.json")]:
        name = record.name.partition(".")[0]
        if not (found / name).is_file():
            continue
        lent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(record, lent / f"{name}{_KEPT}")
        try:
            os.link(found / name, lent / name)
        except OSError:
            shutil.copyfile(found / name, lent / name)


@contextmanager
def kept_downloads(directory: Path) -> Iterator[None]:
    """Put the downloads of a look aside while its directory is removed, and back again."""
    downloads = directory / WORK / _DOWNLOADS
    aside = directory.with_name(f".{directory.name}.downloads")
    # What a killed look has put aside comes back too.
    with suppress(FileNotFoundError):
        downloads.replace(aside)
    yield
    if not aside.is_dir():
        return
    downloads.parent.mkdir(parents=True)
    aside.replace(downloads)
    for record in downloads.glob("*.json"):
        if not record.name.endswith((_KEPT, _OF_PARTS)):
            record.replace(record.with_name(record.stem + _KEPT))
