"""An adapter goes into service only in the place of the one that it was compared with."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from argotune.steps.common.errors import PermanentError
from argotune.steps.contracts.evaluation import Evaluation, write_evaluation
from argotune.steps.contracts.live_adapter import LiveAdapter, write_live_adapter
from argotune.steps.deploy.live import check_live
from argotune.steps.deploy.params import Params
from argotune.steps.push.layout import write_image
from argotune.steps.registry.oci import LayoutReference
from argotune.steps.registry.skopeo import Registry
from argotune.steps.registry.versions import record_in_service, repository_of
from tests.fakes.adapter import write_adapter

NONE = LiveAdapter()


class Run:
    """A run with a gate, and the layout that has the versions of its workspace."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.adapter = write_adapter(root / "adapter")
        self.new = self.push("new")
        measured: dict[str, Any] = {"rows": 9, "tokens": 90, "new_loss": 1.0, "confidence": 0.95}
        write_evaluation(root, Evaluation(made_from={}, verdict="passed", reason="", **measured))

    def push(self, content: str) -> str:
        (self.adapter / "chat_template.jinja").write_text(content)
        files = sorted(self.adapter.iterdir())
        created = "2026-01-01T00:00:00Z"
        return write_image(
            self.root / "image", files, tag=content, created=created, annotations={}
        ).digest

    def serve(self, digest: str) -> None:
        layout = LayoutReference(directory=self.root / "image")
        record_in_service(repository_of(layout, Registry()), digest)

    def check(self, compared: LiveAdapter) -> None:
        write_live_adapter(self.root, compared)
        params = Params(
            target="process",
            name="phi",
            reference=f"oci:{self.root / 'image'}@{self.new}",
            cache_dir=self.root,
            services_dir=self.root,
        )
        check_live(params, self.root)


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return Run(tmp_path)


def test_the_first_adapter_and_one_that_was_compared_go_on(run: Run) -> None:
    run.check(NONE)
    old = run.push("old")
    run.serve(old)
    run.check(LiveAdapter(digest=old, version="v1"))
    # A deploy that was killed after it had moved the tag is repeated.
    run.serve(run.new)
    run.check(LiveAdapter(digest=old, version="v1"))


def test_an_adapter_that_came_in_between_is_not_replaced(run: Run) -> None:
    old, other = run.push("old"), run.push("other")
    run.serve(old)
    with pytest.raises(PermanentError) as caught:
        run.check(NONE)
    assert str(caught.value) == (
        "v1 went into service since this adapter was compared with the base model alone; run again"
    )
    run.serve(other)
    with pytest.raises(PermanentError) as caught:
        run.check(LiveAdapter(digest=old, version="v1"))
    assert str(caught.value) == (
        "v2 went into service since this adapter was compared with v1; run again"
    )


def test_nothing_is_looked_for_where_nothing_was_compared(run: Run) -> None:
    run.serve(run.push("old"))
    run.check(LiveAdapter(problem="the registry refused it"))
    (run.root / "report" / "evaluation.json").unlink()
    run.check(NONE)
