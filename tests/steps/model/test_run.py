from __future__ import annotations

import fcntl
import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from argotune.steps.common.errors import ParamsError, PermanentError, TransientError
from argotune.steps.common.progress import Progress
from argotune.steps.contracts.model_cache import (
    MARKER,
    Origin,
    cache_path,
    is_complete,
    mark_complete,
)
from argotune.steps.model.params import Params, Result
from argotune.steps.model.run import run
from tests.fakes.hub import COMMIT, FakeHub, private_hub
from tests.steps.model.conftest import config, model_files, safetensors

NewParams = Callable[..., Params]

HUB = Origin(source="hub", version="main")


def fetch(params: Params, hub: FakeHub) -> Result:
    return run(params, progress=Progress(), hub_endpoint=hub.endpoint)


def model_dir(params: Params) -> Path:
    return cache_path(params.cache_dir, "owner/model", "main")


def put(directory: Path, origin: Origin | None = HUB, **files: bytes) -> Path:
    """A whole model in the cache."""
    directory.mkdir(parents=True)
    for name, content in model_files(**files).items():
        (directory / name).write_bytes(content)
    mark_complete(directory, origin)
    return directory


def test_hub_model_arrives_whole_and_marked(hub: FakeHub, new_params: NewParams) -> None:
    params = new_params(source="hub")
    result = fetch(params, hub)
    files = model_files()
    assert result.model_dir == "presets/owner--model/main"
    assert result.origin == "hub at main"
    assert result.size_gb == pytest.approx(sum(map(len, files.values())) / 1e9, abs=1e-6)
    assert not result.cached
    assert {path.name for path in model_dir(params).iterdir()} == {MARKER, *files}
    assert is_complete(model_dir(params))


def test_second_run_asks_nobody(hub: FakeHub, new_params: NewParams) -> None:
    params = new_params(source="hub")
    fetch(params, hub)
    hub.requests.clear()
    assert fetch(params, hub).cached
    assert hub.requests == []


def test_pickles_code_and_second_copies_are_not_fetched(
    hub: FakeHub, new_params: NewParams
) -> None:
    hub.repositories["owner/model"] |= {
        "pytorch_model.bin": b"pickle",
        "modeling_phi3.py": b"import os",
        "consolidated.safetensors": safetensors(),
        "onnx/model.safetensors": safetensors(),
        "README.md": b"# Model",
        "LICENSE": b"MIT",
    }
    params = new_params(source="hub")
    fetch(params, hub)
    names = {path.name for path in model_dir(params).iterdir()}
    assert names == {MARKER, "LICENSE", *model_files()}


def test_repository_with_pickles_only_is_refused(hub: FakeHub, new_params: NewParams) -> None:
    files = model_files() | {"pytorch_model.bin": b"pickle"}
    del files["model.safetensors"]
    hub.repositories["owner/model"] = files
    with pytest.raises(PermanentError) as caught:
        fetch(new_params(source="hub"), hub)
    assert str(caught.value) == (
        f"{hub.endpoint}/owner/model: the weights are pickle files (pytorch_model.bin), which can "
        "run code when they are loaded; only safetensors are accepted"
    )


def test_references_to_code_are_taken_out(hub: FakeHub, new_params: NewParams) -> None:
    coded = {
        **config(),
        "auto_map": {"AutoConfig": "configuration_phi3.Phi3Config"},
        "text_config": {"auto_map": {"AutoModel": "other/repo--code.Model"}, "size": 1},
    }
    hub.repositories["owner/model"]["config.json"] = json.dumps(coded).encode()
    params = new_params(source="hub")
    fetch(params, hub)
    kept = json.loads((model_dir(params) / "config.json").read_text())
    assert kept == {**config(), "text_config": {"size": 1}}


def test_model_of_another_family_is_refused(hub: FakeHub, new_params: NewParams) -> None:
    with pytest.raises(PermanentError, match="'phi3', but the preset's family is 'qwen2'"):
        fetch(new_params(source="hub", family="qwen2"), hub)


