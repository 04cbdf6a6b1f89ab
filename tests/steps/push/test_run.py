from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import signal
import ssl
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from argotune.steps.common.errors import ParamsError, PermanentError, TransientError
from argotune.steps.common.progress import Progress
from argotune.steps.common.values import NOT_MEASURED
from argotune.steps.contracts.evaluation import Comparison, Evaluation, write_evaluation
from argotune.steps.contracts.report import report_tag
from argotune.steps.contracts.start_adapter import StartAdapter, write_start_adapter
from argotune.steps.contracts.training_plan import UNKNOWN_LICENSE, read_plan, write_plan
from argotune.steps.provenance.statement import statement_tag
from argotune.steps.push.params import Params, Result
from argotune.steps.push.run import run
from tests.fakes.adapter import write_adapter, write_base, write_tiny_plan
from tests.fakes.registry import Fault, Registry, docker_config, serving

needs_skopeo = pytest.mark.skipif(
    shutil.which("skopeo") is None, reason="skopeo is not installed on this machine"
)
needs_openssl = pytest.mark.skipif(
    shutil.which("openssl") is None, reason="openssl is not installed on this machine"
)


@pytest.fixture
def work_dir(tmp_path: Path) -> Path:
    work_dir = tmp_path / "work:1"
    write_adapter(work_dir / "adapter")
    write_tiny_plan(work_dir / "plan.yaml")
    return work_dir


def params(work_dir: Path, image: str, **changes: Any) -> Params:
    values: dict[str, Any] = {
        "work_dir": work_dir,
        "plan_file": work_dir / "plan.yaml",
        "image": image,
        "dataset_digest": "sha256:" + "a" * 64,
        "model_dir": "argotune--tiny/0",
        "base_loss": 3.25,
        "tuned_loss": 1.5,
        "created": "2026-01-01T00:00:00Z",
    }
    return Params(**values | changes)


def push(
    work_dir: Path, registry: Registry, pauses: list[float] | None = None, **changes: Any
) -> Result:
    """Push with the right login unless told otherwise; pauses are noted, not waited for."""
    auth_file = work_dir / "config.json"
    if not auth_file.exists():
        auth_file.write_text(docker_config(registry.host))
    values = {"auth_file": auth_file, "push_secret": "acr-push"} | changes
    waited = pauses if pauses is not None else []
    wanted = params(work_dir, f"{registry.host}/team/phi:1", **values)
    return run(wanted, progress=Progress(), sleep=waited.append)


def test_a_layout_needs_no_registry_and_no_skopeo(
    work_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "")
    layout = work_dir / "out"
    result = run(params(work_dir, f"oci:{layout}"), progress=Progress())
    index = json.loads((layout / "index.json").read_bytes())
    assert result.reference == f"oci:{layout}@{result.digest}"
    assert result.size_mb == pytest.approx(0.012, abs=0.002)
    statement = result.provenance.partition("@")[2]
    assert {entry["digest"] for entry in index["manifests"]} == {result.digest, statement}
    assert [entry["annotations"] for entry in index["manifests"]] == [
        {"org.opencontainers.image.ref.name": tag}
        for tag in ("candidate", "latest", statement_tag(result.digest))
    ]


def test_the_adapters_digest_does_not_depend_on_where_its_data_came_from(work_dir: Path) -> None:
    """Only the statement beside it names the URLs."""
    sources = ["https://example.com/rows.jsonl", "hf://datasets/me/rows/data", "s3://rows/data/"]
    sources += ["oci://example.com/me/rows:v1", "volume://rows/", "file:///data/rows.jsonl"]
    results = [
        run(params(work_dir, f"oci:{work_dir}/out", urls=(url,)), progress=Progress())
        for url in sources
    ]
    assert len({result.digest for result in results}) == 1
    assert len({result.provenance for result in results}) == len(sources)


def test_a_claim_gets_a_copy_under_the_images_digest(work_dir: Path, tmp_path: Path) -> None:
    claim = tmp_path / "claim"
    claim.mkdir()
    wanted = {"output_claim": "adapters", "output_dir": claim}
    result = run(params(work_dir, f"oci:{tmp_path}/out", **wanted), progress=Progress())
    name = f"phi-tuned/{result.digest.replace(':', '-')}"
    assert result.volume == f"volume://adapters/{name}"
    copied = {path.name: path.read_bytes() for path in (claim / name).iterdir()}
    assert copied == {path.name: path.read_bytes() for path in (work_dir / "adapter").iterdir()}
    # Somebody may be reading it.
    inode = (claim / name).stat().st_ino
    again = run(params(work_dir, f"oci:{tmp_path}/out", **wanted), progress=Progress())
    assert (again.volume, (claim / name).stat().st_ino) == (result.volume, inode)


