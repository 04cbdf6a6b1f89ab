"""The tokenizer alone, which the plan step brings before data are read."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from argotune.steps.common.errors import PermanentError, TransientError
from argotune.steps.contracts.model_cache import (
    MARKER,
    Origin,
    cache_path,
    damage,
    entry_path,
    mark_complete,
    read_marker,
)
from argotune.steps.contracts.training_plan import read_plan
from argotune.steps.model.params import Params
from argotune.steps.model.tokenizer import bring_tokenizer
from argotune.steps.registry.oci import parse_image_or_layout
from tests.fakes.hub import FakeHub
from tests.steps.model.conftest import config, model_files
from tests.steps.model.test_image import TAR, WEIGHTS, Layout, tar, under

NewParams = Callable[..., Params]

TOKENIZER = {"config.json", "tokenizer.json", "tokenizer_config.json"}


def bring(params: Params, directory: Path, hub: FakeHub | None = None) -> bool:
    endpoint = "http://127.0.0.1:9" if hub is None else hub.endpoint
    model = read_plan(params.plan_file).model
    return bring_tokenizer(params, model, directory, hub_endpoint=endpoint)


def names(directory: Path) -> set[str]:
    return {path.name for path in directory.iterdir()} - {MARKER}


def put(directory: Path, **files: bytes) -> Path:
    directory.mkdir(parents=True)
    for name, content in model_files(**files).items():
        (directory / name).write_bytes(content)
    return directory


def test_hub_is_asked_for_the_small_files_alone(
    hub: FakeHub, new_params: NewParams, tmp_path: Path
) -> None:
    coded = {**config(), "auto_map": {"AutoConfig": "configuration_phi3.Phi3Config"}}
    hub.repositories["owner/model"] |= {
        "config.json": json.dumps(coded).encode(),
        "chat_template.jinja": b"{{ messages }}",
        "LICENSE": b"MIT",
    }
    directory = tmp_path / "tokenizer"
    assert bring(new_params(source="hub"), directory, hub)
    assert names(directory) == TOKENIZER | {"chat_template.jinja"}
    assert not [path for path in hub.downloads() if "safetensors" in path]
    assert json.loads((directory / "config.json").read_text()) == config()
    assert not damage(directory, read_contents=True)


def test_second_try_asks_nobody_and_another_revision_does(
    hub: FakeHub, new_params: NewParams, tmp_path: Path
) -> None:
    directory = tmp_path / "tokenizer"
    bring(new_params(source="hub"), directory, hub)
    hub.requests.clear()
    assert bring(new_params(source="hub"), directory, hub)
    assert hub.requests == []
    with pytest.raises(PermanentError, match="has no revision v9"):
        bring(new_params(source="hub", revision="v9"), directory, hub)


def test_model_in_the_cache_is_read_without_a_network(
    new_params: NewParams, tmp_path: Path
) -> None:
    params = new_params(source="hub")
    origin = Origin(source="hub", version="main")
    mark_complete(put(cache_path(params.cache_dir, "owner/model", "main")), origin)
    assert bring(params, tmp_path / "tokenizer")
    assert names(tmp_path / "tokenizer") == TOKENIZER
    marker = read_marker(tmp_path / "tokenizer")
    assert marker is not None
    assert marker.origin == origin


def test_gated_model_and_silent_hub_are_told_as_by_the_model_step(
    hub: FakeHub, new_params: NewParams, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.gated.add("owner/model")
    params = new_params(source="hub")
    with pytest.raises(PermanentError) as caught:
        bring(params, tmp_path / "tokenizer", hub)
    assert str(caught.value) == (
        f"{hub.endpoint}/owner/model is gated: accept its license on that page, and set HF_TOKEN "
        "to a token of the same account"
    )
    assert not (tmp_path / "tokenizer").exists()
    with pytest.raises(TransientError, match=r"^http://127\.0\.0\.1:9/owner/model cannot be"):
        bring(params, tmp_path / "tokenizer")
    monkeypatch.setenv("HF_TOKEN", hub.token)
    assert bring(params, tmp_path / "tokenizer", hub)


def test_weights_that_the_model_step_would_refuse_are_refused(
    hub: FakeHub, new_params: NewParams, tmp_path: Path
) -> None:
    del hub.repositories["owner/model"]["model.safetensors"]
    with pytest.raises(PermanentError, match=r"there are no weights model\*\.safetensors"):
        bring(new_params(source="hub"), tmp_path / "tokenizer", hub)
    with pytest.raises(PermanentError, match="preset tiny is missing in the model cache"):
        bring(new_params(source="cache"), tmp_path / "tokenizer")
    with pytest.raises(PermanentError, match=r"^dir:/absent: no such directory"):
        bring(new_params(source="dir:/absent"), tmp_path / "tokenizer")
    weights = put(tmp_path / "weights")
    with pytest.raises(PermanentError, match="the preset's family is 'qwen2'"):
        bring(new_params(source=f"dir:{weights}", family="qwen2"), tmp_path / "tokenizer")


def test_directory_is_read_anew_each_time(new_params: NewParams, tmp_path: Path) -> None:
    weights = put(tmp_path / "weights")
    params = new_params(source=f"dir:{weights}")
    directory = tmp_path / "tokenizer"
    assert bring(params, directory)
    first = read_marker(directory)
    (weights / "tokenizer.json").write_bytes(b'{"version": "1.0"}')
    assert bring(params, directory)
    second = read_marker(directory)
    assert first is not None
    assert second is not None
    assert first.origin != second.origin
    assert names(directory) == TOKENIZER


def test_image_on_this_machine_gives_its_tokenizer(new_params: NewParams, tmp_path: Path) -> None:
    layout = Layout(tmp_path / "layout")
    other = {"usr/share/config.json": b"{}", "usr/share/tokenizer.json": b"no model's"}
    layers = [tar(other), tar(under(WEIGHTS, model_files()))]
    layout.tag("v1", layout.image([layout.blob(layer, TAR) for layer in layers]))
    directory = tmp_path / "tokenizer"
    assert bring(new_params(source=f"oci:{layout.directory}:v1"), directory)
    assert names(directory) == TOKENIZER


def test_image_of_a_registry_gives_it_where_the_model_is_in_the_cache(
    new_params: NewParams, tmp_path: Path
) -> None:
    place = f"registry.example.com/models/phi@sha256:{64 * 'a'}"
    params = new_params(source=f"oci:{place}")
    assert not bring(params, tmp_path / "tokenizer")
    assert not (tmp_path / "tokenizer").exists()
    reference = parse_image_or_layout(place)
    origin = Origin(source=f"oci:{place}", version=str(reference.digest))
    mark_complete(put(entry_path(params.cache_dir, "owner/model", origin)), origin)
    assert bring(params, tmp_path / "tokenizer")
    assert names(tmp_path / "tokenizer") == TOKENIZER