def test_cut_download_is_resumed_and_logged_without_its_signature(
    hub: FakeHub, new_params: NewParams, caplog: pytest.LogCaptureFixture
) -> None:
    # The library keeps what it has in pieces of 10 MiB.
    hub.repositories["owner/model"]["model.safetensors"] = safetensors(bytes(11_000_000))
    hub.cut_after = [10_500_000]
    params = new_params(source="hub")
    fetch(params, hub)
    content = [headers for _, path, headers in hub.requests if "/content/" in path]
    assert [headers.get("Range") for headers in content] == [None, "bytes=10485760-"]
    assert is_complete(model_dir(params))
    assert "Error while downloading from" in caplog.text
    assert "SECRET" not in caplog.text


@pytest.mark.parametrize("status", [429, 500, 503])
def test_hub_in_trouble_is_transient(hub: FakeHub, new_params: NewParams, status: int) -> None:
    hub.statuses = [status]
    with pytest.raises(TransientError) as caught:
        fetch(new_params(source="hub"), hub)
    assert str(caught.value) == f"{hub.endpoint}/owner/model: the Hub answered {status}"


def test_damaged_file_is_fetched_again_and_the_others_kept(
    hub: FakeHub, new_params: NewParams
) -> None:
    hub.damaged = 1
    params = new_params(source="hub")
    with pytest.raises(TransientError) as caught:
        fetch(params, hub)
    assert str(caught.value) == (
        "owner/model from hub: model.safetensors arrived damaged or changed meanwhile; a retry "
        "fetches them again"
    )
    assert not is_complete(model_dir(params))
    hub.requests.clear()
    fetch(params, hub)
    assert is_complete(model_dir(params))
    assert not [path for path in hub.downloads() if "tokenizer" in path]


