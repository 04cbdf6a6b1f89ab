"""Files of object stores: s3, gs and abfs, by pyarrow's file systems.

These look names up and connect by themselves. They get the proxy that checks addresses and connects
to what it checked (steps/registry/guard.py): S3 as an option, the others by the variables that
libcurl reads. An S3 endpoint without TLS, which the proxy does not carry, is looked up here and
named by its checked address. Redirects of such an endpoint are all that nothing checks, and it is
one that the installation allows, or this machine's own.
"""

from __future__ import annotations

import contextlib
import os
import re
import socket
import ssl
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from types import TracebackType
from typing import Any
from urllib.parse import quote, unquote, urlsplit

import httpx
import pyarrow as pa
from pyarrow import fs

from argotune.steps.common import certificates
from argotune.steps.common.errors import ParamsError, PermanentError, StepError, TransientError
from argotune.steps.common.printable import printable
from argotune.steps.dataset.answers import TryAgain
from argotune.steps.dataset.aws_identity import TOKEN_FILE, web_identity_login
from argotune.steps.dataset.selection import fixed_directory, is_pattern, select
from argotune.steps.registry.guard import Connect, Guard, guarded
from argotune.steps.web.guard import CheckedAddresses, tls_context

_S3 = "https://s3.amazonaws.com"
_REGION = "us-east-1"
_CHUNK_BYTES = 1 << 22
_RETRY_TIME = timedelta(seconds=3)
"""Google's library tries for a quarter of an hour by itself; the downloader tries again."""
_RENEWED_SECONDS = 300.0
"""How long before its end a login is made anew."""
_FOREVER = float("inf")
_PROXY_VARIABLES = ("https_proxy", "http_proxy", "all_proxy")
_REFUSED = re.compile(
    r"ACCESS_DENIED|FORBIDDEN|INVALID_ACCESS_KEY|SIGNATURE|UNAUTHORI[SZ]ED|AuthenticationFailed"
    r"|AuthorizationFailure|AuthenticationException|PERMISSION_DENIED|UNAUTHENTICATED"
    r"|credential|OAuth2 access token|HTTP status 40[13]\b|\b40[13] ",
    re.IGNORECASE,
)
_GOOGLES_CAUSE = re.compile(r"underlying error message was: (.*?) error_info=", re.DOTALL)
"""Where Google's library gets no token, behind a paragraph about logins."""
_UNTRUSTED = re.compile(r"SSL peer certificate|self.signed certificate|curlCode: 60")
_MISSING = re.compile(r"NO_SUCH|NOT_FOUND|NotFound|HTTP status 404|\b404 ", re.IGNORECASE)
_ELSEWHERE = re.compile(r"PermanentRedirect|HTTP status 301|configured region", re.IGNORECASE)
_MOST_REASON_CHARACTERS = 300


@dataclass(frozen=True, kw_only=True)
class StoreFile:
    """A file of an object store."""

    url: str
    """SCHEME://BUCKET/KEY, for Azure SCHEME://CONTAINER@ACCOUNT.../KEY."""
    size: int
    """Bytes."""
    version: str
    """ETag, or the time of its last change."""
    has_etag: bool
    _store: _Store
    _path: str

    def chunks(self, offset: int) -> Iterator[bytes]:
        """Read the file from an offset on. Raises TryAgain, PermanentError."""
        with self._store.errors(self.url), self._store.open(self._path, offset) as file:
            while chunk := file.read(_CHUNK_BYTES):
                yield chunk
        if self._store.version(self.url, self._path)[0] != self.version:
            raise TryAgain("the file changed during the download", pause_seconds=0.0)


