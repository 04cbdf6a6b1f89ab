"""An adapter in a layout as push leaves it, and ways to tamper with it."""

from __future__ import annotations

import hashlib
import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from argotune.steps.common.progress import Progress
from argotune.steps.push.params import Params
from argotune.steps.push.run import run
from argotune.steps.registry.layout_index import layout_lock, point_tag, read_entries, tag_of
from argotune.steps.registry.oci import LayoutReference
from tests.fakes.adapter import write_adapter, write_model, write_tiny_plan
from tests.fakes.signing import KeyPair


@dataclass(frozen=True)
class Pushed:
    """A pushed adapter."""

    layout: Path
    digest: str

    @property
    def reference(self) -> LayoutReference:
        return LayoutReference(directory=self.layout, digest=self.digest)

    def tag(self, kind: str, digest: str | None = None) -> str:
        return f"{(digest or self.digest).replace(':', '-')}.{kind}"

    def blob(self, digest: str) -> Path:
        return self.layout / "blobs" / "sha256" / digest.removeprefix("sha256:")

    def manifest(self, tag: str | None = None) -> dict[str, Any]:
        """The adapter's, or that of a tag."""
        digest = self.digest if tag is None else self._entry(tag)["digest"]
        found: dict[str, Any] = json.loads(self.blob(digest).read_bytes())
        return found

    def content(self, kind: str) -> bytes:
        """What the only layer of an artifact has."""
        (layer,) = self.manifest(self.tag(kind))["layers"]
        return self.blob(layer["digest"]).read_bytes()

    def write(self, content: bytes) -> dict[str, Any]:
        """Add a blob, and return its digest and size."""
        digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
        self.blob(digest).write_bytes(content)
        return {"digest": digest, "size": len(content)}

    def point(self, tag: str, manifest: dict[str, Any]) -> str:
        """Give a tag to another manifest, and return its digest."""
        written = self.write(json.dumps(manifest).encode())
        with layout_lock(self.layout):
            point_tag(self.layout, tag, {"mediaType": manifest["mediaType"], **written})
        return str(written["digest"])

    def replace(self, kind: str, content: bytes) -> None:
        """Have other content in the only layer of an artifact, whose digests are right again."""
        manifest = self.manifest(self.tag(kind))
        manifest["layers"][0] |= self.write(content)
        self.point(self.tag(kind), manifest)

    def forget(self, kind: str) -> None:
        """Take a tag away."""
        index = self.layout / "index.json"
        entries = [each for each in read_entries(self.layout) if tag_of(each) != self.tag(kind)]
        index.write_text(json.dumps({"schemaVersion": 2, "manifests": entries}))

    def copy(self, kind: str, other: Pushed) -> None:
        """Take an artifact of another adapter in place of this one's."""
        shutil.copytree(other.layout / "blobs", self.layout / "blobs", dirs_exist_ok=True)
        self.point(self.tag(kind), other.manifest(other.tag(kind)))

    def _entry(self, tag: str) -> dict[str, Any]:
        (entry,) = (each for each in read_entries(self.layout) if tag_of(each) == tag)
        return entry


def pushed(root: Path, keys: KeyPair | None, *, layout: str = "out", **changes: Any) -> Pushed:
    """Push an adapter into ROOT/LAYOUT, with a signature where there are keys.

    Its base model is in ROOT/cache/model.
    """
    if not (root / "adapter").exists():
        write_model(root / "cache" / "model", write_adapter(root / "adapter"))
        write_tiny_plan(root / "plan.yaml")
    values: dict[str, Any] = {
        "work_dir": root,
        "plan_file": root / "plan.yaml",
        "image": f"oci:{root / layout}:1",
        "dataset_digest": "sha256:" + "a" * 64,
        "model_dir": "model",
        "base_loss": 3.25,
        "tuned_loss": 1.5,
        "created": "2026-01-01T00:00:00Z",
        "workflow": "demo-x",
        "signing_dir": keys.write_secret(root / "signing") if keys else None,
    }
    result = run(Params(**values | changes), progress=Progress())
    return Pushed(root / layout, result.digest)
