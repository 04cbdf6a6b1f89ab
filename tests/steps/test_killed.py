"""`kill -9` at the writes of each step: the next try makes what a quiet run makes, and no more.

`make test-kills` kills at all writes instead of at some: the better part of an hour.
"""

from __future__ import annotations

import functools
import gzip
import json
import multiprocessing
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import msgspec
import pytest

from argotune.steps.common.progress import Progress
from argotune.steps.contracts.model_source import version_of
from argotune.steps.contracts.services import names_of_running, stop_service
from argotune.steps.contracts.training_plan import Lora, Model, write_plan
from argotune.steps.dataset import params as dataset_params
from argotune.steps.dataset import run as dataset
from argotune.steps.deploy import params as deploy_params
from argotune.steps.deploy import run as deploy
from argotune.steps.deploy.process import deploy_process
from argotune.steps.model import hub as _hub  # noqa: F401  (else imported in each try)
from argotune.steps.model import params as model_params
from argotune.steps.model import run as model
from argotune.steps.notify import params as notify_params
from argotune.steps.notify import run as notify
from argotune.steps.plan import params as plan_params
from argotune.steps.plan import run as plan
from argotune.steps.plan.service import params as service_params
from argotune.steps.plan.service import run as service_plan
from argotune.steps.plan.side_by_side import params as comparison_params
from argotune.steps.plan.side_by_side import run as comparison_plan
from argotune.steps.push import params as push_params
from argotune.steps.push import run as push
from argotune.steps.push.layout import write_image
from argotune.steps.reject import params as reject_params
from argotune.steps.reject import run as reject
from tests.fakes.adapter import write_adapter, write_base, write_model, write_tiny_plan
from tests.fakes.http import file_server
from tests.fakes.hub import fake_hub
from tests.fakes.plans import small_plan
from tests.fakes.webhook import webhook
from tests.steps.dataset.test_run import jsonl, parquet, rows
from tests.steps.killing import Case, kill_everywhere, run_step
from tests.steps.model.conftest import config, model_files
from tests.steps.plan.side_by_side.adapters import put_adapter
from tests.steps.plan.side_by_side.test_run import params as comparison_of

DIGEST = "sha256:" + "d" * 64


Kill = Callable[[Case], None]


