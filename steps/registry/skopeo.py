"""Carry images between OCI layouts and registries with skopeo, by digest and with retries.

skopeo knows every registry's way to log in. It tries itself only on few failures, and which
ones depends on its version, so the tries are ours.
"""

from __future__ import annotations

import contextlib
import hashlib
import ipaddress
import logging
import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from argotune.steps.common import certificates, log
from argotune.steps.common.errors import PermanentError, StepError, TransientError
from argotune.steps.registry.oci import ImageReference
from argotune.steps.registry.registry_login import check_login, describe

_LOGGER = logging.getLogger(__name__)

_BACKOFF_SECONDS = (1.0, 2.0, 5.0, 10.0, 20.0)
_INSPECT_TIMEOUT_SECONDS = 120.0

_REFUSED = re.compile(
    r"unauthorized|authentication required|denied|forbidden|invalid username/password"
    r"|status(?:code)?: 40[13]\b",
    re.IGNORECASE,
)
_UNKNOWN_HOST = re.compile(r"no such host", re.IGNORECASE)
_CERTIFICATE = re.compile(r"x509:|certificate", re.IGNORECASE)
_NOT_TLS = re.compile(r"server gave HTTP response to HTTPS client", re.IGNORECASE)
_MAY_PASS = re.compile(
    r"status(?:code)?: (?:408|429|499|5\d\d)\b|toomanyrequests|too many requests"
    r"|timeout|timed out|deadline exceeded|connection re(?:set|fused)|broken pipe|\bEOF\b"
    r"|use of closed network connection|temporary failure|server misbehaving"
    r"|no route to host|network is unreachable"
    # What skopeo makes of a /v2/ that answers 5xx: it tries the protocol before 2015.
    r"|V1 container registry",
    re.IGNORECASE,
)
_QUERY = re.compile(r"(?<=\S)\?[^\s\"]+")
_FATAL = re.compile(r'level=fatal msg="(?P<text>(?:[^"\\]|\\.)*)"')


@dataclass(frozen=True, kw_only=True)
class Registry:
    """How to reach a registry and log in to it."""

    auth_file: Path | None = None
    """Docker config.json; a missing file is no login."""
    secret: str | None = None
    """Name of the secret that the file comes from; for messages."""
    ca_file: Path | None = None
    """Certificate authority in PEM, trusted beside the system's; a missing file is none."""
    attempts: int = 4
    """Tries on failures that may pass."""
    timeout_seconds: float = 1800.0
    """Longest time for one try."""


Sleep = Callable[[float], None]


def push(
    layout: Path,
    tag: str,
    image: ImageReference,
    digest: str,
    registry: Registry,
    *,
    sleep: Sleep = time.sleep,
) -> None:
    """Copy an image of a layout to the registry, and see that its tag has the digest there.

    What the registry has already is not sent again, so another try goes on from there.
    """
    _check(image, registry)
    # skopeo reads oci:PATH:TAG up to the first colon, so the path must not bring its own.
    source, target = f"oci:{layout.name}:{tag}", f"docker://{image}"
    with _certificates(registry.ca_file) as cert_dir:
        flags = _flags("dest-", image, registry, cert_dir)
        arguments = ["copy", "--preserve-digests", *flags, source, target]
        _with_retries(
            lambda: _skopeo(arguments, layout.parent, image, registry), registry.attempts, sleep
        )
        pushed = _remote_digest(image, registry, cert_dir, sleep)
    if pushed != digest:
        raise TransientError(
            f"{image} has digest {pushed} after the push of {digest}; somebody else pushes this tag"
        )


def pull(
    image: ImageReference,
    layout: Path,
    tag: str,
    registry: Registry,
    *,
    sleep: Sleep = time.sleep,
) -> None:
    """Copy an image of a registry into a layout under the tag."""
    _check(image, registry)
    layout.parent.mkdir(parents=True, exist_ok=True)
    # skopeo takes no reference with both.
    source = ImageReference(
        registry=image.registry,
        repository=image.repository,
        tag=None if image.digest else image.tag,
        digest=image.digest,
    )
    target = f"oci:{layout.name}:{tag}"
    with _certificates(registry.ca_file) as cert_dir:
        flags = _flags("src-", image, registry, cert_dir)
        arguments = ["copy", "--preserve-digests", *flags, f"docker://{source}", target]
        _with_retries(
            lambda: _skopeo(arguments, layout.parent, image, registry), registry.attempts, sleep
        )


