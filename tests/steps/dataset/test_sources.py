"""The same rows from every kind of source, and what each source has that the others do not."""

from __future__ import annotations

import functools
import gzip
import hashlib
import re
import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from moto.server import ThreadedMotoServer
from pyarrow import fs

from argotune.steps.common.errors import ParamsError, PermanentError
from argotune.steps.common.fs import atomic_write, sha256_file
from argotune.steps.common.progress import Progress
from argotune.steps.dataset.download import Downloader
from argotune.steps.dataset.params import Params, Result
from argotune.steps.dataset.record import TRAIN, VALIDATION
from argotune.steps.dataset.run import NewStores, new_stores, run
from argotune.steps.dataset.stores import Stores, azure_options, s3_login
from argotune.steps.dataset.target import Target
from argotune.steps.registry.oci import parse_image
from argotune.steps.registry.skopeo import Registry, push
from argotune.steps.web.guard import CheckedAddresses, ForbiddenAddress, UrlPolicy
from tests.fakes import azure_storage, google_storage, registry, tls
from tests.fakes.azure_storage import FakeAzureStorage, fake_azure_storage
from tests.fakes.google_storage import FakeGoogleStorage, fake_google_storage
from tests.fakes.http import file_server
from tests.fakes.hub import COMMIT, FakeHub, fake_hub
from tests.fakes.listening import KeepAlive, listening
from tests.steps.dataset.test_run import NewParams, jsonl, new_params, parquet, patient, rows
from tests.steps.model.test_image import GZIP, Layout, tar

__all__ = ["new_params"]

ROWS = rows(1000)
A, B = parquet(ROWS[:600]), jsonl(ROWS[600:])
NAMES = {"a.parquet": A, "b.jsonl": B, "README.md": b"# About"}
REPOSITORY = "datasets/me/questions"
KEYS = {"AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "secret", "AWS_REGION": "us-east-1"}
ANY_ADDRESS = CheckedAddresses(policy=UrlPolicy(allow_loopback=True))


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
        return ["127.0.0.2" if host == google_storage.HOST else "127.0.0.3"]

    def _connect(self, address: tuple[str, int], timeout: float) -> socket.socket:
        assert address[1] == 443
        port = self.google.port if address[0] == "127.0.0.2" else self.azure.port
        return socket.create_connection(("127.0.0.1", port), timeout)


@pytest.fixture
def clouds(tmp_path: Path) -> Iterator[Clouds]:
    hosts = [google_storage.HOST, *azure_storage.HOSTS]
    (tmp_path / "clouds").mkdir()
    certificate, key = tls.self_signed(tmp_path / "clouds", hosts)
    with (
        fake_google_storage(tls.server_context(certificate, key)) as google,
        fake_azure_storage(tls.server_context(certificate, key)) as azure,
    ):
        files = {f"data/{name}": body for name, body in NAMES.items()}
        google.buckets["rows"], azure.containers["rows"] = files, files
        yield Clouds(google=google, azure=azure, certificate=certificate)


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
) -> Iterator[Callable[[str], tuple[Params, dict[str, str]]]]:
    """Parameters and variables to read the rows from a kind of source."""
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


KINDS = ["https", "hf", "s3", "gs", "abfss", "oci", "volume", "path"]


def test_the_same_rows_from_every_source_are_one_dataset(
    from_each: Callable[[str], tuple[Params, dict[str, str]]], clouds: Clouds
) -> None:
    given = {}
    clouds.google.page = clouds.azure.page = 2
    for kind in KINDS:
        params, environment = from_each(kind)
        result = make(params, clouds.stores, **environment)
        assert (result.rows, result.duplicate_rows) == (1000, 0)
        # All that tune gets of the data, so that the adapters are one too.
        files = [params.work_dir / "dataset" / name for name in (TRAIN, VALIDATION)]
        given[kind] = (result.digest, result.summary, *map(sha256_file, files))
    assert len(set(given.values())) == 1, given


