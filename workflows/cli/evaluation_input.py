"""What `argotune evaluate` is given: models, data and checks, refused with all problems at once."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from argotune.presets.loader import model_preset, model_preset_names, model_presets
from argotune.presets.names import UnknownName, hub_name, is_preset_name, nearest
from argotune.steps.common import strict_yaml
from argotune.steps.common.errors import ParamsError
from argotune.steps.common.urls import redact
from argotune.steps.contracts.checks import Check
from argotune.steps.contracts.versions import is_of_versions
from argotune.steps.plan.planning import (
    OF_HUB,
    OWN_SECTION,
    ROOT,
    WrongParts,
    own_preset,
    problems_outside_a_run,
    read_checks,
    text_of_own,
)
from argotune.steps.registry.oci import LayoutReference, parse_reference
from argotune.workflows.cli.errors import InputError
from argotune.workflows.workspace.input import absolute_url, data_url_problem, missing_file
from argotune.workflows.workspace.tags import unsafe

FindService = Callable[[str], str | None]
"""Returns the image, by digest, of the adapter that a workspace has in service; None: there is no
workspace of that name. Raises InputError where it has none in service."""
FindVersion = Callable[[str, str], str]
"""Returns the image of a version of a workspace, by digest where its registry could be asked.
Raises InputError where there is no such workspace or version, CliError where it has pushed none."""
FindPreset = Callable[[str], str | None]
"""Returns the text of a preset of one's own; None: there is none of this name. Raises LookupError
where that cannot be known, with the reason."""
_OF_FILES = (".yaml", ".yml")


@dataclass(frozen=True, kw_only=True)
class Asked:
    """An evaluation, as the plan step takes it."""

    models: tuple[str, ...]
    """Presets, images, and NAME=IMAGE or NAME:VERSION=IMAGE for the adapters of workspaces."""
    own_preset: str = ""
    """The preset of one's own that they name, as JSON; empty: they name none."""
    urls: tuple[str, ...]
    config: str
    """A training_config.yaml with the columns of the data and the checks; empty: neither."""
    checks: tuple[Check, ...] = ()
    """Those of the config."""


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where the evaluation runs."""

    title: str
    """Of which services there may be, such as `this machine`."""
    is_here: bool
    """Whether files and directories of this machine may be named."""
    find_service: FindService
    find_version: FindVersion
    find_preset: FindPreset


def read_asked(
    names: Sequence[str],
    data: Sequence[str],
    checks_file: Path | None,
    config_file: Path | None,
    place: Place,
    known_problems: Sequence[str] = (),
) -> Asked:
    """Read what the command was given. Raises InputError with all problems, also known ones."""
    problems = list(known_problems)
    own, remark = _own_presets(names, place, problems)
    models = list(_models(names, own, place, problems, remark))
    urls = list(_urls(data, place, problems))
    sections, checks = _config(checks_file, config_file, problems)
    config = strict_yaml.dump({ROOT: sections}) if sections else ""
    if not place.is_here and (problem := unsafe(config, lines=True)):
        problems.append(f"{config_file or checks_file}: {problem}")
    if problems:
        raise InputError(problems)
    return Asked(
        models=tuple(models),
        own_preset=next(iter(own.values()), ""),
        urls=tuple(urls),
        config=config,
        checks=tuple(checks),
    )


def _own_presets(
    names: Sequence[str], place: Place, problems: list[str]
) -> tuple[dict[str, str], str]:
    """Return the presets of one's own among the names, as JSON, and what was not looked at."""
    found: dict[str, str] = {}
    remark = ""
    for name in dict.fromkeys(names):
        if not is_preset_name(name) or name.lower() in model_preset_names():
            continue
        try:
            text = place.find_preset(name)
            if text is not None:
                found[name] = text_of_own(own_preset(name, text))
        except LookupError as error:
            remark = f"; presets of the installation were not looked at: {error}"
        except ParamsError as error:
            found[name] = ""
            problems += error.problems
    if len(found) > 1:
        problems.append(f"{', '.join(found)}: models are compared on one base; name one preset")
    return found, remark


def _models(
    names: Sequence[str],
    own: Collection[str],
    place: Place,
    problems: list[str],
    remark: str,
) -> Iterator[str]:
    twice = sorted({name for name in names if names.count(name) > 1})
    problems += [f"{name} is given twice; name each model once" for name in twice]
    for name in dict.fromkeys(names):
        if name in own:
            yield name
            continue
        try:
            yield _model(name, place, remark)
        except InputError as error:
            problems += error.problems


