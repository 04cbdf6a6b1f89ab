"""Copy images between OCI layouts and registries with skopeo, by digest and with retries.

skopeo supports the login methods of all registries. Which failures it retries itself depends on
its version, so this module retries.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from argotune.steps.common import certificates, log
from argotune.steps.common.errors import PermanentError, StepError, TransientError
from argotune.steps.registry.confine import confined
from argotune.steps.registry.guard import guarded, has_own_proxy
from argotune.steps.registry.oci import ImageReference
from argotune.steps.registry.policy import is_loopback, policy_of
from argotune.steps.registry.registry_login import check_login, describe

_LOGGER = logging.getLogger(__name__)

_BACKOFF_SECONDS = (1.0, 2.0, 5.0, 10.0, 20.0)
_INSPECT_TIMEOUT_SECONDS = 120.0

_REFUSED = re.compile(
    r"unauthorized|authentication required|denied|forbidden|invalid username/password"
    r"|status(?:code)?: 40[13]\b",
    re.IGNORECASE,
)
# Go's message about a port that `confine` has given up.
_CONFINED = re.compile(r"dial tcp (?P<address>\S+): connect: permission denied")
_UNKNOWN_HOST = re.compile(r"no such host", re.IGNORECASE)
_NOT_FOUND = re.compile(
    r"manifest unknown|name unknown|name_unknown|not found|status(?:code)?: 404\b", re.IGNORECASE
)
_CERTIFICATE = re.compile(r"x509:|certificate", re.IGNORECASE)
_NOT_TLS = re.compile(r"server gave HTTP response to HTTPS client", re.IGNORECASE)
_MAY_PASS = re.compile(
    r"status(?:code)?: (?:408|429|499|5\d\d)\b|toomanyrequests|too many requests"
    r"|timeout|timed out|deadline exceeded|connection re(?:set|fused)|broken pipe|\bEOF\b"
    r"|use of closed network connection|temporary failure|server misbehaving"
    r"|no route to host|network is unreachable"
    # skopeo's message when /v2/ answers 5xx, because it then tries the V1 protocol.
    r"|V1 container registry",
    re.IGNORECASE,
)
_QUERY = re.compile(r"(?<=\S)\?[^\s\"]+")
_FATAL = re.compile(r'level=fatal msg="(?P<text>(?:[^"\\]|\\.)*)"')


@dataclass(frozen=True, kw_only=True)
class Registry:
    """How to reach a registry and log in to it."""

    auth_file: Path | None = None
    """Docker config.json; if the file does not exist, no login of a file is used."""
    secret: str | None = None
    """Name of the secret that the file comes from, for messages."""
    is_login_of_user: bool = False
    """A person runs this, whose login skopeo finds without an auth file; a registry that asks for
    none may be missing in it."""
    ca_file: Path | None = None
    """Certificate authority in PEM, trusted in addition to the system's; may not exist."""
    allowed_hosts: tuple[str, ...] = ()
    """HOST or HOST:PORT that may have private addresses where this machine is a pod."""
    attempts: int = 4
    """Attempts on transient errors."""
    timeout_seconds: float = 1800.0
    """Longest duration of one attempt."""


Sleep = Callable[[float], None]


class NotFound(PermanentError):
    """The registry answers that it has no such repository, tag or digest."""


class Refused(PermanentError):
    """The registry wants another login, or hides that it has no such repository."""


def push(
    layout: Path,
    tag: str,
    image: ImageReference,
    digest: str,
    registry: Registry,
    *,
    sleep: Sleep = time.sleep,
) -> None:
    """Copy an image of a layout to the registry, and verify the digest of the tag there.

    Blobs that the registry already has are not sent again. Raises PermanentError for what the
    user must change, TransientError when all attempts failed or the tag has another digest.
    """
    _check(image, registry)
    # skopeo splits oci:PATH:TAG at the first colon, so the path is relative and has none.
    source, target = f"oci:{layout.name}:{tag}", f"docker://{image}"
    with _certificates(registry.ca_file) as cert_dir:
        flags = _flags("dest-", image, registry, cert_dir)
        arguments = ["copy", "--preserve-digests", *flags, source, target]
        _with_retries(
            lambda: _skopeo(arguments, layout.parent, image, registry), registry.attempts, sleep
        )
        pushed = _digest(_remote_manifest(image, registry, cert_dir, sleep))
    if pushed != digest:
        raise TransientError(
            f"{image} has digest {pushed} after the push of {digest}; is another run pushing "
            "to this tag?"
        )


