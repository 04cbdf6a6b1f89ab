"""A Containerfile as its instructions, and what they say."""

from __future__ import annotations

import json
import re
import shlex
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
IMAGES = sorted(path.stem for path in (ROOT / "images").glob("*.Containerfile"))
_BUILD = (ROOT / "images" / "build").read_text()
EXTRAS = " ".join(re.findall(r'^ALL_EXTRAS="(.+)"$', _BUILD, re.M)).split()
"""What EXTRAS can name."""


@dataclass(frozen=True)
class Instruction:
    word: str
    """FROM, RUN, COPY, ..."""
    text: str
    """What stands behind it, on one line."""

    @property
    def operands(self) -> list[str]:
        """The words that are no flags."""
        return [word for word in self.text.split() if not word.startswith("--")]

    @property
    def flags(self) -> list[str]:
        return [word for word in self.text.split() if word.startswith("--")]


@dataclass(frozen=True)
class Stage:
    name: str
    """Empty: the image itself."""
    base: str
    instructions: tuple[Instruction, ...]

    def all(self, word: str) -> list[Instruction]:
        return [each for each in self.instructions if each.word == word]


@dataclass(frozen=True)
class Containerfile:
    preamble: tuple[Instruction, ...]
    """What stands before the first FROM."""
    stages: tuple[Stage, ...]

    @property
    def image(self) -> Stage:
        return self.image_with(extras="")

    def image_with(self, extras: str) -> Stage:
        """The last stage and, before it, the stages that it begins with."""
        whole = self.stages[-1]
        names = {stage.name: stage for stage in self.stages}
        while lower := names.get(_expand(whole.base, extras)):
            whole = Stage(whole.name, lower.base, lower.instructions + whole.instructions)
        return whole

    def stage(self, name: str) -> Stage:
        (found,) = (stage for stage in self.stages if stage.name == name)
        return found

    @property
    def sources(self) -> list[str]:
        """Paths of the tree that are copied."""
        return [
            source
            for stage in self.stages
            for copy in stage.all("COPY")
            if not any(flag.startswith("--from=") for flag in copy.flags)
            for source in copy.operands[:-1]
        ]

    @property
    def labels(self) -> dict[str, str]:
        words = [word for label in self.image.all("LABEL") for word in shlex.split(label.text)]
        return dict(word.split("=", 1) for word in words)

    @property
    def env(self) -> dict[str, str]:
        words = [word for env in self.image.all("ENV") for word in shlex.split(env.text)]
        return dict(word.split("=", 1) for word in words)

    @property
    def entrypoint(self) -> list[str]:
        (entrypoint,) = self.image.all("ENTRYPOINT")
        words: list[str] = json.loads(entrypoint.text)
        return words

    @property
    def groups(self) -> list[str]:
        """Dependency groups of pyproject.toml that are exported, without `image-`."""
        return re.findall(r"--only-group image-(\S+)", self._runs("uv"))

    @property
    def pruned(self) -> set[str]:
        """Distributions that are left out on purpose."""
        return set(re.findall(r"--prune (\S+)", self._runs("uv")))

    def _runs(self, stage: str) -> str:
        return "\n".join(run.text for run in self.stage(stage).all("RUN"))


def text_of(image: str) -> str:
    return (ROOT / "images" / f"{image}.Containerfile").read_text()


def read(image: str) -> Containerfile:
    """The Containerfile of that image, without its comments."""
    lines = [line for line in text_of(image).splitlines() if not line.lstrip().startswith("#")]
    joined = re.sub(r"\\\n\s*", "", "\n".join(lines))
    instructions = [
        Instruction(word, text.strip())
        for word, _, text in (line.partition(" ") for line in joined.splitlines() if line)
    ]
    starts = [at for at, each in enumerate(instructions) if each.word == "FROM"]
    ends = [*starts[1:], len(instructions)]
    stages = [_stage(instructions[start:end]) for start, end in zip(starts, ends, strict=True)]
    return Containerfile(tuple(instructions[: starts[0]]), tuple(stages))


def _expand(base: str, extras: str) -> str:
    return re.sub(r"\$\{EXTRAS:\+(.*)\}", r"\1" if extras else "", base)


def _stage(instructions: list[Instruction]) -> Stage:
    base, *name = instructions[0].text.split(" AS ")
    return Stage("".join(name), base, tuple(instructions[1:]))
