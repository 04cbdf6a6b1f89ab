"""The same 1,000 rows in every kind of source, from fakes of the stores that serve them."""

from __future__ import annotations

import functools
import gzip
import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from moto.server import ThreadedMotoServer
from pyarrow import fs

from argotune.steps.common.progress import Progress
from argotune.steps.dataset.params import Params, Result
from argotune.steps.dataset.run import NewStores, new_stores, run
from argotune.steps.registry.oci import parse_image
from argotune.steps.registry.skopeo import Registry, push
from tests.fakes import azure_storage, cloud_tokens, google_storage, registry, tls
from tests.fakes.azure_storage import FakeAzureStorage, fake_azure_storage
from tests.fakes.cloud_tokens import FakeTokens, fake_tokens
from tests.fakes.google_storage import FakeGoogleStorage, fake_google_storage
from tests.fakes.http import file_server
from tests.fakes.hub import FakeHub, fake_hub
from tests.steps.dataset.test_run import NewParams, jsonl, new_params, parquet, patient, rows
from tests.steps.model.test_image import GZIP, Layout, tar

__all__ = ["new_params"]

ROWS = rows(1000)
A, B = parquet(ROWS[:600]), jsonl(ROWS[600:])
NAMES = {"a.parquet": A, "b.jsonl": B, "README.md": b"# About"}
REPOSITORY = "datasets/me/questions"
KEYS = {"AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "secret", "AWS_REGION": "us-east-1"}


KINDS = ["https", "hf", "s3", "gs", "abfss", "oci", "volume", "path"]
FromEach = Callable[[str], tuple[Params, dict[str, str]]]
"""Parameters and variables to read the rows from a kind of source."""


@pytest.fixture
def hub() -> Iterator[FakeHub]:
    with fake_hub() as fake:
        fake.repositories[REPOSITORY] = {f"data/{name}": body for name, body in NAMES.items()}
        yield fake


@pytest.fixture(scope="module")
def s3() -> Iterator[dict[str, str]]:
    """moto's S3 with the rows in bucket `rows`, and the variables to reach it."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    files = fs.S3FileSystem(
        access_key="key",
        secret_key="secret",
        endpoint_override=f"{host}:{port}",
        scheme="http",
        region="us-east-1",
        allow_bucket_creation=True,
    )
    files.create_dir("rows")
    for name, body in NAMES.items():
        with files.open_output_stream(f"rows/data/{name}") as file:
            file.write(body)
    yield {**KEYS, "AWS_ENDPOINT_URL": f"http://{host}:{port}"}
    server.stop()


@dataclass(frozen=True)
class Clouds:
    """Google's and Azure's stores with the rows, under their own names, and how to reach them."""

    google: FakeGoogleStorage
    azure: FakeAzureStorage
    tokens: FakeTokens
    """What gives both stores' tokens."""
    certificate: Path
    """The authority that signed theirs."""

    @property
    def stores(self) -> NewStores:
        return functools.partial(new_stores, resolve=self._resolve, connect=self._connect)

    def source(self, kind: str) -> tuple[str, dict[str, str]]:
        """The URL of the bucket, and the login."""
        if kind == "gs":
            return "gs://rows", {"GOOGLE_APPLICATION_CREDENTIALS_JSON": self.google.key_file()}
        key = {"AZURE_STORAGE_KEY": azure_storage.KEY}
        return f"abfss://rows@{self.azure.account}.dfs.core.windows.net", key

    def _resolve(self, host: str, port: int) -> list[str]:
        if host in (cloud_tokens.AZURE_HOST, cloud_tokens.GOOGLE_HOST):
            return ["127.0.0.4"]
        return ["127.0.0.2" if host == google_storage.HOST else "127.0.0.3"]

    def _connect(self, address: tuple[str, int], timeout: float) -> socket.socket:
        assert address[1] == 443
        servers = {"2": self.google, "3": self.azure, "4": self.tokens}
        server = servers[address[0][-1]]
        return socket.create_connection(("127.0.0.1", server.port), timeout)


@pytest.fixture
def clouds(tmp_path: Path) -> Iterator[Clouds]:
    hosts = [google_storage.HOST, *azure_storage.HOSTS]
    hosts += [cloud_tokens.AZURE_HOST, cloud_tokens.GOOGLE_HOST]
    (tmp_path / "clouds").mkdir()
    certificate, key = tls.self_signed(tmp_path / "clouds", hosts)
    with (
        fake_google_storage(tls.server_context(certificate, key)) as google,
        fake_azure_storage(tls.server_context(certificate, key)) as azure,
        fake_tokens(tls.server_context(certificate, key)) as tokens,
    ):
        files = {f"data/{name}": body for name, body in NAMES.items()}
        google.buckets["rows"], azure.containers["rows"] = files, files
        google.tokens, azure.tokens = tokens.google, tokens.azure
        yield Clouds(google=google, azure=azure, tokens=tokens, certificate=certificate)


def make(params: Params, stores: NewStores = new_stores, **environment: str) -> Result:
    return run(
        params, progress=Progress(), downloader=patient, stores=stores, environment=environment
    )


def pushed(tmp_path: Path, host: str, files: dict[str, bytes]) -> str:
    """Push an image with these files to the registry; returns its URL."""
    layout = Layout(tmp_path / "layout")
    manifest = layout.image([layout.blob(gzip.compress(tar(files)), GZIP)])
    layout.tag("v1", manifest)
    image = parse_image(f"{host}/me/rows:v1")
    push(layout.directory, "v1", image, manifest["digest"], Registry(attempts=1))
    return f"oci://{image}"


@pytest.fixture
def from_each(
    new_params: NewParams, hub: FakeHub, s3: dict[str, str], clouds: Clouds, tmp_path: Path
) -> Iterator[FromEach]:
    """All kinds, as long as the test runs."""
    directory = tmp_path / "files"
    directory.mkdir()
    for name, body in NAMES.items():
        (directory / name).write_bytes(body)
    certificate, key = tls.self_signed(tmp_path, ["127.0.0.1"])
    with (
        file_server(tls.server_context(certificate, key)) as https,
        registry.serving() as images,
    ):

        def make_params(kind: str) -> tuple[Params, dict[str, str]]:
            settings: dict[str, Any] = {
                "work": kind,
                "allow_loopback": kind in ("https", "hf", "s3", "gs", "abfss"),
            }
            environment: dict[str, str] = {}
            match kind:
                case "https":
                    urls = [
                        https.add(f"/{name}", body)
                        for name, body in NAMES.items()
                        if body in (A, B)
                    ]
                    settings["ca_file"] = certificate
                case "hf":
                    urls = ["hf://datasets/me/questions/data"]
                    environment = {"HF_ENDPOINT": hub.endpoint}
                case "s3":
                    urls, environment = ["s3://rows/data/"], s3
                case "gs" | "abfss":
                    url, environment = clouds.source(kind)
                    urls, settings["ca_file"] = [f"{url}/data/"], clouds.certificate
                case "oci":
                    (tmp_path / "layout").mkdir(exist_ok=True)
                    files = {f"data/{name}": body for name, body in NAMES.items()}
                    urls = [pushed(tmp_path, images.host, files)]
                case "volume":
                    urls, settings["volume_dir"] = ["volume://questions/"], directory
                case _:
                    urls, settings["allow_files"] = [directory.as_uri()], True
            return new_params(*urls, **settings), environment

        yield make_params