def pull(
    image: ImageReference,
    layout: Path,
    tag: str,
    registry: Registry,
    *,
    sleep: Sleep = time.sleep,
) -> None:
    """Copy an image of a registry into a layout under the tag.

    Raises PermanentError for what the user must change, TransientError when all attempts failed.
    """
    _check(image, registry)
    layout.parent.mkdir(parents=True, exist_ok=True)
    # skopeo accepts no reference with both a tag and a digest.
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


def remote_digest(image: ImageReference, registry: Registry, *, sleep: Sleep = time.sleep) -> str:
    """The digest of the manifest that a tag of the registry has.

    Raises PermanentError for what the user must change, TransientError when all attempts failed.
    """
    return _digest(remote_manifest(image, registry, sleep=sleep))


def remote_manifest(
    image: ImageReference, registry: Registry, *, sleep: Sleep = time.sleep
) -> bytes:
    """The manifest of an image, or the index of several platforms, as the registry has it.

    Raises PermanentError for what the user must change, TransientError when all attempts failed.
    """
    _check(image, registry)
    with _certificates(registry.ca_file) as cert_dir:
        return _remote_manifest(image, registry, cert_dir, sleep)


def list_tags(image: ImageReference, registry: Registry, *, sleep: Sleep = time.sleep) -> list[str]:
    """List the tags of an image's repository.

    Raises NotFound if the registry has no such repository, PermanentError for what the user must
    change, TransientError when all attempts failed.
    """
    _check(image, registry)
    with _certificates(registry.ca_file) as cert_dir:
        arguments = ["list-tags", *_flags("", image, registry, cert_dir), f"docker://{image.name}"]
        listed = _ask(arguments, image, registry, sleep)
    return [str(tag) for tag in json.loads(listed)["Tags"] or []]


def tag(
    image: ImageReference, new_tag: str, registry: Registry, *, sleep: Sleep = time.sleep
) -> None:
    """Let a tag of an image's repository stand for the image, which is named by its digest.

    The registry has the blobs, so that only the manifest is sent. Raises NotFound if it has no such
    image, PermanentError for what the user must change, TransientError when all attempts failed.
    """
    _check(image, registry)
    source = ImageReference(
        registry=image.registry, repository=image.repository, digest=image.digest
    )
    target = ImageReference(registry=image.registry, repository=image.repository, tag=new_tag)
    with _certificates(registry.ca_file) as cert_dir:
        flags = [
            *_flags("src-", image, registry, cert_dir),
            *_flags("dest-", image, registry, cert_dir),
        ]
        # Both sides have the same login, which copy takes once.
        arguments = ["copy", "--preserve-digests", *dict.fromkeys(flags)]
        _ask([*arguments, f"docker://{source}", f"docker://{target}"], target, registry, sleep)


def _check(image: ImageReference, registry: Registry) -> None:
    if shutil.which("skopeo") is None:
        raise PermanentError(
            "skopeo is not installed; registries need it: install the package skopeo, or use "
            "oci:DIRECTORY"
        )
    policy_of(registry.allowed_hosts).refuse_this_pod(image)
    auth_file = registry.auth_file
    if auth_file is None or registry.is_login_of_user:
        return
    if not auth_file.exists():
        log.warn(_LOGGER, "no-login", file=auth_file, registry=image.registry)
        return
    check_login(auth_file, image.registry, secret=registry.secret)


def _flags(
    side: str, image: ImageReference, registry: Registry, cert_dir: Path | None
) -> list[str]:
    """Flags for skopeo; `side` is `src-` or `dest-` for copy, else empty."""
    flags = []
    if registry.auth_file is not None and registry.auth_file.exists():
        flags.append(f"--authfile={registry.auth_file.absolute()}")
    elif not registry.is_login_of_user:
        flags.append(f"--{side}no-creds")
    if cert_dir is not None:
        flags.append(f"--{side}cert-dir={cert_dir}")
    elif is_loopback(image.registry):
        # As Docker does: a registry on this machine may use plain HTTP.
        flags.append(f"--{side}tls-verify=false")
    return flags


def _remote_manifest(
    image: ImageReference, registry: Registry, cert_dir: Path | None, sleep: Sleep
) -> bytes:
    arguments = ["inspect", "--raw", *_flags("", image, registry, cert_dir), f"docker://{image}"]
    return _ask(arguments, image, registry, sleep)