class Stores:
    """The object stores of a run; a proxy serves them until the block ends."""

    def __init__(
        self,
        addresses: CheckedAddresses,
        environment: Mapping[str, str],
        *,
        client: httpx.Client,
        secret: str,
        ca_file: Path | None = None,
        connect: Connect = socket.create_connection,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._addresses = addresses
        self._environment = environment
        self._client = client
        self._secret = secret
        self._ca_file = certificates.file_or_none(ca_file)
        self._connect = connect
        self._clock = clock
        self._stack = contextlib.ExitStack()
        self._guard: Guard | None = None
        self._authorities: str | None = None
        """File of the trusted ones, where the installation has one of its own."""
        self._opened: dict[tuple[str, str], _Store] = {}

    def __enter__(self) -> Stores:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._stack.close()

    def files(self, url: str) -> list[StoreFile]:
        """The files that a URL without fragment means. Raises StepError or TryAgain."""
        parts = urlsplit(url)
        path = unquote(parts.path).lstrip("/")
        bucket = parts.netloc.partition("@")[0]
        store = self._open(url, parts.scheme, parts.netloc)
        names = store.names(url, bucket, path)
        prefix = f"{parts.scheme}://{parts.netloc}/"
        return [
            store.file(prefix + quote(name), f"{bucket}/{name}", names[name])
            for name in select(names, path, url)
        ]

    def _open(self, url: str, scheme: str, authority: str) -> _Store:
        # One client per bucket, for buckets are in regions.
        key = (scheme, authority)
        if key not in self._opened:
            proxy = self._proxy()
            with _as_step_errors(url, proxy, self._secret):
                make = self._maker(scheme, authority, proxy)
                self._opened[key] = _Store(make, proxy, self._secret, self._clock)
        return self._opened[key]

    def _maker(self, scheme: str, authority: str, proxy: Guard) -> _Make:
        if scheme == "s3":
            options = self._s3_options(authority, proxy)
            return lambda: self._s3(options)
        files = self._file_system(scheme, authority, proxy)
        return lambda: (files, _FOREVER)

    def _s3(self, options: Mapping[str, Any]) -> tuple[fs.FileSystem, float]:
        login, until = s3_login(self._environment), _FOREVER
        if login is None:
            login, until = web_identity_login(self._environment, options["region"], self._client)
        return fs.S3FileSystem(**options, **login), until

    def _file_system(self, scheme: str, authority: str, proxy: Guard) -> fs.FileSystem:
        # libcurl reads them for each request. skopeo would take them for the user's own, so images
        # are fetched before (locate.py).
        variables = dict.fromkeys(_PROXY_VARIABLES, proxy.url)
        self._stack.enter_context(_variables({**variables, "no_proxy": ""}))
        if scheme == "gs":
            return fs.GcsFileSystem(
                anonymous=not self._google_credentials(), retry_time_limit=_RETRY_TIME
            )
        return fs.AzureFileSystem(**azure_options(authority, self._environment))

    def _s3_options(self, bucket: str, proxy: Guard) -> dict[str, Any]:
        endpoint = urlsplit(self._environment.get("AWS_ENDPOINT_URL") or _S3)
        if endpoint.scheme not in ("http", "https") or not endpoint.hostname:
            raise ParamsError("AWS_ENDPOINT_URL: accepted is https://HOST or http://HOST:PORT")
        options: dict[str, Any] = {"tls_ca_file_path": self._authorities}
        options["region"] = self._environment.get("AWS_REGION") or _REGION
        if endpoint.geturl() == _S3:
            options["region"] = self._environment.get("AWS_REGION") or self._region_of(bucket)
            return {**options, "proxy_options": proxy.url}
        options["endpoint_override"] = endpoint.netloc
        if endpoint.scheme == "https":
            return {**options, "proxy_options": proxy.url}
        port = endpoint.port or 80
        address = self._addresses.addresses(endpoint.hostname, port, scheme="http")[0]
        host = f"[{address}]" if ":" in address else address
        return {**options, "endpoint_override": f"{host}:{port}", "scheme": "http"}

    def _region_of(self, bucket: str) -> str:
        """The region that S3 says in every answer about a bucket, also in a refusal."""
        try:
            answer = self._client.get(f"{_S3}/{bucket}")
        except httpx.TransportError:
            return _REGION
        return str(answer.headers.get("x-amz-bucket-region", _REGION))

    def _google_credentials(self) -> bool:
        text = self._environment.get("GOOGLE_APPLICATION_CREDENTIALS_JSON")
        if text:
            # Google's library takes a path only.
            directory = self._stack.enter_context(tempfile.TemporaryDirectory())
            file = Path(directory, "credentials.json")
            file.touch(mode=0o600)
            file.write_text(text)
            self._stack.enter_context(_variables({"GOOGLE_APPLICATION_CREDENTIALS": str(file)}))
        return bool(text or self._environment.get("GOOGLE_APPLICATION_CREDENTIALS"))

    def _proxy(self) -> Guard:
        if self._guard is None:
            self._guard = self._stack.enter_context(
                guarded(self._addresses, self._environment, connect=self._connect)
            )
            # Otherwise the SDK asks the metadata service, which no pod of a run reaches.
            self._stack.enter_context(_variables({"AWS_EC2_METADATA_DISABLED": "true"}))
            if self._ca_file is not None:
                self._authorities = self._write_authorities(self._ca_file)
                # OpenSSL's, for Google's and Azure's libraries.
                self._stack.enter_context(_variables({"SSL_CERT_FILE": self._authorities}))
        return self._guard

    def _write_authorities(self, ca_file: Path) -> str:
        """The authorities that https has, in one file: a library's own file replaces the others."""
        trusted = tls_context(ca_file).get_ca_certs(binary_form=True)
        directory = self._stack.enter_context(tempfile.TemporaryDirectory())
        path = Path(directory, "authorities.pem")
        path.write_text("".join(map(ssl.DER_cert_to_PEM_cert, trusted)))
        return str(path)


_Make = Callable[[], tuple[fs.FileSystem, float]]
"""Opens a file system -> it, and until when its login holds, seconds since the epoch."""


@dataclass
class _Store:
    """A file system, opened anew before its login ends; the guard knows why a connection failed."""

    make: _Make
    guard: Guard
    secret: str
    clock: Callable[[], float]
    _files: fs.FileSystem = field(init=False)
    _until: float = field(init=False)

    def __post_init__(self) -> None:
        self._files, self._until = self.make()

    @property
    def files(self) -> fs.FileSystem:
        """The file system. Raises StepError or TryAgain, where a login is not given again."""
        if self.clock() > self._until - _RENEWED_SECONDS:
            self._files, self._until = self.make()
        return self._files

    def names(self, url: str, bucket: str, path: str) -> dict[str, int]:
        """Files that the path may mean: key -> bytes."""
        around = fixed_directory(path) if is_pattern(path) else path.rstrip("/")
        with self.errors(url):
            found = self.files.get_file_info(f"{bucket}/{around}".rstrip("/"))
            if found.type == fs.FileType.File:
                return {around: found.size}
            if found.type == fs.FileType.NotFound:
                return {}
            selector = fs.FileSelector(f"{bucket}/{around}".rstrip("/"), recursive=True)
            entries = self.files.get_file_info(selector)
        files = (entry for entry in entries if entry.type == fs.FileType.File)
        return {entry.path.partition("/")[2]: entry.size for entry in files}

    def file(self, url: str, path: str, size: int) -> StoreFile:
        """A file at its present version."""
        version, has_etag = self.version(url, path)
        return StoreFile(
            url=url, size=size, version=version, has_etag=has_etag, _store=self, _path=path
        )

    def version(self, url: str, path: str) -> tuple[str, bool]:
        """What changes with the file, its ETag, else the time of the last change; and which."""
        with self.errors(url), self.open(path) as file:
            metadata = {key.lower(): value for key, value in (file.metadata() or {}).items()}
        etag = metadata.get("etag")
        found = etag or metadata.get("last-modified") or b""
        if not found:
            with self.errors(url):
                return str(self.files.get_file_info(path).mtime_ns), False
        text = found.decode(errors="replace") if isinstance(found, bytes) else str(found)
        return text, bool(etag)

    def open(self, path: str, offset: int = 0) -> pa.NativeFile:
        """Open a file to be read from an offset on.

        Not at random where the store is Google's: whether such a file is open, pyarrow 26 asks the
        server while it holds Python's lock, without which the proxy's threads never answer.
        """
        files = self.files
        if not isinstance(files, fs.GcsFileSystem):
            file = files.open_input_file(path)
            file.seek(offset)
            return file
        file = files.open_input_stream(path, compression=None)
        while offset > 0:
            offset -= len(file.read(min(offset, _CHUNK_BYTES))) or offset
        return file

    @contextlib.contextmanager
    def errors(self, url: str) -> Iterator[None]:
        """Raise what the libraries say as TryAgain or PermanentError."""
        with _as_step_errors(url, self.guard, self.secret):
            yield


def s3_login(environment: Mapping[str, str]) -> dict[str, Any] | None:
    """Options of pyarrow's S3FileSystem: keys, a profile of this machine, or no login.

    None where the identity of the service account is to be asked for one.
    """
    key = environment.get("AWS_ACCESS_KEY_ID")
    if key:
        return {
            "access_key": key,
            "secret_key": environment.get("AWS_SECRET_ACCESS_KEY", ""),
            "session_token": environment.get("AWS_SESSION_TOKEN"),
        }
    if environment.get(TOKEN_FILE):
        return None
    return {"anonymous": not environment.get("AWS_PROFILE")}


def azure_options(authority: str, environment: Mapping[str, str]) -> dict[str, Any]:
    """Options of pyarrow's AzureFileSystem for CONTAINER@ACCOUNT.HOST.

    Without a login of the environment the library takes the identity of the service account.
    """
    host = authority.partition("@")[2]
    account, _, suffix = host.partition(".")
    domain = suffix.partition(".")[2]
    options: dict[str, Any] = {
        "account_name": account,
        "blob_storage_authority": f".blob.{domain}",
        "dfs_storage_authority": f".dfs.{domain}",
    }
    names = {
        "account_key": "AZURE_STORAGE_KEY",
        "sas_token": "AZURE_STORAGE_SAS_TOKEN",
        "client_id": "AZURE_CLIENT_ID",
        "client_secret": "AZURE_CLIENT_SECRET",
        "tenant_id": "AZURE_TENANT_ID",
    }
    given = {option: environment[name] for option, name in names.items() if environment.get(name)}
    if "account_key" in given:
        return {**options, "account_key": given["account_key"]}
    if "sas_token" in given:
        return {**options, "sas_token": given["sas_token"]}
    # Workload identity sets client and tenant for itself, and no secret.
    return {**options, **given} if "client_secret" in given else options


@contextlib.contextmanager
def _as_step_errors(url: str, guard: Guard, secret: str) -> Iterator[None]:
    try:
        yield
    except (StepError, TryAgain):
        raise
    except FileNotFoundError as error:
        raise PermanentError(f"{url}: there is no such file; check bucket and path") from error
    except (OSError, ValueError, pa.ArrowException) as error:
        if guard.failure is not None:
            failure, guard.failure = guard.failure, None
            if isinstance(failure, TransientError):
                raise TryAgain(str(failure)) from error
            raise PermanentError(f"{url}: {failure}") from error
        raise _error_of(error, url, secret) from error


def _error_of(error: Exception, url: str, secret: str) -> Exception:
    cause = _GOOGLES_CAUSE.search(str(error))
    whole = f"Google gives no OAuth2 access token: {cause[1]}" if cause else str(error)
    text = re.sub(r"\?[^\s'\"]+", "", printable(whole))[:_MOST_REASON_CHARACTERS]
    if _UNTRUSTED.search(text):
        return PermanentError(
            f"{url}: the server's certificate is not trusted: {text}; {certificates.ADVICE}"
        )
    if _ELSEWHERE.search(text):
        return PermanentError(f"{url}: {text}; set the region as AWS_REGION in Secret {secret}")
    if _REFUSED.search(text):
        # Google's identity of a pod is its metadata server's, which pods of runs do not reach.
        account = "" if url.startswith("gs:") else ", or give the step's service account the right"
        return PermanentError(
            f"{url}: access is refused: {text}; put a login that may read it into Secret {secret}"
            + account
        )
    if _MISSING.search(text):
        return PermanentError(f"{url}: not there: {text}; check bucket and path")
    return TryAgain(text)


@contextlib.contextmanager
def _variables(values: Mapping[str, str]) -> Iterator[None]:
    """Set variables of this process, which libraries in C read, until the block ends."""
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
