from __future__ import annotations

import pytest

from argotune.steps.common.errors import ParamsError
from argotune.steps.common.fields import parse_fields
from argotune.steps.push.params import Params

GOOD = {
    "work-dir": "/work",
    "plan-file": "/volume/plan.yaml",
    "image": "acr.io/team/phi:1",
    "dataset-digest": "sha256:" + "a" * 64,
    "model-dir": "argotune--tiny/0",
    "base-loss": "3.1",
    "tuned-loss": "1.2",
    "created": "2026-01-01T00:00:00Z",
}


def test_good_parameters_are_accepted() -> None:
    assert parse_fields(Params, GOOD).attempts == 4


def test_every_problem_is_said_at_once() -> None:
    bad = {
        "image": "acr.io/Phi:1",
        "dataset-digest": "none",
        "tuned-loss": "nan",
        "created": "2026-13-01T00:00:00Z",
        "attempts": "0",
        "timeout-seconds": "nan",
    }
    with pytest.raises(ParamsError) as caught:
        parse_fields(Params, GOOD | bad)
    assert caught.value.problems == [
        "--image: 'acr.io/Phi:1': 'Phi' is not a component of a repository name; use lower-case "
        "letters and digits, with single '.', '_' or '-' between them",
        "--dataset-digest: 'none' is not sha256: and 64 hex digits",
        "--created: '2026-13-01T00:00:00Z' is not a time such as 2026-01-31T12:00:00Z",
        "--tuned-loss: nan is not a finite number",
        "--attempts: 0 is less than 1",
        "--timeout-seconds: nan is not above 0",
    ]


def test_losses_without_held_out_rows_are_accepted_by_their_word() -> None:
    losses = {"base-loss": "not measured", "tuned-loss": "not measured"}
    params = parse_fields(Params, GOOD | losses)
    assert (params.base_loss, params.tuned_loss) == ("not measured", "not measured")


def test_a_digest_cannot_be_pushed_to() -> None:
    image = "acr.io/phi@sha256:" + "a" * 64
    with pytest.raises(ParamsError) as caught:
        parse_fields(Params, GOOD | {"image": image})
    assert str(caught.value) == (
        f"--image: {image!r} has a digest; push creates a new one, so use a tag"
    )


@pytest.mark.parametrize("tag", ["v1", "v20", "candidate", "live", "previous", "rejected-1"])
def test_tags_of_versions_are_not_for_outputs(tag: str) -> None:
    for image in (f"acr.io/phi:{tag}", f"oci:/dist:{tag}"):
        with pytest.raises(ParamsError, match=f"{tag} is a tag that argotune itself gives"):
            parse_fields(Params, GOOD | {"image": image})


@pytest.mark.parametrize("tag", ["v0.0.1", "v1.0", "latest", "V1", "v0", "alive"])
def test_other_tags_are(tag: str) -> None:
    assert parse_fields(Params, GOOD | {"image": f"acr.io/phi:{tag}"}).image.endswith(tag)