@pytest.mark.parametrize("kind", ["gs", "abfss"])
def test_an_object_of_a_cloud_is_fetched_from_where_the_last_try_ended(
    new_params: NewParams, clouds: Clouds, kind: str
) -> None:
    url, environment = clouds.source(kind)
    params = new_params(f"{url}/data/a.parquet", ca_file=clouds.certificate)
    policy = UrlPolicy(allow_loopback=True)
    with (
        httpx.Client(trust_env=False) as client,
        clouds.stores(params, policy, client, environment) as stores,
    ):
        (stored,) = stores.files(f"{url}/data/a.parquet")
        assert b"".join(stored.chunks(len(A) // 2)) == A[len(A) // 2 :]
        assert b"".join(stored.chunks(len(A))) == b""


# Azure's library tries a server that is not trusted again, for six seconds.
@pytest.mark.parametrize(
    ("kind", "path", "is_trusted", "login", "reason"),
    [
        ("gs", "data/none.csv", True, None, "there is no such file or directory"),
        ("abfss", "data/none.csv", True, None, "there is no such file or directory"),
        ("gs", "data/*.csv", True, None, "no file matches; there are data/README.md"),
        ("gs", "data/", False, None, "the server's certificate is not trusted"),
        ("gs", "data/", True, {}, "access is refused"),
        ("abfss", "data/", True, {"AZURE_STORAGE_KEY": "b3RoZXI="}, "access is refused"),
    ],
)
def test_what_a_cloud_refuses_is_told_with_what_to_do(
    new_params: NewParams,
    clouds: Clouds,
    kind: str,
    path: str,
    is_trusted: bool,
    login: dict[str, str] | None,
    reason: str,
) -> None:
    url, environment = clouds.source(kind)
    params = new_params(f"{url}/{path}", ca_file=clouds.certificate if is_trusted else None)
    with pytest.raises(PermanentError, match=re.escape(reason)):
        make(params, clouds.stores, **(environment if login is None else login))


class _EmptyStore(KeepAlive):
    """A store of S3 that has nothing."""

    def do_HEAD(self) -> None:
        self.send_response(404)
        self.send_header("Content-Length", "0")
        self.end_headers()

    do_GET = do_HEAD

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


def test_a_store_of_s3_with_a_private_authority_is_trusted_where_that_is_named(
    new_params: NewParams, tmp_path: Path
) -> None:
    certificate, key = tls.self_signed(tmp_path, ["127.0.0.1"])
    with listening(_EmptyStore, tls=tls.server_context(certificate, key)) as port:
        endpoint = f"https://127.0.0.1:{port}"
        for trusted, reason in ((certificate, "no such file"), (None, "--ca-file")):
            params = new_params("s3://rows/a.csv", ca_file=trusted)
            with pytest.raises(PermanentError, match=reason):
                make(params, **{**KEYS, "AWS_ENDPOINT_URL": endpoint})


def test_a_pattern_reads_files_of_any_name_and_a_file_is_read_alone(
    new_params: NewParams, hub: FakeHub
) -> None:
    environment = {"HF_ENDPOINT": hub.endpoint}
    hub.repositories[REPOSITORY]["data/more/c.txt"] = jsonl(rows(7, start=2000))
    hub.page = 1
    for path, count in (("data/**/*.txt", 7), ("data/[ab].*", 1000), ("data/b.jsonl", 400)):
        params = new_params(f"hf://datasets/me/questions@main/{path}", work=f"work-{count}")
        assert make(params, **environment).rows == count


def test_the_files_of_the_hub_are_those_of_one_commit_and_its_token_stays_there(
    new_params: NewParams, hub: FakeHub
) -> None:
    hub.gated.add(REPOSITORY)
    params = new_params("hf://datasets/me/questions/data/a.parquet")
    make(params, HF_ENDPOINT=hub.endpoint, HF_TOKEN=hub.token)
    downloads = [request for request in hub.requests if "/api/" not in request[1]]
    assert {path.split("?")[0] for _, path, _ in downloads} == {
        f"/datasets/me/questions/resolve/{COMMIT}/data/a.parquet",
        f"/content/{hashlib.sha256(A).hexdigest()}",
    }
    for _, path, headers in downloads:
        assert ("Authorization" in headers) == path.startswith("/datasets"), path


def test_a_gated_data_set_says_what_to_do(new_params: NewParams, hub: FakeHub) -> None:
    hub.gated.add(REPOSITORY)
    params = new_params("hf://datasets/me/questions/data/a.parquet")
    with pytest.raises(PermanentError) as caught:
        make(params, HF_ENDPOINT=hub.endpoint)
    assert "Access is restricted" in str(caught.value)
    assert "HF_TOKEN" in str(caught.value)


def test_a_large_file_of_the_hub_is_held_to_its_sha256(new_params: NewParams, hub: FakeHub) -> None:
    hub.damaged = 9
    params = new_params("hf://datasets/me/questions/data/a.parquet")
    with pytest.raises(PermanentError, match="expected is"):
        make(params, HF_ENDPOINT=hub.endpoint)


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("hf://datasets/me/questions/none", "there is no such file or directory"),
        ("hf://datasets/me/questions/data/*.csv", "no file matches; there are data/README.md"),
        ("hf://datasets/me/questions@gone/data", "404"),
        ("hf://datasets/me/other/data", "HF_TOKEN"),
        ("s3://rows/none.csv", "there is no such file or directory"),
        ("s3://nothing/a.csv", "there is no such file or directory"),
        ("s3://rows/data/*.csv", "no file matches; there are data/README.md"),
        ("volume://rows/none.csv", "there is no such file or directory; there are a.parquet"),
        ("volume://rows/out.csv", "is a link that leads out of the volume"),
    ],
)
def test_what_is_not_there_is_named_with_what_is(
    new_params: NewParams,
    hub: FakeHub,
    s3: dict[str, str],
    tmp_path: Path,
    url: str,
    reason: str,
) -> None:
    volume = tmp_path / "volume"
    volume.mkdir()
    (volume / "a.parquet").write_bytes(A)
    (volume / "out.csv").symlink_to(tmp_path / "plan.yaml")
    params = new_params(url, volume_dir=volume)
    with pytest.raises(PermanentError, match=re.escape(reason)) as caught:
        make(params, HF_ENDPOINT=hub.endpoint, **s3)
    assert url in str(caught.value)


