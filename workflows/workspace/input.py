"""tuning.input: where the dataset is, and the Secret and the claim to read it with."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import quote, unquote, urlsplit

from argotune.steps.common.urls import VOLUME_SCHEME, internal_host, is_url, redact, url_problem
from argotune.steps.common.values import is_dns_subdomain
from argotune.steps.dataset.selection import fixed_directory, is_pattern
from argotune.steps.registry.oci import LayoutReference, parse_reference
from argotune.steps.settings.run_settings import PREFIX, SETTINGS
from argotune.workflows.workspace.fields import Fields
from argotune.workflows.workspace.model import URLS, VALIDATION_URLS, Workspace
from argotune.workflows.workspace.tags import unsafe
from argotune.workflows.workspace.volume_source import read_claim

_VALIDATION_SETTING, _START_SETTING = "validation-urls", "start-from"
_ADAPTER = "tuning.input.adapter"
_KINDS = ("urls", "image", "volumeSource")
ONE_KIND = "accepted is exactly one of urls, image and volumeSource"
_VOLUME = "tuning.input.volumeSource"
_PULL_SECRETS = "tuning.input.imagePullSecrets"
_PUT_WHERE = (
    "put it where they reach it, as https, hf, s3, gs, abfs or oci URL, or on a claim that"
    " tuning.input.volumeSource names"
)
_FILE_ADVICE = (
    f"a file of this machine, which `argotune run` reads and a cluster's pods do not; {_PUT_WHERE}"
)
_LOOPBACK_ADVICE = (
    "this machine, which `argotune run --allow-loopback` reaches and a cluster's pods do not; "
    f"{_PUT_WHERE}"
)
_VOLUME_REASONS = {
    "emptyDir": "it is empty",
    "image": "name the image as tuning.input.image",
    "configMap": "a dataset does not fit into one",
    "secret": "a dataset does not fit into one",
}


@dataclass(frozen=True, kw_only=True)
class Input:
    """Where the dataset is."""

    urls: tuple[str, ...]
    """URLs; a path of this machine is one too."""
    validation_urls: tuple[str, ...]
    """URLs of files whose rows are all held out, likewise."""
    secret: str | None
    """Secret with the sources' logins."""
    claim: str | None
    """PersistentVolumeClaim of volume URLs."""


@dataclass(frozen=True, kw_only=True)
class Reach:
    """Which data a run may read besides public ones."""

    base_dir: Path
    """Where relative paths begin."""
    allow_loopback: bool
    on_this_machine: bool
    """Whether data may be files."""
    files_are_here: bool
    """Whether those must be there."""
    on_cluster: bool
    """Whether the run is a cluster's pods, for which this machine is another one."""


def read_input(
    fields: Fields, reach: Reach, *, secret: str | None, validation: str | None
) -> Input:
    """Read tuning.input; `secret` and `validation` are the annotations'.

    An image or a claim becomes a URL of its own. No message shows the queries of URLs.
    """
    kind = "urls" if "urls" in fields.overrides else _kind_of(fields)
    claim = read_claim(fields, _VOLUME, _VOLUME_REASONS) if kind == "volumeSource" else None
    if kind == "image":
        urls = _checked_image(fields.text("tuning.input.image") or "", fields)
    elif kind == "volumeSource":
        urls = (f"{VOLUME_SCHEME}://{claim}/",) if claim else ()
    else:
        is_flag = "urls" in fields.overrides
        given = _urls_of_flag(fields) if is_flag else fields.texts(URLS)
        urls = _checked_urls(given, fields.shown(URLS, "urls"), fields, reach)
    validation_urls, claim = _read_validation(fields, reach, validation, claim)
    return Input(
        urls=urls,
        validation_urls=validation_urls,
        secret=_read_secret(fields, secret),
        claim=claim,
    )


