"""An adapter that joins a service of this machine, beside the service's own."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import httpx
import pytest

from argotune.steps.common.clock import Clock
from argotune.steps.common.errors import PermanentError
from argotune.steps.common.progress import Progress
from argotune.steps.contracts.in_service import read_in_service
from argotune.steps.contracts.services import (
    ADAPTERS,
    RECORD,
    is_alive,
    joined_to,
    names_of_running,
    read_record,
    read_service,
    stop_service,
)
from argotune.steps.deploy.join_process import join_process
from argotune.steps.deploy.params import Params, Result
from tests.steps.deploy.test_process import Deployer, deployer

__all__ = ["deployer"]


def join(deployer: Deployer, digest: str, **changes: Any) -> Result:
    """Let workspace other join service phi; a sleep lets no time pass."""
    time, model = iter(range(1000)), changes.pop("model", deployer.plan.model.title)
    values: dict[str, Any] = {
        "target": "process",
        "name": "other",
        "serve_with": "phi",
        "reference": f"oci:{deployer.layout}@{digest}",
        "plan_file": deployer.root / "plan.yaml",
        "model_dir": "argotune--tiny/0",
        "cache_dir": deployer.root / "cache",
        "services_dir": deployer.services_dir,
        "question": "Hello?",
        "timeout_seconds": 3.0,
    }
    return join_process(
        Params(**values | changes),
        model,
        deployer.services_dir,
        progress=Progress(),
        clock=Clock(now=lambda: float(next(time)), sleep=lambda _: None),
    )


def refused(deployer: Deployer, digest: str, **changes: Any) -> str:
    with pytest.raises(PermanentError) as caught:
        join(deployer, digest, **changes)
    return str(caught.value)


def answer_of(url: str, model: str) -> str:
    reply = httpx.post(f"{url}/chat", json={"prompt": "Hi", "model": model}, trust_env=False)
    return f"{reply.status_code} {reply.headers.get('argotune-adapter', '')}".strip()


def directory(deployer: Deployer) -> Path:
    return deployer.services_dir / "phi" / ADAPTERS


def test_the_running_server_takes_the_adapter_and_is_asked_for_it(deployer: Deployer) -> None:
    deployer.deploy(deployer.push())
    host, digest = deployer.service(), deployer.push('{"a": 1}')
    result = join(deployer, digest)
    assert result == Result(endpoint=host.endpoint, answer="Hello? says other", version="v2")
    assert answer_of(host.endpoint, "other") == f"200 {digest}"
    joined = read_service(deployer.services_dir, "other")
    assert joined is not None
    assert (joined.pid, joined.endpoint, joined.host) == (host.pid, host.endpoint, "phi")
    known = read_in_service(joined.annotations)
    assert known is not None
    assert (known.version, known.settings["serve-with"]) == ("v2", "phi")
    assert joined_to(deployer.services_dir, "phi") == ["other"]
    # Nothing is left of the way there, and a repeated deploy changes nothing.
    assert [path.name for path in directory(deployer).iterdir()] == ["other"]
    assert join(deployer, digest) == result


def test_the_service_and_the_adapter_that_joined_it_are_deployed_and_stopped_alone(
    deployer: Deployer,
) -> None:
    services = deployer.services_dir
    deployer.deploy(deployer.push())
    digest = deployer.push('{"a": 1}')
    join(deployer, digest)
    # The next server of the service has it too.
    deployer.deploy(deployer.push('{"b": 1}'))
    host = deployer.service()
    assert answer_of(host.endpoint, "other") == f"200 {digest}"
    assert names_of_running(services) == {"phi", "other"}
    assert stop_service(services, "other")
    assert is_alive(host)
    assert answer_of(host.endpoint, "other") == "404"
    assert names_of_running(services) == {"phi"}
    assert not stop_service(services, "other")
    assert joined_to(services, "phi") == []


def test_a_new_version_replaces_the_one_that_joined_before(deployer: Deployer) -> None:
    deployer.deploy(deployer.push())
    first, second = deployer.push('{"a": 1}'), deployer.push('{"a": 2}')
    join(deployer, first)
    assert join(deployer, second).version == "v3"
    joined = read_service(deployer.services_dir, "other")
    assert joined is not None
    known = read_in_service(joined.annotations)
    assert known is not None
    assert known.previous == f"oci:{deployer.layout}@{first}"
    assert answer_of(joined.endpoint, "other") == f"200 {second}"


def test_what_differs_is_said_at_once(deployer: Deployer) -> None:
    digest = deployer.push()
    assert refused(deployer, digest) == "serve-with phi: there is no such service on this machine"
    deployer.deploy(digest)
    deployer.deploy(digest, name="other")
    title = deployer.plan.model.title
    assert refused(deployer, digest, model="acme/big@1") == (
        f"serve-with phi: it serves the base {title}, and the adapter belongs to acme/big@1; other"
        " has a service of its own, which `argotune stop other` ends"
    )
    stop_service(deployer.services_dir, "phi")
    stop_service(deployer.services_dir, "other")
    assert refused(deployer, digest) == (
        "serve-with phi: it does not run; `argotune start phi` starts it"
    )
    assert not any(directory(deployer).iterdir())


def test_an_adapter_that_the_server_refuses_leaves_no_trace(deployer: Deployer) -> None:
    deployer.deploy(deployer.push(), "picky")
    digest = deployer.push('{"a": 1}')
    assert refused(deployer, digest) == (
        "serve-with phi: adapter other is refused: it has other rotary factors"
    )
    assert list(directory(deployer).iterdir()) == []
    assert read_record(deployer.services_dir / "other" / RECORD) is None


def test_an_adapter_that_somebody_took_out_does_not_take_the_server_with_it(
    deployer: Deployer,
) -> None:
    digest = deployer.push()
    deployer.deploy(digest)
    join(deployer, digest)
    shutil.rmtree(directory(deployer) / "other")
    assert joined_to(deployer.services_dir, "phi") == []
    deployer.deploy(digest, name="other")
    assert is_alive(deployer.service())


def test_an_adapter_that_joined_has_no_service_of_its_own(deployer: Deployer) -> None:
    digest = deployer.push()
    deployer.deploy(digest)
    join(deployer, digest)
    with pytest.raises(PermanentError, match="other has joined service phi; `argotune stop other`"):
        deployer.deploy(digest, name="other")
    assert is_alive(deployer.service())
    stop_service(deployer.services_dir, "other")
    deployer.deploy(digest, name="other")
    assert is_alive(deployer.service())
    own = read_service(deployer.services_dir, "other")
    assert own is not None
    assert (own.host, is_alive(own)) == ("", True)