def _check(image: ImageReference, registry: Registry) -> None:
    if shutil.which("skopeo") is None:
        raise PermanentError(
            "skopeo is not installed, and images need it to reach a registry; install the package "
            "skopeo, or use oci:DIRECTORY"
        )
    auth_file = registry.auth_file
    if auth_file is None:
        return
    if not auth_file.exists():
        log.warn(_LOGGER, "no-login", file=auth_file, registry=image.registry)
        return
    check_login(auth_file, image.registry, secret=registry.secret)


def _flags(
    side: str, image: ImageReference, registry: Registry, cert_dir: Path | None
) -> list[str]:
    """skopeo's flags; `side` is the prefix that copy has before those of one end."""
    flags = []
    if registry.auth_file is not None and registry.auth_file.exists():
        flags.append(f"--authfile={registry.auth_file.absolute()}")
    else:
        # Else skopeo takes the login of whoever runs it, which is a different one each time.
        flags.append(f"--{side}no-creds")
    if cert_dir is not None:
        flags.append(f"--{side}cert-dir={cert_dir}")
    elif _is_loopback(image.registry):
        # As docker does: a registry of this machine may speak plain HTTP.
        flags.append(f"--{side}tls-verify=false")
    return flags


def _remote_digest(
    image: ImageReference, registry: Registry, cert_dir: Path | None, sleep: Sleep
) -> str:
    arguments = ["inspect", "--raw", *_flags("", image, registry, cert_dir), f"docker://{image}"]
    manifest = _with_retries(
        lambda: _skopeo(arguments, Path.cwd(), image, registry, _INSPECT_TIMEOUT_SECONDS),
        registry.attempts,
        sleep,
    )
    return f"sha256:{hashlib.sha256(manifest).hexdigest()}"


def _skopeo(
    arguments: Sequence[str],
    directory: Path,
    image: ImageReference,
    registry: Registry,
    timeout_seconds: float | None = None,
) -> bytes:
    timeout = timeout_seconds or registry.timeout_seconds
    # What is pushed is our own, and what is pulled is named by its digest: no signature policy.
    command = ["skopeo", "--insecure-policy", *arguments]
    try:
        done = subprocess.run(
            command,
            cwd=directory,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=timeout,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise TransientError(
            f"{image.registry}: skopeo {arguments[0]} took over {timeout:.0f} s"
        ) from error
    if done.returncode == 0:
        return done.stdout
    raise error_of(done.stderr.decode(errors="replace"), image, registry)


def error_of(stderr: str, image: ImageReference, registry: Registry) -> StepError:
    """skopeo's failure as one of ours: what the user can change, or what may pass."""
    reason = _reason(stderr)
    # A repository may be called "timeout" or "denied".
    symptoms = reason.replace(image.name, "")
    if _MAY_PASS.search(symptoms):
        return TransientError(f"{image}: {reason}")
    if _REFUSED.search(symptoms):
        return PermanentError(
            f"registry {image.registry} refused {image.name}: {reason}; "
            f"the login came from {describe(registry.auth_file, registry.secret)}"
        )
    if _UNKNOWN_HOST.search(symptoms):
        return PermanentError(f"registry {image.registry}: no such host; is the name right?")
    if _NOT_TLS.search(symptoms):
        return PermanentError(f"registry {image.registry} speaks plain HTTP, and HTTPS is needed")
    if _CERTIFICATE.search(symptoms):
        return PermanentError(f"registry {image.registry}: {reason}; {certificates.ADVICE}")
    return PermanentError(f"{image}: {reason}")


def _reason(stderr: str) -> str:
    fatal = _FATAL.search(stderr)
    lines = stderr.strip().splitlines() or ["skopeo failed without a message"]
    text = fatal["text"].replace('\\"', '"') if fatal is not None else lines[-1]
    # Upload addresses carry the session's token in their query.
    return _QUERY.sub("", text)


def _with_retries(action: Callable[[], bytes], attempts: int, sleep: Sleep) -> bytes:
    for attempt in range(1, attempts):
        try:
            return action()
        except TransientError as error:
            pause = _BACKOFF_SECONDS[min(attempt, len(_BACKOFF_SECONDS)) - 1]
            log.warn(_LOGGER, "retry", attempt=attempt, of=attempts, in_seconds=pause, reason=error)
            sleep(pause)
    return action()


@contextlib.contextmanager
def _certificates(ca_file: Path | None) -> Iterator[Path | None]:
    """skopeo wants a directory in which the authority's file ends in .crt."""
    own = certificates.existing(ca_file)
    if own is None:
        yield None
        return
    with tempfile.TemporaryDirectory(prefix="argotune-ca-") as directory:
        shutil.copyfile(own, Path(directory) / "ca.crt")
        yield Path(directory)


def _is_loopback(registry: str) -> bool:
    host = registry.rpartition(":")[0] if re.search(r":\d+$", registry) else registry
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False