def test_a_volume_that_is_not_mounted_is_named(new_params: NewParams, tmp_path: Path) -> None:
    with pytest.raises(ParamsError, match="claim rows is not mounted"):
        make(new_params("volume://rows/", volume_dir=tmp_path / "absent"))


def test_an_object_is_resumed_while_it_is_the_same(
    new_params: NewParams, s3: dict[str, str], tmp_path: Path
) -> None:
    params = new_params("s3://rows/data/a.parquet")
    downloads = params.work_dir / "downloads"
    with Stores(ANY_ADDRESS, s3, client=httpx.Client(trust_env=False), secret="data") as stores:
        (stored,) = stores.files("s3://rows/data/a.parquet")
        half = len(A) // 2
        assert b"".join(stored.chunks(half)) == A[half:]
        target = Target.of(stored.url, 0, downloads, stored=stored)
        atomic_write(target.part, A[:half])
        target.remember_version(stored.version)
        assert make(params, **s3).rows == 600
        other = Target.of(stored.url, 1, downloads, stored=stored)
        atomic_write(other.part, b"x" * half)
        other.remember_version('"another"')
        with httpx.Client(trust_env=False) as client:
            file = Downloader(client, attempts=1, max_bytes=len(A)).fetch(other, lambda size: None)
        assert file.path.read_bytes() == A


def test_an_object_larger_than_the_limit_is_refused(
    new_params: NewParams, s3: dict[str, str]
) -> None:
    params = new_params("s3://rows/data/a.parquet", max_download_gib=1e-6)
    with pytest.raises(PermanentError, match=r"s3://rows/data/a\.parquet: larger than the limit"):
        make(params, **s3)


