"""Options that several commands share."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated

import typer

from argotune.workflows.cli.errors import InputError

_OVERRIDES = "In place of the file's fields"

Files = Annotated[
    list[Path],
    typer.Argument(
        help="Kaito Workspace, with its ConfigMap in the same or a further file.",
        metavar="FILE...",
        show_default=False,
    ),
]
AllowLoopback = Annotated[
    bool,
    typer.Option("--allow-loopback", help="Permit dataset URLs of this machine, and file URLs."),
]
Substitute = Annotated[
    bool,
    typer.Option(
        "--substitute", help="Take the nearest SKU that fits where the file's cannot be used."
    ),
]
Name = Annotated[str | None, typer.Option(rich_help_panel=_OVERRIDES, help="Workspace name.")]
Preset = Annotated[str | None, typer.Option(rich_help_panel=_OVERRIDES, help="Model preset.")]
Method = Annotated[str | None, typer.Option(rich_help_panel=_OVERRIDES, help="lora or qlora.")]
Url = Annotated[
    list[str] | None,
    typer.Option(rich_help_panel=_OVERRIDES, help="Dataset URL; may be given several times."),
]
OutputImage = Annotated[
    str | None,
    typer.Option(rich_help_panel=_OVERRIDES, help="REGISTRY/REPOSITORY:TAG or oci:DIRECTORY."),
]
InstanceType = Annotated[
    str | None, typer.Option(rich_help_panel=_OVERRIDES, help="SKU of the GPU node.")
]
VolumeSize = Annotated[
    str | None, typer.Option(rich_help_panel=_OVERRIDES, help="Size of the run's volume.")
]
StorageClass = Annotated[
    str | None, typer.Option(rich_help_panel=_OVERRIDES, help="Storage class of the volume.")
]
Set = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        rich_help_panel=_OVERRIDES,
        metavar="NAME=VALUE",
        help="A setting in place of the annotation argotune.dev/NAME, such as tune-memory=32Gi; may"
        " be given several times.",
    ),
]
ImagesRegistry = Annotated[str | None, typer.Option(help="Registry of the step images, HOST/PATH.")]
ImagesTag = Annotated[str | None, typer.Option(help="Tag of the step images.")]


def refuse(given: Mapping[str, object], reason: str) -> None:
    """Refuse the flags that are given, by name, since they contradict others or have no effect.

    A flag is not given where it is None, False or empty. Raises InputError with the reason.
    """
    flags = [flag for flag, value in given.items() if value not in (None, False, "", [], {})]
    if flags:
        raise InputError([f"{flag}: {reason}" for flag in flags])


def overrides(
    *,
    name: str | None = None,
    preset: str | None = None,
    method: str | None = None,
    url: list[str] | None = None,
    output_image: str | None = None,
    instance_type: str | None = None,
    volume_size: str | None = None,
    storage_class: str | None = None,
    settings: Sequence[str] | None = None,
    others: Mapping[str, str] | None = None,
) -> dict[str, str]:
    """Return the given flags in the form of `read_workspace`; `others` are flags of settings.

    Raises InputError for a `--set` that is wrong or contradicts another flag.
    """
    given = {
        "name": name,
        "preset": preset,
        "method": method,
        "urls": json.dumps(url) if url else None,
        "output-image": output_image,
        "instance-type": instance_type,
        "volume-size": volume_size,
        "storage-class": storage_class,
    }
    flags = {flag: text for flag, text in given.items() if text is not None} | dict(others or {})
    return flags | _settings(settings or [], flags)


def _settings(pairs: Sequence[str], flags: Mapping[str, str]) -> dict[str, str]:
    """Return the pairs of `--set`, each setting once."""
    if not pairs:
        return {}
    # Presets and the table take a tenth of a second to import, and most commands need neither.
    from argotune.presets.loader import nearest
    from argotune.steps.settings.run_settings import annotation_settings

    known = annotation_settings()
    found: dict[str, str] = {}
    problems = []
    for pair in pairs:
        name, equals, text = pair.partition("=")
        if not equals or not text:
            problems.append(f"--set {pair!r}: accepted is NAME=VALUE")
        elif name not in known:
            near = nearest(name, known)
            advice = f"did you mean {near}?" if near else f"known are {', '.join(known)}"
            problems.append(f"--set {pair!r}: no setting {name}; {advice}")
        elif name in found or name in flags:
            problems.append(f"--set {pair!r}: {name} is given twice; give it once")
        else:
            found[name] = text
    if problems:
        raise InputError(problems)
    return found