def no_own_adapter(name: str) -> InputError:
    """A service without training, which is no model to compare."""
    return InputError(
        f"{name}: its service is one without training, and has no adapter of its own; name its"
        " preset, and each of its adapters by the image"
    )


def _model(name: str, place: Place, remark: str) -> str:
    if name.endswith(_OF_FILES):
        raise InputError(
            f"{name}: a file; name the workspace in it, its preset or the image of an adapter"
        )
    try:
        return model_preset(name).name
    except UnknownName:
        pass
    of_hub = hub_name(name.removeprefix(OF_HUB)) if name.startswith(OF_HUB) else None
    if of_hub is not None:
        return name
    if name.startswith("oci:") or "/" in name:
        return _image(name, place)
    workspace, _, version = name.partition(":")
    if workspace and is_of_versions(version):
        return f"{name}={place.find_version(workspace, version)}"
    image = place.find_service(name)
    if image is not None:
        return f"{name}={image}"
    near = nearest(name, [preset.name for preset in model_presets()])
    raise InputError(
        f"{name}: no preset"
        + (f" (did you mean {near}?)" if near else "")
        + f", no workspace with a service of {place.title}, no version of one, which would be"
        " NAME:vN or NAME:live, and no image, which would be"
        " REGISTRY/REPOSITORY:TAG" + (" or oci:DIRECTORY:TAG" if place.is_here else "") + remark
    )


def _image(name: str, place: Place) -> str:
    try:
        reference = parse_reference(name)
    except ValueError as error:
        raise InputError(str(error)) from error
    if isinstance(reference, LayoutReference) and not place.is_here:
        raise InputError(
            f"{name}: a directory of this machine, and the pods run elsewhere; name an image of a"
            " registry"
        )
    if isinstance(reference, LayoutReference):
        # The steps run in directories of their own.
        absolute = reference.directory.expanduser().absolute()
        return str(replace(reference, directory=absolute))
    return name


def _urls(data: Sequence[str], place: Place, problems: list[str]) -> Iterator[str]:
    for text in data:
        url = absolute_url(text, Path.cwd())
        problem = data_url_problem(url, on_this_machine=place.is_here)
        if problem is None and place.is_here:
            problem = missing_file(url)
        if problem is None:
            yield url
        else:
            problems.append(f"--data {redact(text)}: {problem}")


def _config(
    checks_file: Path | None, config_file: Path | None, problems: list[str]
) -> tuple[dict[str, Any], list[Check]]:
    """Return the sections of the training config with the checks, and the checks."""
    sections: dict[str, Any] = {}
    if config_file is not None:
        try:
            sections = _read_sections(config_file)
        except InputError as error:
            problems += error.problems
    own = dict(sections.get(OWN_SECTION) or {})
    where, value = f"{config_file}: {ROOT}.{OWN_SECTION}.checks", own.get("checks")
    if checks_file is not None and value:
        problems.append(f"--checks {checks_file}: {config_file} has checks too; keep one of them")
    elif checks_file is not None:
        where = str(checks_file)
        try:
            value = _yaml(checks_file)
        except InputError as error:
            problems += error.problems
    if value is None:
        return sections, []
    return {**sections, OWN_SECTION: {**own, "checks": value}}, _checks(value, where, problems)


def _checks(value: object, where: str, problems: list[str]) -> list[Check]:
    try:
        checks = read_checks(value)
    except WrongParts as error:
        problems += [f"{where}{problem}" for problem in error.problems]
        return []
    except ValueError as error:
        problems.append(f"{where}: accepted is {error}")
        return []
    problems += problems_outside_a_run(checks, where)
    return checks


def _read_sections(path: Path) -> dict[str, Any]:
    document = _yaml(path)
    sections = document.get(ROOT) if isinstance(document, dict) else None
    if not isinstance(sections, dict) or any(
        not isinstance(keys, dict | None) for keys in sections.values()
    ):
        raise InputError(
            f"{path}: accepted is a training_config.yaml, with one root key, {ROOT}, "
            "and mappings in it"
        )
    return sections


def _yaml(path: Path) -> object:
    try:
        return strict_yaml.load(path.read_text())
    except (OSError, UnicodeDecodeError, strict_yaml.YamlProblem) as error:
        raise InputError(f"{path}: {getattr(error, 'strerror', None) or error}") from error
