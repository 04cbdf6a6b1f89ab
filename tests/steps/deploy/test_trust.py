"""Deploy refuses an adapter of another base, or without the signature that is asked for."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from argotune.steps.common.errors import ParamsError, PermanentError, StepError
from argotune.steps.common.progress import Progress
from argotune.steps.contracts.adapter_image import BASE_DIGEST, BASE_REVISION
from argotune.steps.contracts.model_cache import Origin, mark_complete
from argotune.steps.deploy.params import Params, Result
from argotune.steps.deploy.run import run
from argotune.steps.provenance.keys import line_of
from tests.fakes.registry import docker_config, serving
from tests.fakes.signing import KeyPair, new_keys
from tests.steps.provenance.pushed import Pushed, pushed

KEYS, OTHER = new_keys(), new_keys("ed25519")


class Deploys:
    """Runs deploy with a target that only notes that it was reached."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.count = 0

    def __call__(self, reference: object, **changes: Any) -> None:
        values: dict[str, Any] = {
            "target": "process",
            "name": "phi-tuned",
            "reference": str(reference),
            "plan_file": self.root / "plan.yaml",
            "model_dir": "model",
            "cache_dir": self.root / "cache",
            "services_dir": self.root / "services",
            "dataset_digest": "sha256:" + "a" * 64,
        }
        run(Params(**values | changes), progress=Progress(), target=self._target)

    def refused(self, reference: object, **changes: Any) -> str:
        with pytest.raises(StepError) as caught:
            self(reference, **changes)
        assert isinstance(caught.value, PermanentError)
        assert self.count == 0, "something was applied"
        return str(caught.value)

    def _target(self, params: Params, model: str, progress: Progress) -> Result:
        self.count += 1
        return Result(endpoint="http://127.0.0.1:1", answer="Hello.")


@pytest.fixture
def deploy(tmp_path: Path) -> Deploys:
    return Deploys(tmp_path)


def signed_by(*keys: KeyPair) -> dict[str, object]:
    lines = ",".join(line_of(each.public_pem) for each in keys)
    return {"require_signature": True, "verification_key": lines}


def test_an_adapter_on_its_own_base_is_deployed(tmp_path: Path, deploy: Deploys) -> None:
    deploy(pushed(tmp_path, None).reference)
    assert deploy.count == 1


def test_an_adapter_with_the_right_signature_is_deployed(tmp_path: Path, deploy: Deploys) -> None:
    deploy(pushed(tmp_path, KEYS).reference, **signed_by(KEYS))
    assert deploy.count == 1


def test_while_keys_are_rotated_an_adapter_of_either_is_deployed(
    tmp_path: Path, deploy: Deploys
) -> None:
    deploy(pushed(tmp_path, KEYS).reference, **signed_by(OTHER, KEYS))
    assert deploy.count == 1


def test_another_base_in_the_cache_is_refused(tmp_path: Path, deploy: Deploys) -> None:
    adapter = pushed(tmp_path, None)
    model = tmp_path / "cache" / "model"
    (model / "config.json").write_text('{"another": "model"}')
    mark_complete(model, Origin(source="hub", version=40 * "0"))
    said = deploy.refused(adapter.reference)
    assert f"was tuned on argotune/tiny at {40 * '0'} with the files sha256:" in said
    assert f"and {model} has hub at {40 * '0'} with sha256:" in said


def test_another_revision_is_refused(tmp_path: Path, deploy: Deploys) -> None:
    adapter = pushed(tmp_path, None)
    mark_complete(tmp_path / "cache" / "model", Origin(source="made", version="1"))
    assert f"at {40 * '0'} with the files" in deploy.refused(adapter.reference)


def test_a_model_of_unknown_origin_is_refused(tmp_path: Path, deploy: Deploys) -> None:
    adapter = pushed(tmp_path, None)
    shutil.rmtree(tmp_path / "cache" / "model")
    assert "does not say where the weights come from" in deploy.refused(adapter.reference)