def test_an_image_without_data_or_with_too_much_is_refused(
    new_params: NewParams, tmp_path: Path
) -> None:
    (tmp_path / "layout").mkdir()
    with registry.serving() as images:
        url = pushed(tmp_path, images.host, {"etc/a.csv": b"x", "data/notes.txt": b"x" * 4096})
        with pytest.raises(PermanentError, match="no dataset files in /data"):
            make(new_params(url))
        with pytest.raises(PermanentError, match="more than the limit"):
            make(new_params(url, work="other", max_download_gib=1e-9))


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_an_endpoint_inside_the_network_is_refused(new_params: NewParams, scheme: str) -> None:
    params = new_params("s3://rows/a.csv", allow_loopback=False)
    with pytest.raises(PermanentError, match=r"127\.0\.0\.1 is an internal or special address"):
        make(params, **{**KEYS, "AWS_ENDPOINT_URL": f"{scheme}://127.0.0.1"})


def test_the_proxy_of_a_store_holds_names_to_the_policy() -> None:
    policy = UrlPolicy(allowed_hosts=frozenset(["minio.example.org:9000"]))
    answers = CheckedAddresses(policy=policy, resolve=lambda host, port: ["10.0.0.5"])
    assert answers.addresses("minio.example.org", 9000) == ["10.0.0.5"]
    for host, port in (("s3.amazonaws.com", 443), ("minio.example.org", 443), ("10.0.0.5", 443)):
        with pytest.raises(ForbiddenAddress):
            answers.addresses(host, port)
    never = CheckedAddresses(policy=policy, resolve=lambda host, port: ["169.254.169.254"])
    with pytest.raises(ForbiddenAddress, match="never allowed"):
        never.addresses("minio.example.org", 9000)


def test_logins_of_stores_become_options_of_pyarrow() -> None:
    authority = "box@account.dfs.core.windows.net"
    assert azure_options(authority, {"AZURE_STORAGE_KEY": "a2V5"}) == {
        "account_name": "account",
        "blob_storage_authority": ".blob.core.windows.net",
        "dfs_storage_authority": ".dfs.core.windows.net",
        "account_key": "a2V5",
    }
    identity = azure_options(authority, {"AZURE_CLIENT_ID": "id", "AZURE_TENANT_ID": "tenant"})
    assert not {"client_id", "tenant_id", "account_key"} & identity.keys()
    fs.AzureFileSystem(**azure_options(authority, {"AZURE_STORAGE_KEY": "a2V5"}))
    assert s3_login({}) == {"anonymous": True}
    assert s3_login({"AWS_WEB_IDENTITY_TOKEN_FILE": "/token"}) == {"anonymous": False}


def test_files_of_this_machine_are_read_only_where_that_is_permitted(
    new_params: NewParams, tmp_path: Path
) -> None:
    (tmp_path / "b.jsonl").write_bytes(B)
    url = (tmp_path / "*.jsonl").as_uri().replace("%2A", "*")
    with pytest.raises(ParamsError, match="file URLs are accepted only with"):
        make(new_params(url, allow_loopback=False))
    params = new_params(url, allow_loopback=False, allow_files=True)
    first = make(params)
    assert first.rows == 400
    (tmp_path / "b.jsonl").write_bytes(jsonl(ROWS[:5]))
    assert make(params).rows == 5


@pytest.mark.parametrize(
    ("url", "environment", "host"),
    [
        ("gs://rows/a.csv", {}, "storage.googleapis.com"),
        (
            "abfss://box@account.dfs.core.windows.net/a.csv",
            {"AZURE_STORAGE_KEY": "a2V5"},
            "account.dfs.core.windows.net",
        ),
        ("s3://rows/a.csv", {"AWS_REGION": "eu-west-1"}, "rows.s3.eu-west-1.amazonaws.com"),
    ],
)
def test_no_store_connects_to_an_address_that_is_not_checked(
    url: str, environment: dict[str, str], host: str
) -> None:
    addresses = CheckedAddresses(policy=UrlPolicy(), resolve=lambda host, port: ["10.0.0.5"])
    with (
        httpx.Client(trust_env=False) as client,
        Stores(addresses, environment, client=client, secret="data") as stores,
        pytest.raises(PermanentError, match=re.escape(f"{host} resolves to 10.0.0.5")),
    ):
        stores.files(url)
