"""The same rows from every kind of source, and what each source has that the others do not."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

import httpx
import pytest
from pyarrow import fs

from argotune.steps.common.errors import ParamsError, PermanentError
from argotune.steps.common.fs import atomic_write, sha256_file
from argotune.steps.dataset.download import Downloader
from argotune.steps.dataset.record import TRAIN, VALIDATION
from argotune.steps.dataset.stores import Stores, azure_options, s3_login
from argotune.steps.dataset.target import Target
from argotune.steps.web.guard import CheckedAddresses, ForbiddenAddress, UrlPolicy
from tests.fakes import registry, tls
from tests.fakes.hub import COMMIT, FakeHub
from tests.fakes.listening import KeepAlive, listening
from tests.steps.dataset.every_source import (
    KEYS,
    KINDS,
    REPOSITORY,
    ROWS,
    A,
    B,
    Clouds,
    FromEach,
    clouds,
    from_each,
    hub,
    make,
    new_params,
    pushed,
    s3,
)
from tests.steps.dataset.test_run import NewParams, jsonl, rows

__all__ = ["clouds", "from_each", "hub", "new_params", "s3"]

ANY_ADDRESS = CheckedAddresses(policy=UrlPolicy(allow_loopback=True))


def test_the_same_rows_from_every_source_are_one_dataset(
    from_each: FromEach, clouds: Clouds
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
    assert s3_login({"AWS_PROFILE": "mine"}) == {"anonymous": False}


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