def _ask(
    arguments: Sequence[str], image: ImageReference, registry: Registry, sleep: Sleep
) -> bytes:
    """Standard output of a request that sends and receives no layers. Raises StepError."""
    return _with_retries(
        lambda: _skopeo(arguments, Path.cwd(), image, registry, _INSPECT_TIMEOUT_SECONDS),
        registry.attempts,
        sleep,
    )


def _digest(manifest: bytes) -> str:
    return f"sha256:{hashlib.sha256(manifest).hexdigest()}"


def _skopeo(
    arguments: Sequence[str],
    directory: Path,
    image: ImageReference,
    registry: Registry,
    timeout_seconds: float | None = None,
) -> bytes:
    # No signature policy is needed: pushed images are our own, pulled ones have a digest.
    command = ["skopeo", "--insecure-policy", *arguments]
    timeout = timeout_seconds or registry.timeout_seconds
    if has_own_proxy():
        return _run_to_end(command, directory, image, registry, timeout, dict(os.environ))
    policy = policy_of(registry.allowed_hosts)
    with guarded(policy) as guard:
        if policy.is_pod:
            command = confined(guard.server_address[1], command)
        try:
            return _run_to_end(command, directory, image, registry, timeout, guard.environment)
        except StepError as error:
            raise guard.failure or error from error


def _run_to_end(
    command: Sequence[str],
    directory: Path,
    image: ImageReference,
    registry: Registry,
    timeout: float,
    environment: Mapping[str, str],
) -> bytes:
    """Standard output of skopeo. Raises StepError."""
    try:
        done = subprocess.run(
            command,
            cwd=directory,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=timeout,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise TransientError(f"{image.registry}: skopeo took over {timeout:.0f} s") from error
    if done.returncode == 0:
        return done.stdout
    raise error_of(done.stderr.decode(errors="replace"), image, registry)


def error_of(stderr: str, image: ImageReference, registry: Registry) -> StepError:
    """Convert skopeo's error output into a PermanentError or a TransientError."""
    reason = _reason(stderr)
    # A repository may be called "timeout" or "denied".
    symptoms = reason.replace(image.name, "")
    if _MAY_PASS.search(symptoms):
        return TransientError(f"{image}: {reason}")
    confined_to = _CONFINED.search(symptoms)
    if confined_to is not None:
        return PermanentError(
            f"registry {image.registry} leads to {confined_to['address']}, which is this pod itself"
        )
    if _REFUSED.search(symptoms):
        login = _login_advice(image, registry)
        return Refused(f"registry {image.registry} refused {image.name}: {reason}; {login}")
    if _UNKNOWN_HOST.search(symptoms):
        return PermanentError(f"registry {image.registry}: no such host; is the name right?")
    if _NOT_TLS.search(symptoms):
        return PermanentError(f"registry {image.registry} uses plain HTTP; HTTPS is required")
    if _CERTIFICATE.search(symptoms):
        is_command = registry.is_login_of_user
        advice = certificates.ADVICE_OF_COMMANDS if is_command else certificates.ADVICE
        return PermanentError(f"registry {image.registry}: {reason}; {advice}")
    if _NOT_FOUND.search(symptoms):
        return NotFound(f"{image}: {reason}")
    return PermanentError(f"{image}: {reason}")


def _login_advice(image: ImageReference, registry: Registry) -> str:
    """Say where the login came from, and to a person how to get one."""
    came_from = f"the login came from {describe(registry.auth_file, registry.secret)}"
    if not registry.is_login_of_user:
        return came_from
    leaves = f"`skopeo login {image.registry}`, like docker's, leaves a login"
    return f"{came_from}; {leaves}" if registry.auth_file is not None else leaves


def _reason(stderr: str) -> str:
    fatal = _FATAL.search(stderr)
    lines = stderr.strip().splitlines() or ["skopeo failed without a message"]
    text = fatal["text"].replace('\\"', '"') if fatal is not None else lines[-1]
    # URLs of uploads have the session's token in their query.
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
    """A directory with the authority's file as ca.crt, the layout that skopeo needs."""
    own = certificates.file_or_none(ca_file)
    if own is None:
        yield None
        return
    with tempfile.TemporaryDirectory(prefix="argotune-ca-") as directory:
        shutil.copyfile(own, Path(directory) / "ca.crt")
        yield Path(directory)