def test_a_rejected_adapters_copy_says_so(work_dir: Path, tmp_path: Path) -> None:
    wanted = {"output_claim": "adapters", "output_dir": tmp_path, "verdict": "rejected"}
    result = run(params(work_dir, f"oci:{tmp_path}/out", **wanted), progress=Progress())
    assert result.volume == f"volume://adapters/phi-tuned/rejected-{result.digest[7:19]}"


def test_a_claim_that_is_not_mounted_is_named(work_dir: Path, tmp_path: Path) -> None:
    wanted = {"output_claim": "adapters", "output_dir": tmp_path / "absent"}
    with pytest.raises(ParamsError, match="claim adapters is not mounted"):
        run(params(work_dir, f"oci:{tmp_path}/out", **wanted), progress=Progress())


@needs_skopeo
def test_a_registry_that_locks_the_candidates_tag_has_the_adapter(
    work_dir: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with serving(login=True) as registry:
        registry.faults = [Fault("PUT", "manifests/candidate", status=409, body="locked")]
        result = push(work_dir, registry)
        assert ("team/phi", "1") in registry.manifests
    assert result.reference == f"{registry.host}/team/phi@{result.digest}"
    assert "tag-not-set" in caplog.text


def test_the_image_says_where_it_comes_from(work_dir: Path) -> None:
    plan = write_tiny_plan(work_dir / "plan.yaml")
    layout = work_dir / "out"
    result = run(params(work_dir, f"oci:{layout}:2"), progress=Progress())
    manifest = json.loads((layout / "blobs/sha256" / result.digest[7:]).read_bytes())
    config_digest = manifest["annotations"].pop("sh.argotune.config-digest")
    plan_digest = hashlib.sha256((work_dir / "plan.yaml").read_bytes()).hexdigest()
    assert config_digest == f"sha256:{plan_digest}"
    assert manifest["annotations"] == {
        "org.opencontainers.image.created": "2026-01-01T00:00:00Z",
        "org.opencontainers.image.title": "phi-tuned",
        "org.opencontainers.image.version": "2",
        "org.opencontainers.image.revision": plan.model.revision,
        "org.opencontainers.image.licenses": "Apache-2.0",
        "sh.argotune.base-model": "argotune/tiny",
        "sh.argotune.base-revision": plan.model.revision,
        "sh.argotune.base-digest": f"sha256:{64 * 'b'}",
        "sh.argotune.model-dir": "argotune--tiny/0",
        "sh.argotune.dataset-digest": "sha256:" + "a" * 64,
        "sh.argotune.base-loss": "3.25",
        "sh.argotune.tuned-loss": "1.5",
        "sh.argotune.verdict": "passed",
        "sh.kaito.model.name": "tiny",
    }


def test_the_image_says_which_adapter_training_began_with(work_dir: Path) -> None:
    plan = write_tiny_plan(work_dir / "plan.yaml")
    lora = msgspec.structs.replace(plan.lora, start_from="live")
    write_plan(work_dir / "plan.yaml", msgspec.structs.replace(plan, lora=lora))
    began = f"sha256:{64 * '5'}"
    write_start_adapter(work_dir, StartAdapter(digest=began, warm_starts=2))
    layout = work_dir / "out"
    result = run(params(work_dir, f"oci:{layout}:2"), progress=Progress())
    manifest = json.loads((layout / "blobs/sha256" / result.digest[7:]).read_bytes())
    assert manifest["annotations"]["sh.argotune.started-from"] == began
    assert manifest["annotations"]["sh.argotune.warm-starts"] == "2"
    blobs = [path.read_text(errors="replace") for path in (layout / "blobs/sha256").iterdir()]
    (statement,) = (text for text in blobs if '"predicateType"' in text)
    dependencies = json.loads(statement)["predicate"]["buildDefinition"]["resolvedDependencies"]
    assert {"name": "start-adapter", "digest": {"sha256": 64 * "5"}} in dependencies


def test_the_image_has_the_loss_of_the_adapter_in_service(work_dir: Path) -> None:
    live = Comparison(against="live", loss=1.75, gain=0.25, margin=0.0, passed=True)
    evaluation = Evaluation(
        made_from={},
        verdict="passed",
        reason="It is better.",
        rows=40,
        tokens=900,
        new_loss=1.5,
        confidence=0.95,
        comparisons=[live],
    )
    write_evaluation(work_dir, evaluation)
    layout = work_dir / "out"
    result = run(params(work_dir, f"oci:{layout}:2"), progress=Progress())
    manifest = json.loads((layout / "blobs/sha256" / result.digest[7:]).read_bytes())
    assert manifest["annotations"]["sh.argotune.live-loss"] == "1.75"


def test_the_image_names_other_weights_than_the_presets(work_dir: Path) -> None:
    digest = f"sha256:{64 * 'c'}"
    image = "oci:acr.io/models/tiny:1"
    write_base(work_dir / "adapter", repository=image, source=image, revision=digest)
    layout = work_dir / "out"
    result = run(params(work_dir, f"oci:{layout}:2"), progress=Progress())
    manifest = json.loads((layout / "blobs/sha256" / result.digest[7:]).read_bytes())
    annotations = manifest["annotations"]
    assert annotations["org.opencontainers.image.base.name"] == "acr.io/models/tiny:1"
    assert annotations["org.opencontainers.image.base.digest"] == digest
    assert annotations["org.opencontainers.image.revision"] == digest
    assert annotations["sh.argotune.base-model"] == image
    assert "org.opencontainers.image.licenses" not in annotations


def test_a_license_that_nobody_states_is_not_in_the_image(work_dir: Path) -> None:
    plan = read_plan(work_dir / "plan.yaml")
    model = msgspec.structs.replace(plan.model, license=UNKNOWN_LICENSE)
    write_plan(work_dir / "plan.yaml", msgspec.structs.replace(plan, model=model))
    layout = work_dir / "out"
    result = run(params(work_dir, f"oci:{layout}:2"), progress=Progress())
    manifest = json.loads((layout / "blobs/sha256" / result.digest[7:]).read_bytes())
    assert "org.opencontainers.image.licenses" not in manifest["annotations"]


def test_the_image_of_a_run_without_held_out_rows_says_so(work_dir: Path) -> None:
    layout = work_dir / "out"
    losses = {"base_loss": NOT_MEASURED, "tuned_loss": NOT_MEASURED}
    result = run(params(work_dir, f"oci:{layout}:2", **losses), progress=Progress())
    annotations = json.loads((layout / "blobs/sha256" / result.digest[7:]).read_bytes())[
        "annotations"
    ]
    assert annotations["sh.argotune.base-loss"] == "not measured"
    assert annotations["sh.argotune.tuned-loss"] == "not measured"


REJECTED = {"verdict": "rejected"}


@needs_skopeo
def test_a_rejected_adapter_gets_no_tag_but_its_own(work_dir: Path) -> None:
    with serving() as registry:
        passed = push(work_dir, registry)
        rejected = push(work_dir, registry, created="2026-01-02T00:00:00Z", **REJECTED)
        assert rejected.digest != passed.digest
        own = f"rejected-{rejected.digest.removeprefix('sha256:')[:12]}"
        digests = {
            name: f"sha256:{hashlib.sha256(content).hexdigest()}"
            for (_, name), (_, content) in registry.manifests.items()
        }
        assert (digests["1"], digests[own]) == (passed.digest, rejected.digest)
        assert rejected.report.startswith(f"{registry.host}/team/phi@sha256:")


def test_a_layout_keeps_the_tag_of_the_adapter_before_a_rejected_one(work_dir: Path) -> None:
    image = f"oci:{work_dir / 'out'}:1"
    passed = run(params(work_dir, image), progress=Progress())
    changes = {"created": "2026-01-02T00:00:00Z", **REJECTED}
    rejected = run(params(work_dir, image, **changes), progress=Progress())
    tags = {
        entry["annotations"]["org.opencontainers.image.ref.name"]: entry["digest"]
        for entry in json.loads((work_dir / "out" / "index.json").read_bytes())["manifests"]
    }
    assert tags["1"] == passed.digest
    assert tags[f"rejected-{rejected.digest.removeprefix('sha256:')[:12]}"] == rejected.digest


def test_progress_ends_at_the_total(work_dir: Path) -> None:
    progress_file = work_dir / "progress"
    progress = Progress(progress_file, interval_seconds=0)
    run(params(work_dir, f"oci:{work_dir / 'out'}"), progress=progress)
    done, total = progress_file.read_text().split()[-1].split("/")
    assert int(done) == int(total) > 0


@needs_skopeo
def test_a_registry_has_the_very_manifest_of_the_layout(work_dir: Path) -> None:
    with serving(login=True) as registry:
        result = push(work_dir, registry)
        media_type, manifest = registry.manifests["team/phi", "1"]
    assert result.reference == f"{registry.host}/team/phi@{result.digest}"
    assert result.digest == f"sha256:{hashlib.sha256(manifest).hexdigest()}"
    assert media_type == "application/vnd.oci.image.manifest.v1+json"
    layer = json.loads(manifest)["layers"][0]
    assert layer["mediaType"] == "application/vnd.oci.image.layer.v1.tar"
    assert layer["digest"] in registry.blobs


@needs_skopeo
def test_a_second_push_sends_no_blob_again(work_dir: Path) -> None:
    with serving(login=True) as registry:
        first = push(work_dir, registry)
        uploads = registry.count("POST", "uploads")
        assert push(work_dir, registry) == first
        assert registry.count("POST", "uploads") == uploads == 6


@needs_skopeo
@pytest.mark.parametrize(
    "fault",
    [
        Fault("PUT", "manifests", 3, 503),
        Fault("PUT", "manifests", 3, 429),
        Fault("POST", "uploads", 3, 500),
        Fault("GET", "^/v2/$", 3, 502),
        Fault("PATCH", "uploads", 2, None),
    ],
    ids=lambda fault: f"{fault.method}-{fault.status}",
)
def test_a_registry_that_comes_back_gets_the_image(work_dir: Path, fault: Fault) -> None:
    pauses: list[float] = []
    expected = fault.times
    with serving(login=True, faults=[fault]) as registry:
        result = push(work_dir, registry, pauses)
        assert ("team/phi", result.digest) in registry.manifests
    assert pauses == [1.0, 2.0, 5.0][:expected]


@needs_skopeo
def test_a_registry_that_stays_down_is_a_transient_error(work_dir: Path) -> None:
    pauses: list[float] = []
    with serving(faults=[Fault("PUT", "manifests", 99, 503)]) as registry:
        with pytest.raises(TransientError) as caught:
            push(work_dir, registry, pauses, attempts=3)
        host = registry.host
    assert str(caught.value) == (
        f"{host}/team/phi:1: writing manifest: uploading manifest 1 to {host}/team/phi: "
        "received unexpected HTTP status: 503 Service Unavailable"
    )
    assert len(pauses) == 2


@needs_skopeo
def test_a_wrong_password_fails_at_once_and_names_the_secret(work_dir: Path) -> None:
    pauses: list[float] = []
    with serving(login=True) as registry:
        auth_file = work_dir / "config.json"
        auth_file.write_text(docker_config(registry.host, password="geheim"))
        with pytest.raises(PermanentError) as caught:
            push(work_dir, registry, pauses)
        host = registry.host
    message = str(caught.value)
    assert message.startswith(f"registry {host} refused {host}/team/phi: ")
    assert message.endswith(f"; the login came from secret acr-push ({auth_file})")
    assert "geheim" not in message
    assert pauses == []


@needs_skopeo
def test_a_registry_that_wants_a_login_and_gets_none(work_dir: Path) -> None:
    with serving(login=True) as registry, pytest.raises(PermanentError) as caught:
        push(work_dir, registry, auth_file=None)
    assert str(caught.value).endswith(
        "the login came from no login file (no push or pull secret was given)"
    )


@needs_skopeo
def test_a_secret_of_another_registry_is_refused_before_anything_is_sent(work_dir: Path) -> None:
    auth_file = work_dir / "config.json"
    auth_file.write_text(docker_config("other.io"))
    with serving(login=True) as registry:
        with pytest.raises(PermanentError) as caught:
            push(work_dir, registry)
        assert registry.requests == []
    assert str(caught.value) == (
        f"secret acr-push ({auth_file}) has no login for registry {registry.host}; it has other.io"
    )


@needs_skopeo
def test_a_registry_without_login_needs_no_file(work_dir: Path) -> None:
    with serving() as registry:
        result = push(work_dir, registry, auth_file=work_dir / "not-mounted")
        assert ("team/phi", result.digest) in registry.manifests


@needs_skopeo
def test_a_registry_that_stores_something_else_is_noticed(work_dir: Path) -> None:
    with serving() as registry:
        push(work_dir, registry)
        changed = registry.manifests["team/phi", "1"]
        write_base(work_dir / "adapter", repository="other/base")
        registry.faults = [Fault("PUT", "manifests", 1, 201)]
        with pytest.raises(TransientError, match="is another run pushing to this tag"):
            push(work_dir, registry)
        assert registry.manifests["team/phi", "1"] == changed


def test_missing_skopeo_says_what_to_install(
    work_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "")
    with pytest.raises(PermanentError) as caught:
        run(params(work_dir, "127.0.0.1:1/phi:1"), progress=Progress())
    assert str(caught.value) == (
        "skopeo is not installed; registries need it: install the package skopeo, or use "
        "oci:DIRECTORY"
    )


@needs_skopeo
@needs_openssl
def test_a_private_certificate_authority_is_used_when_given(work_dir: Path) -> None:
    certificate, context = _self_signed(work_dir)
    with serving(login=True, tls=context) as registry:
        result = push(work_dir, registry, ca_file=certificate)
        assert ("team/phi", result.digest) in registry.manifests
    other, _ = _self_signed(work_dir, "other")
    with serving(login=True, tls=context) as registry:
        (work_dir / "config.json").write_text(docker_config(registry.host))
        with pytest.raises(PermanentError, match="ConfigMap argotune-ca, key"):
            push(work_dir, registry, ca_file=other)


@needs_skopeo
def test_a_missing_certificate_authority_is_the_systems(work_dir: Path) -> None:
    with serving(login=True) as registry:
        result = push(work_dir, registry, ca_file=work_dir / "ca.pem")
        assert ("team/phi", result.digest) in registry.manifests


def _self_signed(directory: Path, name: str = "tls") -> tuple[Path, ssl.SSLContext]:
    certificate, key = directory / f"{name}.crt", directory / f"{name}.key"
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"),
            *("-nodes", "-days", "2", "-subj", f"/CN={name}"),
            *("-addext", "subjectAltName=IP:127.0.0.1"),
            *("-keyout", str(key), "-out", str(certificate)),
        ],
        check=True,
        capture_output=True,
        timeout=60,
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    return certificate, context