@pytest.fixture(scope="module")
def pool() -> Iterator[ProcessPoolExecutor]:
    """A process that has imported the steps and has one thread, and so may fork; pytest's has
    several."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as executor:
        yield executor


@pytest.fixture
def kill(pool: ProcessPoolExecutor, tmp_path: Path) -> Kill:
    return lambda case: print(pool.submit(kill_everywhere, case, tmp_path).result())


def nothing(root: Path) -> None:
    """No inputs."""


def run_plan(root: Path) -> None:
    params = plan_params.Params(name="demo", preset="tiny", plan_file=root / "plan.yaml")
    run_step(params, plan_params.Result, plan.run, root)


def test_a_killed_plan_leaves_no_trace(kill: Kill) -> None:
    kill(Case(prepare=nothing, run=run_plan))


def prepare_adapters(root: Path) -> None:
    for tag in ("v1", "v2"):
        put_adapter(root / "from", tag)
    # The weights are in the cache.
    comparison_of(root, "tiny")


def adapter_of(root: Path, tag: str) -> str:
    return f"oci:{root / 'from' / 'dist'}:{tag}"


def run_service_plan(root: Path) -> None:
    adapters = [{"name": tag, "image": adapter_of(root, tag)} for tag in ("v1", "v2")]
    params = service_params.Params(
        name="chat", preset="tiny", adapters=json.dumps(adapters), work_dir=root / "work"
    )
    run_step(params, service_params.Result, service_plan.run, root)


def run_comparison_plan(root: Path) -> None:
    models = (f"one={adapter_of(root, 'v1')}", f"two={adapter_of(root, 'v2')}")
    run_step(comparison_of(root, *models), comparison_params.Result, comparison_plan.run, root)


@pytest.mark.parametrize("run", [run_service_plan, run_comparison_plan])
def test_a_killed_plan_that_fetches_adapters_leaves_no_trace(
    kill: Kill, run: Callable[[Path], None]
) -> None:
    kill(Case(prepare=prepare_adapters, run=run, points=4))


def prepare_dataset(root: Path) -> None:
    write_plan(root / "plan.yaml", small_plan())


def run_dataset(urls: tuple[str, ...], root: Path) -> None:
    params = dataset_params.Params(
        urls=urls, plan_file=root / "plan.yaml", work_dir=root, allow_loopback=True
    )
    run_step(params, dataset_params.Result, dataset.run, root)


def test_a_killed_dataset_leaves_no_trace(kill: Kill) -> None:
    """A parquet file that has to be unpacked, and one with a row that is rejected."""
    with file_server() as server:
        urls = (
            server.add("/one.parquet.gz", gzip.compress(parquet(rows(40)))),
            server.add("/two.jsonl", jsonl([*rows(60, start=40), {"messages": []}])),
        )
        run = functools.partial(run_dataset, urls)
        kill(Case(prepare=prepare_dataset, run=run))


def prepare_model(source: str, root: Path) -> None:
    files = model_files()
    files["config.json"] = json.dumps(config(auto_map={"AutoConfig": "code.Config"})).encode()
    for name, content in files.items():
        path = root / "source" / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(content)
    if source == "oci":
        paths = sorted((root / "source").iterdir())
        write_image(root / "image", paths, tag="1", created="2026", annotations={})
    place = {"hub": "hub", "dir": f"dir:{root}/source", "oci": f"oci:{root}/image:1"}[source]
    made = small_plan()
    section = msgspec.structs.replace(made.model, repository="owner/model", source=place)
    lora = made.lora
    if source == "dir":
        put_into_service(root, section, lora)
        lora = msgspec.structs.replace(lora, start_from="live")
    write_plan(root / "plan.yaml", msgspec.structs.replace(made, model=section, lora=lora))


def put_into_service(root: Path, model: Model, lora: Lora) -> None:
    """An adapter of that model, with the tag `live`."""
    adapter = write_adapter(root / "adapter")
    version = version_of(model)
    assert version is not None
    write_base(adapter, repository=model.source, revision=version, digest="")
    config = {
        "peft_type": "LORA",
        "r": lora.r,
        "lora_alpha": lora.alpha,
        "target_modules": lora.target_modules,
    }
    (adapter / "adapter_config.json").write_text(json.dumps(config))
    files = sorted(adapter.iterdir())
    write_image(root / "layout", files, tag="live", created="2026", annotations={})


def run_model(hub_endpoint: str, root: Path) -> None:
    params = model_params.Params(
        plan_file=root / "plan.yaml",
        cache_dir=root / "cache",
        work_dir=root / "work",
        output_image=f"oci:{root / 'layout'}",
    )
    run = functools.partial(model.run, hub_endpoint=hub_endpoint)
    run_step(params, model_params.Result, run, root)


def of_model(name: str, content: bytes) -> object:
    """The model may have been complete before the kill, which the result says."""
    return "either" if name == "outputs/cached" else content


@pytest.mark.parametrize(("source", "points"), [("hub", 6), ("dir", 9), ("oci", 6)])
def test_a_killed_model_leaves_no_trace(kill: Kill, source: str, points: int) -> None:
    """With `dir` it also brings the adapter in service, and begins with it."""
    with fake_hub() as hub:
        hub.repositories["owner/model"] = model_files()
        case = Case(
            prepare=functools.partial(prepare_model, source),
            run=functools.partial(run_model, hub.endpoint),
            compared=of_model,
            points=points,
        )
        kill(case)


def prepare_push(root: Path) -> None:
    write_adapter(root / "adapter")
    write_tiny_plan(root / "plan.yaml")
    (root / "claim").mkdir()


def run_push(root: Path) -> None:
    params = push_params.Params(
        work_dir=root,
        plan_file=root / "plan.yaml",
        image=f"oci:{root / 'image'}",
        output_claim="adapters",
        output_dir=root / "claim",
        dataset_digest=DIGEST,
        model_dir="argotune--tiny/0",
        base_loss=3.25,
        tuned_loss=1.5,
        created="2026-01-01T00:00:00Z",
    )
    run_step(params, push_params.Result, push.run, root)


def test_a_killed_push_leaves_no_trace(kill: Kill) -> None:
    case = Case(prepare=prepare_push, run=run_push, points=12)
    kill(case)


def prepare_deploy(root: Path) -> None:
    adapter = write_adapter(root / "adapter")
    write_model(root / "cache" / "argotune--tiny" / "0", adapter)
    write_tiny_plan(root / "plan.yaml")
    files = sorted(adapter.iterdir())
    write_image(root / "image", files, tag="1", created="2026", annotations={})
    # An older adapter is there, which goes.
    (root / "services" / "phi" / "adapter-0").mkdir(parents=True)
    (root / "services" / "phi" / "adapter-0" / "adapter_config.json").touch()


def run_deploy(root: Path) -> None:
    # Each tag of the one image has an entry.
    image, *_ = json.loads((root / "image" / "index.json").read_bytes())["manifests"]
    params = deploy_params.Params(
        target="process",
        name="phi",
        reference=f"oci:{root / 'image'}@{image['digest']}",
        plan_file=root / "plan.yaml",
        model_dir="argotune--tiny/0",
        cache_dir=root / "cache",
        services_dir=root / "services",
        dataset_digest=DIGEST,
        history_file=root / "history" / "phi.json",
    )
    run = functools.partial(deploy.run, target=deploy_with_fake_server)
    run_step(params, deploy_params.Result, run, root)


def deploy_with_fake_server(
    params: deploy_params.Params, model: str, progress: Progress
) -> deploy_params.Result:
    assert params.services_dir is not None
    command = [sys.executable, "-m", "tests.fakes.serve"]
    return deploy_process(
        params, model, params.services_dir, progress=progress, serve_command=command
    )


def stop_server(root: Path) -> None:
    """The service ends, and no other server is there."""
    assert names_of_running(root / "services") == {"phi"}
    assert stop_service(root / "services", "phi")
    left = [
        path.parent.name
        for path in Path("/proc").glob("[0-9]*/cmdline")
        if f"--port-file={root}".encode() in path.read_bytes()
    ]
    assert not left, "servers without a record"


def of_deploy(name: str, content: bytes) -> object:
    """Each server has another port, and a record of its own that names the same adapter."""
    if name.endswith("/service.json"):
        return json.loads(content)["digest"]
    return "any" if name.endswith(("/port", "/endpoint", "/server.log")) else content


def test_a_killed_deploy_leaves_no_trace(kill: Kill) -> None:
    case = Case(
        prepare=prepare_deploy, run=run_deploy, compared=of_deploy, stop=stop_server, points=4
    )
    kill(case)


def prepare_reject(root: Path) -> None:
    write_model(root / "model", write_adapter(root / "adapter"))
    write_tiny_plan(root / "plan.yaml")
    # The record of an earlier one, which is replaced.
    (root / "history").mkdir()
    (root / "history" / "phi.rejected.json").write_text("{}")


def run_reject(root: Path) -> None:
    params = reject_params.Params(
        name="phi",
        plan_file=root / "plan.yaml",
        model_dir=root / "model",
        work_dir=root,
        dataset_digest=DIGEST,
        reference=f"registry.example.com/phi@{DIGEST}",
        gate=DIGEST,
        history_file=root / "history" / "phi.json",
        verdict="rejected",
    )
    run_step(params, reject_params.Result, reject.run, root)


def test_a_killed_reject_leaves_no_trace(kill: Kill) -> None:
    kill(Case(prepare=prepare_reject, run=run_reject, points=4))


def prepare_notify(root: Path) -> None:
    (root / "workflow.json").write_text('{"status": {"nodes": {}}}')


def run_notify(url: str, root: Path) -> None:
    params = notify_params.Params(
        run="5f0c",
        workflow="phi-abcde",
        namespace="team-a",
        workspace="phi",
        status="Failed",
        allow_loopback=True,
        run_record=root / "workflow.json",
    )
    run = functools.partial(notify.run, environ={"ARGOTUNE_NOTIFY_URL": url})
    run_step(params, notify_params.Result, run, root)


def test_a_killed_notify_tells_again(kill: Kill) -> None:
    """Whether an earlier try arrived is not known, and twice is better than never."""
    with webhook() as inbox:
        kill(Case(prepare=prepare_notify, run=functools.partial(run_notify, inbox.url), points=3))
    assert len({call.message["id"] for call in inbox.calls}) == 1