def read_adapter(fields: Fields, base_dir: Path, annotated: str | None) -> str | None:
    """Read tuning.input.adapter, or the annotation or flag that stands for it; None: neither."""
    given = fields.text(_ADAPTER)
    annotation = fields.shown(f"metadata.annotations.{PREFIX}{_START_SETTING}", _START_SETTING)
    if given and annotated and _START_SETTING not in fields.overrides:
        fields.problems.append(f"{_ADAPTER} and {annotation}: both are given; keep one")
    place, text = (annotation, annotated) if annotated else (_ADAPTER, given)
    if text is None:
        return None
    problem = SETTINGS[_START_SETTING].problem(text)
    if problem is not None:
        fields.problems.append(f"{place}: {text!r}; accepted is {problem}")
        return None
    if not text.startswith("oci:"):
        return text
    reference = parse_reference(text)
    assert isinstance(reference, LayoutReference)
    return str(replace(reference, directory=(base_dir / reference.directory).resolve()))


def refused_urls(workspace: Workspace) -> list[str]:
    """List the URLs that a run without --allow-loopback would refuse, each with the reason."""
    return [
        f"{place}: {redact(url)!r}: {problem}"
        for place, url in workspace.all_urls
        if (problem := _problem(url, allow_loopback=False)) is not None
    ]


def _read_validation(
    fields: Fields, reach: Reach, annotated: str | None, claim: str | None
) -> tuple[tuple[str, ...], str | None]:
    """Read the validation files, and the claim of the run, which they may be the first to name."""
    place = VALIDATION_URLS
    given = fields.texts(place)
    annotation = fields.shown(
        f"metadata.annotations.{PREFIX}{_VALIDATION_SETTING}", _VALIDATION_SETTING
    )
    if given and annotated:
        fields.problems.append(f"{place} and {annotation}: both are given; keep one")
    if annotated:
        given, place = annotated.split(), annotation
    volumes = [url for url in given if url.startswith(f"{VOLUME_SCHEME}://")]
    for url in volumes:
        named = urlsplit(url).netloc
        if not is_dns_subdomain(named) or claim not in (None, named):
            fields.problems.append(
                f"{place}: {url!r}: accepted is {VOLUME_SCHEME}://{claim or 'CLAIM'}/FILE, with the"
                " one PersistentVolumeClaim of the run"
            )
            return (), claim
        claim = named
    checked = iter(
        _checked_urls([url for url in given if url not in volumes], place, fields, reach)
    )
    return tuple(url if url in volumes else next(checked) for url in given), claim


def _checked_urls(
    given: Sequence[str], place: str, fields: Fields, reach: Reach
) -> tuple[str, ...]:
    urls = tuple(absolute_url(url, reach.base_dir) for url in given)
    _check_urls(urls, place, fields, reach)
    if reach.files_are_here:
        _check_files(urls, place, fields)
    return urls


def _kind_of(fields: Fields) -> str:
    given = [name for name in _KINDS if fields.get(f"tuning.input.{name}")]
    if len(given) != 1:
        found = " and ".join(given) or "none"
        fields.problems.append(f"tuning.input: {found}; {ONE_KIND}")
    return given[0] if given else "urls"


def _check_urls(urls: Sequence[str], place: str, fields: Fields, reach: Reach) -> None:
    for index, url in enumerate(urls):
        if not url:
            continue
        path = f"{place}[{index}]"
        problem = _problem(
            url, allow_loopback=reach.allow_loopback, allow_files=reach.on_this_machine
        )
        if problem and reach.on_cluster and _is_of_loopback(url):
            problem = _LOOPBACK_ADVICE
        problem = problem or unsafe(url)
        if problem is not None:
            fields.problems.append(f"{path}: {redact(url)!r}: {problem}")
            continue
        host = internal_host(url)
        if host is not None:
            fields.host_warnings.append(
                f"{path}: {host} is inside a private network; it is fetched from only where"
                f" `argotune install --allow-host {host}` permits it"
            )
        if "?" in url:
            fields.warnings.append(
                f"{path}: the query of {redact(url)} may hold a token: it goes into a Secret and "
                "is in no argument, log, name or image"
            )