def test_gated_model_names_licence_page_and_token(
    hub: FakeHub, new_params: NewParams, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.gated.add("owner/model")
    params = new_params(source="hub")
    for token in (None, "hf_wrong"):
        if token:
            monkeypatch.setenv("HF_TOKEN", token)
        with pytest.raises(PermanentError) as caught:
            fetch(params, hub)
        assert str(caught.value) == (
            f"{hub.endpoint}/owner/model is gated: accept its license on that page, and set "
            "HF_TOKEN to a token of the same account"
        )
    monkeypatch.setenv("HF_TOKEN", hub.token)
    fetch(params, hub)
    assert is_complete(model_dir(params))


def test_unknown_repository_and_revision_are_told_apart(
    hub: FakeHub, new_params: NewParams
) -> None:
    with pytest.raises(PermanentError) as caught:
        fetch(new_params(source="hub", repository="owner/absent"), hub)
    assert str(caught.value) == (
        f"{hub.endpoint}/owner/absent does not exist, or is private and HF_TOKEN has no access "
        "to it"
    )
    with pytest.raises(PermanentError) as caught:
        fetch(new_params(source="hub", revision="v9"), hub)
    assert str(caught.value) == f"{hub.endpoint}/owner/model has no revision v9"


def test_hub_that_cannot_be_reached_is_transient(new_params: NewParams) -> None:
    params = new_params(source="hub")
    with pytest.raises(TransientError, match=r"^http://127\.0\.0\.1:9/owner/model cannot be"):
        run(params, progress=Progress(), hub_endpoint="http://127.0.0.1:9")


def test_a_hub_of_a_private_authority_is_asked_with_its_certificate(
    new_params: NewParams, tmp_path: Path
) -> None:
    params = new_params(source="hub")
    with private_hub(tmp_path) as (private, certificate):
        private.repositories["owner/model"] = model_files()
        with pytest.raises(PermanentError, match=r"is not trusted \(.*--ca-file.*SSL_CERT_FILE"):
            fetch(params, private)
        fetched = fetch(replace(params, ca_file=certificate), private)
    assert not fetched.cached


def test_full_volume_is_found_before_the_download(hub: FakeHub, new_params: NewParams) -> None:
    params = new_params(source="hub")
    with pytest.raises(PermanentError) as caught:
        run(
            params,
            progress=Progress(),
            hub_endpoint=hub.endpoint,
            free_bytes=lambda directory: 1000,
        )
    assert str(caught.value) == (
        f"{model_dir(params).parent}: the model needs 0.0 GB more, 0.0 GB are free; "
        "free space, or request a larger volume for the model cache"
    )
    assert hub.downloads() == []


def test_progress_reaches_the_end(hub: FakeHub, new_params: NewParams, tmp_path: Path) -> None:
    path = tmp_path / "progress"
    progress = Progress(path, interval_seconds=0.0)
    run(new_params(source="hub"), progress=progress, hub_endpoint=hub.endpoint)
    counts = [tuple(map(int, line.split("/"))) for line in path.read_text().splitlines()]
    size = sum(map(len, model_files().values()))
    assert counts[-1] == (size, size)
    assert [done for done, _ in counts] == sorted(done for done, _ in counts)


def test_endpoint_of_the_environment_is_used(hub: FakeHub, new_params: NewParams) -> None:
    params = new_params(source="hub")
    command = [sys.executable, "-m", "argotune.steps.model", "--plan-file", str(params.plan_file)]
    command += ["--cache-dir", str(params.cache_dir)]
    environment = os.environ | {"HF_ENDPOINT": hub.endpoint}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert is_complete(model_dir(params))
    assert hub.downloads()
    assert f"/owner/model/resolve/{COMMIT}/config.json" in hub.downloads()


def test_index_that_names_a_missing_file_is_refused(hub: FakeHub, new_params: NewParams) -> None:
    index = {"weight_map": {"a": "model-00001-of-00002.safetensors", "b": "model.safetensors"}}
    hub.repositories["owner/model"]["model.safetensors.index.json"] = json.dumps(index).encode()
    with pytest.raises(PermanentError, match=r"model-00001-of-00002\.safetensors is missing"):
        fetch(new_params(source="hub"), hub)


def test_weights_cut_at_the_source_are_refused(hub: FakeHub, new_params: NewParams) -> None:
    hub.repositories["owner/model"]["model.safetensors"] = safetensors(b"1234")[:-1]
    with pytest.raises(PermanentError) as caught:
        fetch(new_params(source="hub"), hub)
    assert str(caught.value) == (
        "owner/model from hub: model.safetensors has the wrong size: its tensors take 4 bytes, "
        "the file has 3"
    )


def test_directory_is_taken_over_and_left_as_it_is(tmp_path: Path, new_params: NewParams) -> None:
    source = tmp_path / "weights"
    source.mkdir()
    coded = json.dumps(config(auto_map={"AutoConfig": "x.Y"})).encode()
    for name, content in model_files(**{"config.json": coded}).items():
        (source / name).write_bytes(content)
    (source / "notes.txt").write_text("mine")
    params = new_params(source=f"dir:{source}")
    result = run(params, progress=Progress())
    assert not result.cached
    made = params.cache_dir / result.model_dir
    assert is_complete(made)
    assert (source / "config.json").read_bytes() == coded
    assert not (made / "notes.txt").exists()
    weights = (made / "model.safetensors").read_bytes()
    # Into the same file, which a hard link would show in the cache.
    (source / "model.safetensors").write_bytes(b"other")
    assert (made / "model.safetensors").read_bytes() == weights


def make_weights(directory: Path, **files: bytes) -> Path:
    """A model outside of the cache."""
    directory.mkdir(exist_ok=True)
    for name, content in model_files(**files).items():
        (directory / name).write_bytes(content)
    return directory


def test_other_weights_never_stand_where_a_preset_is_looked_for(
    tmp_path: Path, hub: FakeHub, new_params: NewParams
) -> None:
    """The fault: a directory filled the preset's place, and the next run trained on its weights."""
    other = make_weights(tmp_path / "other", **{"model.safetensors": safetensors(b"other")})
    foreign = run(new_params(source=f"dir:{other}"), progress=Progress())
    result = fetch(new_params(source="hub"), hub)
    params = new_params(source="cache")
    assert run(params, progress=Progress()).model_dir == result.model_dir != foreign.model_dir
    kept = params.cache_dir / result.model_dir / "model.safetensors"
    assert kept.read_bytes() == model_files()["model.safetensors"]
    assert foreign.origin.startswith(f"dir:{other} at sha256:")


def test_a_directory_is_read_where_the_preset_is_in_the_cache(
    tmp_path: Path, hub: FakeHub, new_params: NewParams
) -> None:
    fetch(new_params(source="hub"), hub)
    other = make_weights(tmp_path / "other", **{"model.safetensors": safetensors(b"other")})
    params = new_params(source=f"dir:{other}")
    result = run(params, progress=Progress())
    made = params.cache_dir / result.model_dir / "model.safetensors"
    assert made.read_bytes() == safetensors(b"other")
    assert run(params, progress=Progress()).cached


@pytest.mark.parametrize("name", ["model.safetensors", "tokenizer.json", "chat_template.jinja"])
def test_a_changed_file_of_a_directory_is_another_model(
    tmp_path: Path, new_params: NewParams, name: str
) -> None:
    source = make_weights(tmp_path / "weights", **{"chat_template.jinja": b"a"})
    params = new_params(source=f"dir:{source}")
    first = run(params, progress=Progress())
    before = (source / name).read_bytes()
    (source / name).write_bytes(before[:-1] + b" ")
    second = run(params, progress=Progress())
    assert not second.cached
    assert second.model_dir != first.model_dir
    assert (params.cache_dir / first.model_dir / name).read_bytes() == before


@pytest.mark.parametrize("cached", [False, True])
def test_weights_of_another_architecture_are_refused(
    tmp_path: Path, new_params: NewParams, cached: bool
) -> None:
    source = make_weights(tmp_path / "weights")
    if cached:
        run(new_params(source=f"dir:{source}"), progress=Progress())
    params = new_params(source=f"dir:{source}", preset="phi-3-mini-4k-instruct")
    with pytest.raises(PermanentError) as caught:
        run(params, progress=Progress())
    said = str(caught.value)
    assert said.startswith(f"owner/model from dir:{source}: config.json has ")
    assert (
        "config.json has num_hidden_layers 4, but preset phi-3-mini-4k-instruct has 32; name the"
        " preset of these weights, or make one with `argotune presets add`"
    ) in said
    assert "config.json has hidden_size 256, but" in said


def test_a_directory_without_room_in_the_cache_is_refused_before_it_is_copied(
    tmp_path: Path, new_params: NewParams
) -> None:
    source = make_weights(tmp_path / "weights")
    params = new_params(source=f"dir:{source}")
    with pytest.raises(PermanentError, match=r"the model needs .* GB more, 0\.0 GB are"):
        run(params, progress=Progress(), free_bytes=lambda directory: 1000)
    assert not list(params.cache_dir.rglob("*.safetensors"))


def test_weights_of_the_earlier_layout_are_taken_over_where_the_hub_has_the_same(
    hub: FakeHub, new_params: NewParams
) -> None:
    params = new_params(source="hub")
    old = put(params.cache_dir / "owner--model" / "main", origin=None)
    result = fetch(params, hub)
    made = params.cache_dir / result.model_dir / "model.safetensors"
    assert (made.stat().st_ino, result.origin) == (
        (old / "model.safetensors").stat().st_ino,
        "hub at main",
    )
    assert not [path for path in hub.downloads() if path.endswith(".safetensors")]


def test_foreign_weights_of_the_earlier_layout_are_not_trusted_and_not_touched(
    hub: FakeHub, new_params: NewParams
) -> None:
    """Services may be on them."""
    params = new_params(source="hub")
    files = {"model.safetensors": safetensors(bytes(1_024_000))}
    old = put(params.cache_dir / "owner--model" / "main", origin=None, **files)
    with pytest.raises(PermanentError, match="is of an earlier layout, which does not say where"):
        run(new_params(source="cache"), progress=Progress())
    result = fetch(new_params(source="hub"), hub)
    made = params.cache_dir / result.model_dir / "model.safetensors"
    assert made.read_bytes() == model_files()["model.safetensors"]
    assert (old / "model.safetensors").read_bytes() == files["model.safetensors"]


def test_directory_of_links_is_followed(tmp_path: Path, new_params: NewParams) -> None:
    """The Hub's own cache has links to files elsewhere."""
    blobs, source = tmp_path / "blobs", tmp_path / "snapshot"
    blobs.mkdir()
    source.mkdir()
    for name, content in model_files().items():
        (blobs / name).write_bytes(content)
        (source / name).symlink_to(blobs / name)
    params = new_params(source=f"dir:{source}")
    made = params.cache_dir / run(params, progress=Progress()).model_dir
    assert not any(path.is_symlink() for path in made.iterdir())
    assert is_complete(made)


def test_missing_directory_is_named(new_params: NewParams) -> None:
    with pytest.raises(PermanentError) as caught:
        run(new_params(source="dir:/absent/weights"), progress=Progress())
    assert str(caught.value) == "dir:/absent/weights: no such directory"


def test_missing_tiny_model_names_both_remedies(new_params: NewParams) -> None:
    params = new_params(source="cache", preset="tiny", repository="argotune/tiny")
    with pytest.raises(PermanentError) as caught:
        run(params, progress=Progress())
    assert str(caught.value) == (
        f"preset tiny is missing in the model cache {params.cache_dir}/presets/argotune--tiny/main"
        "; `argotune tiny` makes it on the machine of `argotune run`; on a cluster submit"
        " workflows/demo/tiny-weights.yaml once"
    )


def test_damaged_cache_says_what_is_wrong(new_params: NewParams) -> None:
    params = new_params(source="cache")
    put(model_dir(params))
    (model_dir(params) / "model.safetensors").unlink()
    with pytest.raises(PermanentError, match=r"or incomplete \(model\.safetensors is missing\)"):
        run(params, progress=Progress())


def test_cached_model_needs_no_source(new_params: NewParams) -> None:
    params = new_params(source="cache")
    put(model_dir(params))
    assert run(params, progress=Progress()).cached


def test_cut_file_in_the_cache_is_fetched_again(hub: FakeHub, new_params: NewParams) -> None:
    params = new_params(source="hub")
    fetch(params, hub)
    weights = model_dir(params) / "model.safetensors"
    os.truncate(weights, 10)
    assert not fetch(params, hub).cached
    assert weights.read_bytes() == model_files()["model.safetensors"]


def test_changed_bytes_in_the_cache_are_found_when_asked_for(
    hub: FakeHub, new_params: NewParams
) -> None:
    params = new_params(source="hub")
    fetch(params, hub)
    weights = model_dir(params) / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"x")
    assert fetch(params, hub).cached
    assert not fetch(new_params(source="hub", verify_contents=True), hub).cached
    assert weights.read_bytes() == model_files()["model.safetensors"]


def test_unknown_source_is_refused(new_params: NewParams) -> None:
    with pytest.raises(ParamsError) as caught:
        run(new_params(source="ftp:weights"), progress=Progress())
    assert str(caught.value) == (
        "model source 'ftp:weights': accepted are hub, oci:IMAGE, dir:DIRECTORY and cache"
    )


def test_second_run_waits_for_the_first_and_takes_its_result(
    hub: FakeHub, new_params: NewParams
) -> None:
    params = new_params(source="hub")
    directory = model_dir(params)
    directory.parent.mkdir(parents=True)
    results: list[Result] = []
    with (directory.parent / ".main.lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        waiting = threading.Thread(target=lambda: results.append(fetch(params, hub)))
        waiting.start()
        # What the first run would do while it has the lock.
        put(directory)
    waiting.join(timeout=30)
    assert [result.cached for result in results] == [True]
    assert hub.requests == []
