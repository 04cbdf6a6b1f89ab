"""Where argotune keeps runs, services and models here: $ARGOTUNE_HOME, or ~/.argotune."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

MODEL_CACHE_CLAIM = "argotune-models"


@dataclass(frozen=True)
class Home:
    """The directories below one root; they are made by who writes to them."""

    root: Path

    @property
    def runs_dir(self) -> Path:
        """One directory per local run, named like its Workflow."""
        return self.root / "runs"

    def secret_dir(self, run: str, secret: str) -> Path:
        """What stands for a Secret in one run."""
        return self.runs_dir / run / "secrets" / secret

    @property
    def claims_dir(self) -> Path:
        """The local engine's PersistentVolumeClaims, one directory each."""
        return self.root / "claims"

    @property
    def models_dir(self) -> Path:
        """The model cache: the claim that the template mounts."""
        return self.model_cache(None)

    def model_cache(self, claim: str | None) -> Path:
        """The model cache in a claim of another name."""
        return self.claims_dir / (claim or MODEL_CACHE_CLAIM)

    @property
    def services_dir(self) -> Path:
        """Records and logs of servers on this machine."""
        return self.root / "services"


def home() -> Home:
    """The home that the environment names."""
    return Home(Path(os.environ.get("ARGOTUNE_HOME") or Path.home() / ".argotune").absolute())