def _check_files(urls: Sequence[str], place: str, fields: Fields) -> None:
    """Look for the files of this machine; what a directory or a pattern holds is not looked at."""
    fields.problems += [
        f"{place}[{index}]: {problem}"
        for index, url in enumerate(urls)
        if (problem := missing_file(url)) is not None
    ]


def missing_file(url: str) -> str | None:
    """Say that the file of a URL is not on this machine; None where it is, or for no such URL."""
    parts = urlsplit(url) if url.startswith("file:///") else None
    path = unquote(parts.path) if parts else ""
    if not path or Path(path).exists():
        return None
    if is_pattern(path) and Path("/", fixed_directory(path)).is_dir():
        return None
    return f"{path}: no such file or directory; a relative path begins where the command runs"


def _problem(url: str, *, allow_loopback: bool, allow_files: bool = False) -> str | None:
    if url.startswith("file:") and not allow_loopback and not allow_files:
        return _FILE_ADVICE
    if url.startswith(f"{VOLUME_SCHEME}:"):
        return "a claim is named by tuning.input.volumeSource"
    return url_problem(url, allow_loopback=allow_loopback, allow_files=allow_files)


def _is_of_loopback(url: str) -> bool:
    """Whether a URL is refused only because its server is this machine."""
    return not url.startswith("file:") and _problem(url, allow_loopback=True) is None


def data_url_problem(url: str, *, on_this_machine: bool = True) -> str | None:
    """Why data are not read from a URL by a command without a file, or None if they are."""
    found = _problem(url, allow_loopback=on_this_machine, allow_files=on_this_machine)
    return found or unsafe(url)


def absolute_url(url: str, base_dir: Path) -> str:
    """Return a path as file URL, anything else unchanged; `*` and `[` stay signs of a pattern."""
    if not url or is_url(url):
        return url
    path = (base_dir / Path(url).expanduser()).absolute()
    return f"file://{quote(str(path), safe='/*[]!')}{'/' if url.endswith('/') else ''}"


def _checked_image(image: str, fields: Fields) -> tuple[str, ...]:
    url = f"oci://{image.removeprefix('oci://')}"
    problem = url_problem(url, allow_loopback=False) or unsafe(image)
    if problem is not None:
        fields.problems.append(f"tuning.input.image: {image!r}: {problem}")
        return ()
    return (url,)


def _read_secret(fields: Fields, annotated: str | None) -> str | None:
    """Read Kaito's one pull secret, or the annotation of argotune."""
    names = pull_secrets(fields, _PULL_SECRETS, fields.get("tuning.input"))
    if len(names) > 1 or (names and annotated not in (None, names[0])):
        fields.problems.append(
            f"{_PULL_SECRETS}: {', '.join(filter(None, [*names, annotated]))}; accepted is one"
            f" Secret, which may have other keys than .dockerconfigjson too, and no other name in"
            f" metadata.annotations.{PREFIX}data-secret"
        )
    return annotated or (names[0] if names else None)


def pull_secrets(fields: Fields, place: str, source: object) -> list[str]:
    """Read the imagePullSecrets of a source, which are at this place.

    Kaito's API has names there; Kubernetes' own references, {name: NAME}, are read too.
    """
    value = source.get("imagePullSecrets") if isinstance(source, dict) else None
    items = value if isinstance(value, list) else []
    names = [item.get("name") if isinstance(item, dict) else item for item in items]
    if value is not None and (
        not isinstance(value, list) or not all(isinstance(name, str) for name in names)
    ):
        fields.problems.append(f"{place}: {value!r}; accepted is a list of names of Secrets")
        return []
    for name in names:
        if not is_dns_subdomain(str(name)):
            fields.problems.append(f"{place}: {name!r}; accepted is the name of a Secret")
    return [str(name) for name in names]


def _urls_of_flag(fields: Fields) -> list[str]:
    try:
        urls = json.loads(fields.overrides["urls"])
    except (ValueError, RecursionError):
        urls = None
    if not isinstance(urls, list) or not urls or not all(isinstance(url, str) for url in urls):
        fields.problems.append('--url: accepted is a JSON list of URLs, such as ["https://..."]')
        return []
    return urls