@needs_skopeo
def test_a_push_that_is_killed_leaves_no_tag(work_dir: Path) -> None:
    """The tag is what goes last; blobs without one are what the next try finds."""
    with serving(login=True) as registry:
        # The layer's upload never gets an answer, so the kill comes in the middle of it.
        registry.faults = [Fault("PATCH", "/blobs/uploads/", hold_seconds=30.0)]
        process = _push_as_a_process(work_dir, registry)
        _wait_for(lambda: bool(registry.uploads), process)
        os.killpg(process.pid, signal.SIGKILL)
        assert process.wait(10) == -signal.SIGKILL
        assert registry.manifests == {}
        registry.faults = []
        result = push(work_dir, registry)
        assert set(registry.manifests) == {
            ("team/phi", "1"),
            ("team/phi", "candidate"),
            ("team/phi", result.digest),
            ("team/phi", report_tag(result.digest)),
            ("team/phi", result.report.partition("@")[2]),
            ("team/phi", statement_tag(result.digest)),
            ("team/phi", result.provenance.partition("@")[2]),
        }


def _wait_for(
    happened: Callable[[], bool], process: subprocess.Popen[bytes], *, seconds: float = 30.0
) -> None:
    deadline = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < deadline
        with contextlib.suppress(subprocess.TimeoutExpired):
            pytest.fail(f"the process ended with {process.wait(0.02)}")


def _push_as_a_process(work_dir: Path, registry: Registry) -> subprocess.Popen[bytes]:
    (work_dir / "config.json").write_text(docker_config(registry.host))
    values = {
        "work-dir": work_dir,
        "plan-file": work_dir / "plan.yaml",
        "auth-file": work_dir / "config.json",
        "image": f"{registry.host}/team/phi:1",
        "dataset-digest": "sha256:" + "a" * 64,
        "base-loss": 3.25,
        "tuned-loss": 1.5,
        "created": "2026-01-01T00:00:00Z",
        "model-dir": "argotune--tiny/0",
    }
    flags = [f"--{name}={value}" for name, value in values.items()]
    # A session of its own: the kill reaches skopeo too, as the end of a container does.
    return subprocess.Popen(
        [sys.executable, "-m", "argotune.steps.push", *flags],
        stdin=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
