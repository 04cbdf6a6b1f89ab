from __future__ import annotations

import fcntl
import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from argotune.steps.common.errors import ParamsError, PermanentError, TransientError
from argotune.steps.common.progress import Progress
from argotune.steps.contracts.model_cache import MARKER, cache_path, is_complete, mark_complete
from argotune.steps.model.params import Params, Result
from argotune.steps.model.run import run
from tests.fakes.hub import COMMIT, FakeHub
from tests.steps.model.conftest import model_files, safetensors

NewParams = Callable[..., Params]


def fetch(params: Params, hub: FakeHub) -> Result:
    return run(params, progress=Progress(), hub_endpoint=hub.endpoint)


def model_dir(params: Params) -> Path:
    return cache_path(params.cache_dir, "owner/model", "main")


def test_hub_model_arrives_whole_and_marked(hub: FakeHub, new_params: NewParams) -> None:
    params = new_params(source="hub")
    result = fetch(params, hub)
    files = model_files()
    assert result.model_dir == "owner--model/main"
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
    config = {
        "model_type": "phi3",
        "auto_map": {"AutoConfig": "configuration_phi3.Phi3Config"},
        "text_config": {"auto_map": {"AutoModel": "other/repo--code.Model"}, "size": 1},
    }
    hub.repositories["owner/model"]["config.json"] = json.dumps(config).encode()
    params = new_params(source="hub")
    fetch(params, hub)
    kept = json.loads((model_dir(params) / "config.json").read_text())
    assert kept == {"model_type": "phi3", "text_config": {"size": 1}}


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
        "owner/model: model.safetensors arrived damaged; a retry downloads them again"
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
        "request a larger volume for the model cache"
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
    config = json.dumps({"model_type": "phi3", "auto_map": {"AutoConfig": "x.Y"}}).encode()
    for name, content in model_files(**{"config.json": config}).items():
        (source / name).write_bytes(content)
    (source / "notes.txt").write_text("mine")
    params = new_params(source=f"dir:{source}")
    result = run(params, progress=Progress())
    assert not result.cached
    assert is_complete(model_dir(params))
    assert (source / "config.json").read_bytes() == config
    linked = (model_dir(params) / "model.safetensors").stat()
    assert linked.st_ino == (source / "model.safetensors").stat().st_ino
    assert not (model_dir(params) / "notes.txt").exists()


def test_directory_of_links_is_followed(tmp_path: Path, new_params: NewParams) -> None:
    """The Hub's own cache has links to files elsewhere."""
    blobs, source = tmp_path / "blobs", tmp_path / "snapshot"
    blobs.mkdir()
    source.mkdir()
    for name, content in model_files().items():
        (blobs / name).write_bytes(content)
        (source / name).symlink_to(blobs / name)
    params = new_params(source=f"dir:{source}")
    run(params, progress=Progress())
    assert not any(path.is_symlink() for path in model_dir(params).iterdir())
    assert is_complete(model_dir(params))


def test_missing_directory_is_named(new_params: NewParams) -> None:
    with pytest.raises(PermanentError) as caught:
        run(new_params(source="dir:/absent/weights"), progress=Progress())
    assert str(caught.value) == "dir:/absent/weights: no such directory"


def test_missing_tiny_model_names_the_command(new_params: NewParams) -> None:
    params = new_params(source="cache", preset="tiny", repository="argotune/tiny")
    with pytest.raises(PermanentError) as caught:
        run(params, progress=Progress())
    assert str(caught.value) == (
        f"preset tiny is missing in the model cache {params.cache_dir}/argotune--tiny/main; "
        "create it with `make tiny`"
    )


def test_damaged_cache_says_what_is_wrong(new_params: NewParams) -> None:
    params = new_params(source="cache")
    model_dir(params).mkdir(parents=True)
    (model_dir(params) / "model.safetensors").write_bytes(safetensors())
    mark_complete(model_dir(params))
    (model_dir(params) / "model.safetensors").unlink()
    with pytest.raises(PermanentError, match=r"or incomplete \(model\.safetensors is missing\)"):
        run(params, progress=Progress())


def test_cached_model_needs_no_source(new_params: NewParams) -> None:
    params = new_params(source="cache")
    model_dir(params).mkdir(parents=True)
    (model_dir(params) / "model.safetensors").write_bytes(safetensors())
    mark_complete(model_dir(params))
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
        directory.mkdir()
        (directory / "model.safetensors").write_bytes(safetensors())
        mark_complete(directory)
    waiting.join(timeout=30)
    assert [result.cached for result in results] == [True]
    assert hub.requests == []
