"""The server as the process that deploy starts."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from argotune.steps.common.errors import ParamsError, PermanentError
from argotune.steps.common.progress import Progress
from argotune.steps.contracts.listener import listen, take_listener
from argotune.steps.contracts.model_cache import Origin, mark_complete
from argotune.steps.contracts.served import ADAPTER_HEADER, DIGEST_FILE
from argotune.steps.contracts.services import (
    ADAPTERS,
    RECORD,
    Service,
    process_started,
    write_record,
)
from argotune.steps.contracts.serving import ServingContract
from argotune.steps.deploy.join_process import join_process
from argotune.steps.deploy.params import Params as DeployParams
from argotune.steps.deploy.service_files import write_service_files
from argotune.steps.push.layout import write_image
from argotune.steps.serve.engine.interface import Engine
from argotune.steps.serve.load import load_engine
from argotune.steps.serve.params import Params
from argotune.steps.serve.run import serve
from tests.fakes.cuda import FakeCuda
from tests.fakes.engine import FakeEngine
from tests.fakes.services import DIGEST, write_service
from tests.steps.serve.conftest import ANSWER, QUESTION, Tuned
from tests.steps.tune.models import tiny_plan


def start(
    tuned: Tuned, tmp_path: Path, *flags: str, listener: socket.socket
) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [
            sys.executable,
            "-m",
            "argotune.steps.serve",
            f"--model-dir={tuned.model_dir}",
            f"--adapter-dir={tuned.adapter_dir}",
            "--name=demo",
            "--port=0",
            f"--port-file={tmp_path / 'port'}",
            f"--listener-fd={listener.fileno()}",
            *flags,
        ],
        pass_fds=[listener.fileno()],
        stderr=subprocess.PIPE,
        text=True,
    )


def ready_client(tmp_path: Path, process: subprocess.Popen[str] | None = None) -> httpx.Client:
    """A client once /v1/models lists the adapter."""
    deadline = time.monotonic() + 90
    while not (tmp_path / "port").exists():
        if process is not None:
            assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < deadline
        time.sleep(0.02)
    url = f"http://127.0.0.1:{int((tmp_path / 'port').read_text())}"
    client = httpx.Client(base_url=url, timeout=30, trust_env=False)
    while (response := client.get("/v1/models")).status_code != 200:
        assert response.status_code == 503
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return client


def test_a_gpu_that_torch_cannot_use_ends_the_server_before_it_listens(
    tuned: Tuned, tmp_path: Path
) -> None:
    params = Params(
        model_dir=tuned.model_dir,
        adapter_dir=tuned.adapter_dir,
        name="demo",
        gpus=1,
        port_file=tmp_path / "port",
    )
    with pytest.raises(PermanentError, match=r"^1 x GPU planned, but torch can use no GPU"):
        serve(params, load_engine, cuda=FakeCuda())
    assert not (tmp_path / "port").exists()


def test_replies_of_a_service_without_training_name_the_digest_of_each_adapter(
    tuned: Tuned, tmp_path: Path
) -> None:
    adapters = {"docs": tuned.adapter_dir, "mail": tuned.adapter_dir}
    plan_file = write_service(tmp_path / "work", adapters, model=tiny_plan().model)
    # Of other runs; the name of one of its own is not given to one of them.
    joined, digest = tmp_path / "joined", f"sha256:{'5' * 64}"
    for name in ("docs", "joined"):
        shutil.copytree(tuned.adapter_dir, joined / name)
        (joined / name / DIGEST_FILE).write_text(digest)
    params = Params(
        model_dir=tuned.model_dir,
        service_dir=write_service_files(plan_file, tmp_path / "files"),
        adapters_dir=joined,
        name="it",
        port=0,
        port_file=tmp_path / "port",
    )
    engine, found = FakeEngine(), dict[str, str | None]()

    def ask() -> None:
        with contextlib.closing(ready_client(tmp_path)) as client:
            for model in ("docs", "mail", "it", "acme/random", "joined"):
                reply = client.post("/chat", json={"prompt": QUESTION, "model": model})
                assert reply.status_code == 200
                found[model] = reply.headers.get(ADAPTER_HEADER)
            # The next probe ends the server.
            engine.failure = "enough"
            client.get("/health")

    asking = threading.Thread(target=ask)
    asking.start()
    with pytest.raises(PermanentError, match="enough"):
        serve(params, lambda *_: engine)
    asking.join()
    none = {"it": None, "acme/random": None}
    assert found == {"docs": DIGEST, "mail": DIGEST, "joined": digest, **none}


def test_it_answers_and_sigterm_lets_it_finish_what_it_began(tuned: Tuned, tmp_path: Path) -> None:
    adapters = tmp_path / "services" / "demo" / ADAPTERS
    shutil.copytree(tuned.adapter_dir, adapters / "another")
    further = f"--adapters-dir={adapters}"
    listener = listen(0)
    process = start(tuned, tmp_path, "--load-in-4bit=true", further, listener=listener)
    try:
        with contextlib.closing(ready_client(tmp_path, process)) as client:
            answer = {"response": ANSWER, "finish_reason": "stop"}
            another = {"prompt": QUESTION, "model": "another"}
            assert client.post("/chat", json=another).json() == answer
            assert client.post("/chat", json={"prompt": QUESTION}).json() == answer
            check_joining(tuned, tmp_path, str(client.base_url))
            # As deploy does when it has answered: from now on at the service's port.
            process.send_signal(signal.SIGUSR1)
            url = f"http://127.0.0.1:{listener.getsockname()[1]}/chat"
            asked = httpx.post(url, json={"prompt": QUESTION}, trust_env=False, timeout=30)
            assert asked.json() == answer
            taken = take_listener(tmp_path, process.pid)
            assert taken is not None
            with taken:
                assert taken.getsockname() == listener.getsockname()
            body = {
                "model": "acme/random",
                "messages": [{"role": "user", "content": QUESTION}],
                "max_tokens": 100,
                "temperature": 1.5,
                "seed": 4,
                "stream": True,
            }
            with client.stream("POST", "/v1/chat/completions", json=body) as response:
                lines = response.iter_lines()
                assert "assistant" in next(lines)
                process.send_signal(signal.SIGTERM)
                rest = [line for line in lines if line]
            assert rest[-1] == "data: [DONE]"
            assert json.loads(rest[-2].removeprefix("data: "))["choices"][0]["finish_reason"]
        # Python takes torch apart, 12 s of it beside much other work.
        _, log = process.communicate(timeout=120)
        assert process.returncode == 0, log
        assert "Traceback" not in log
        assert "is not followed" not in log
    finally:
        process.kill()
        process.communicate()
        listener.close()


def check_joining(tuned: Tuned, root: Path, url: str) -> None:
    """Let deploy put in an adapter, and then its next version: no answer is lost."""
    service = Service(
        name="demo",
        pid=os.getpid(),
        process_started=process_started(os.getpid()) or "",
        port=0,
        endpoint=url,
        digest="",
        model="acme/random@1",
        started="",
    )
    write_record(root / "services" / "demo" / RECORD, service)
    first, second = (join(tuned, root, version) for version in (1, 2))
    end, replies = threading.Event(), []

    def keep_asking() -> None:
        body = {"prompt": QUESTION, "model": "joined"}
        while not end.is_set():
            reply = httpx.post(f"{url}/chat", json=body, trust_env=False, timeout=30)
            replies.append((reply.status_code, reply.headers.get(ADAPTER_HEADER)))

    first()
    asking = threading.Thread(target=keep_asking)
    asking.start()
    second()
    end.set()
    asking.join()
    assert {status for status, _ in replies} == {200}
    digests = [digest for _, digest in replies]
    assert len(set(digests)) == 2
    assert digests == sorted(digests, key=digests.index)


def join(tuned: Tuned, root: Path, version: int) -> Callable[[], object]:
    """What deploy does with an image of the adapter, each version another one."""
    files = sorted(each for each in tuned.adapter_dir.iterdir() if each.is_file())
    created = f"2026-01-0{version}T00:00:00Z"
    layout = root / "image"
    image = write_image(layout, files, tag="latest", created=created, annotations={})
    params = DeployParams(
        target="process",
        name="joined",
        serve_with="demo",
        reference=f"oci:{layout}@{image.digest}",
        model_dir="base",
        cache_dir=root,
        services_dir=root / "services",
        question=QUESTION,
    )

    def run() -> None:
        result = join_process(params, "acme/random@1", root / "services", progress=Progress())
        assert (result.answer, result.version) == (ANSWER, f"v{version}")

    return run


def params(tuned: Tuned, **changes: object) -> Params:
    known = {"model_dir": tuned.model_dir, "adapter_dir": tuned.adapter_dir, "name": "demo"}
    return Params(**{**known, "port": 0, **changes})  # type: ignore[arg-type]


def test_a_port_in_use_is_said(tuned: Tuned) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(PermanentError) as caught:
            serve(params(tuned, port=port), load_engine)
    assert str(caught.value) == f"cannot listen on 127.0.0.1:{port}: Address already in use"


def test_an_adapters_directory_that_is_not_there_is_said(tuned: Tuned, tmp_path: Path) -> None:
    with pytest.raises(PermanentError, match="nothing is no directory; make it first"):
        serve(params(tuned, adapters_dir=tmp_path / "nothing"), load_engine)


def test_without_a_contract_it_does_not_start(tuned: Tuned) -> None:
    with pytest.raises(PermanentError, match=r"serving\.json: No such file or directory"):
        serve(params(tuned, adapter_dir=tuned.model_dir), load_engine)


def test_the_context_is_at_most_what_was_planned(tuned: Tuned) -> None:
    seen: list[int] = []

    def refuse(params: Params, contract: ServingContract, tokenizer: object) -> Engine:
        seen.append(contract.max_length)
        raise PermanentError("seen enough")

    for most in (64, 10**6):
        with pytest.raises(PermanentError, match="seen enough"):
            serve(params(tuned, max_length=most), refuse)
    assert seen == [64, tuned.contract.max_length]


def test_weights_in_other_formats_are_not_read(tuned: Tuned, tmp_path: Path) -> None:
    shutil.copytree(tuned.adapter_dir, tmp_path / "adapter")
    weights = tmp_path / "adapter" / "adapter_model.safetensors"
    weights.rename(weights.with_suffix(".bin"))
    with pytest.raises(PermanentError, match="only safetensors are supported"):
        serve(params(tuned, adapter_dir=tmp_path / "adapter"), load_engine)


def test_a_base_model_that_is_not_there_ends_the_server(tuned: Tuned, tmp_path: Path) -> None:
    with pytest.raises(PermanentError, match="no usable tokenizer"):
        serve(params(tuned, model_dir=tmp_path / "nothing"), load_engine)


def test_another_base_model_is_refused(tuned: Tuned, tmp_path: Path) -> None:
    shutil.copytree(tuned.model_dir, tmp_path / "model")
    config = tmp_path / "model" / "config.json"
    changed = {**json.loads(config.read_text()), "model_type": "mistral"}
    config.write_text(json.dumps(changed))
    with pytest.raises(PermanentError, match="has a mistral model, but the adapter belongs to"):
        serve(params(tuned, model_dir=tmp_path / "model"), load_engine)


def test_a_base_model_with_other_files_is_refused(tuned: Tuned, tmp_path: Path) -> None:
    """Its architecture fits, and its answers would be wrong."""
    other = shutil.copytree(tuned.model_dir, tmp_path / "model")
    (other / "special.txt").write_text("any file")
    mark_complete(other, Origin(source="hub", version="0" * 40))
    with pytest.raises(PermanentError, match=r"has other files \(sha256:[0-9a-f]{64}\) than the"):
        serve(params(tuned, model_dir=other), load_engine)


def test_all_problems_of_the_flags_are_said_at_once(tuned: Tuned) -> None:
    with pytest.raises(ParamsError) as caught:
        params(tuned, port=70000, slots=0, queue_size=-1, max_body_bytes=0, drain_seconds=0.0)
    assert caught.value.problems == [
        "--port: 70000 is not between 0 and 65535",
        "--slots: 0 is less than 1",
        "--queue-size: -1 is less than 0",
        "--max-body-bytes: 0 is less than 1024",
        "--drain-seconds: 0 is not above 0",
    ]