@pytest.mark.parametrize("left_out", [BASE_DIGEST, BASE_REVISION])
def test_an_adapter_of_an_earlier_argotune_says_less_and_is_deployed(
    tmp_path: Path, deploy: Deploys, left_out: str, caplog: pytest.LogCaptureFixture
) -> None:
    adapter = pushed(tmp_path, None)
    manifest = adapter.manifest()
    del manifest["annotations"][left_out]
    adapter = Pushed(adapter.layout, adapter.point("1", manifest))
    deploy(adapter.reference)
    assert deploy.count == 1
    assert ("base-not-checked" in caplog.text) == (left_out == BASE_REVISION)


def test_an_unsigned_adapter_is_refused(tmp_path: Path, deploy: Deploys) -> None:
    adapter = pushed(tmp_path, None)
    said = deploy.refused(adapter.reference, **signed_by(KEYS))
    assert said.startswith("the installation deploys only what key sha256:")
    assert "statement: it is not signed; signature: there is none" in said


def test_an_adapter_that_another_key_signed_is_refused(tmp_path: Path, deploy: Deploys) -> None:
    adapter = pushed(tmp_path, OTHER)
    assert "another key signed it" in deploy.refused(adapter.reference, **signed_by(KEYS))


def test_a_tampered_file_is_refused(tmp_path: Path, deploy: Deploys) -> None:
    adapter = pushed(tmp_path, KEYS)
    (layer,) = adapter.manifest()["layers"]
    adapter.blob(layer["digest"]).write_bytes(b"other weights")
    said = deploy.refused(adapter.reference, **signed_by(KEYS))
    assert f"files: {layer['digest']} was changed" in said


def test_a_tampered_manifest_is_refused_though_it_brings_signatures(
    tmp_path: Path, deploy: Deploys
) -> None:
    """Who may push to the registry, and has no key, puts other weights there."""
    adapter = pushed(tmp_path, KEYS)
    manifest = adapter.manifest()
    manifest["layers"][0] |= adapter.write(b"other weights")
    digest = adapter.point("1", manifest)
    for kind in ("att", "sig"):
        adapter.point(adapter.tag(kind, digest), adapter.manifest(adapter.tag(kind)))
    said = deploy.refused(Pushed(adapter.layout, digest).reference, **signed_by(KEYS))
    assert "statement: it is about another adapter" in said
    assert "signature: it is of another image" in said


@pytest.mark.skipif(shutil.which("skopeo") is None, reason="skopeo is not installed")
def test_the_signatures_are_those_of_the_registry(tmp_path: Path, deploy: Deploys) -> None:
    """A layout beside the step, which push left, may say what it will."""
    with serving(login=True) as registry:
        auth_file = tmp_path / "config.json"
        auth_file.write_text(docker_config(registry.host))
        image = f"{registry.host}/team/phi:1"
        adapter = pushed(tmp_path, KEYS, image=image, auth_file=auth_file)
        reference = f"{registry.host}/team/phi@{adapter.digest}"
        wanted = {**signed_by(KEYS), "layout_dir": tmp_path / "image", "auth_file": auth_file}
        deploy(reference, **wanted)
        assert deploy.count == 1
        deploy.count = 0
        del registry.manifests["team/phi", adapter.tag("sig")]
        assert "signature: there is none" in deploy.refused(reference, **wanted)


def test_a_signature_cannot_be_asked_for_without_a_key(tmp_path: Path, deploy: Deploys) -> None:
    adapter = pushed(tmp_path, KEYS)
    with pytest.raises(ParamsError, match="--verification-key: missing; --require-signature"):
        deploy(adapter.reference, require_signature=True)
    with pytest.raises(ParamsError, match="--verification-key: it is no base64"):
        deploy(adapter.reference, require_signature=True, verification_key="x")
