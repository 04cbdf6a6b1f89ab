"""The Containerfiles as their instructions, and what they say of each image."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
from dataclasses import dataclass
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
IMAGES = subprocess.run(
    [ROOT / "images" / "build", "list"], capture_output=True, text=True, timeout=30, check=True
).stdout.split()
_BUILD = (ROOT / "images" / "build").read_text()
EXTRAS = " ".join(re.findall(r'^ALL_EXTRAS="(.+)"$', _BUILD, re.M)).split()
"""What EXTRAS can name."""
FILES = ("step", "cuda", "vllm")
CUDA = ("tune", "serve")
VLLM = "vllm"
OPERATOR = "operator"
SMALL = [image for image in IMAGES if image not in (*CUDA, VLLM)]


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


@dataclass(frozen=True)
class Needs:
    """What the stage `uv` writes down for one image."""

    groups: tuple[str, ...]
    """Dependency groups of pyproject.toml, without `image-`; the last is that of the image."""
    pruned: frozenset[str]
    """Distributions that are left out on purpose."""
    debian: str
    """Packages of Debian."""


def file_of(image: str) -> str:
    if image == VLLM:
        return "vllm"
    return "cuda" if image in CUDA else "step"


def package_of(image: str) -> str:
    """The folder whose modules an image starts."""
    return "workflows/operator" if image == OPERATOR else f"steps/{image}"


def lock_of(image: str) -> Path:
    """The lock file that an image is made by."""
    return ROOT / "images" / VLLM / "uv.lock" if image == VLLM else ROOT / "uv.lock"


@cache
def needs_of(image: str) -> Needs:
    """By the shell of the Containerfile, with `echo` for uv."""
    uv = read(file_of(image)).stage("uv")
    runs = [run.text for run in uv.all("RUN") if "/lock/" in run.text]
    lists = [run_shell(text, STEP=image) for text in runs]
    exported = "".join(text for text in lists if "--only-group" in text)
    return Needs(
        tuple(re.findall(r"--only-group image-(\S+)", exported)),
        frozenset(re.findall(r"--prune (\S+)", exported)),
        "".join(text for text in lists if "--only-group" not in text).strip(),
    )


def run_shell(text: str, **env: str) -> str:
    """What a RUN prints, with `echo` for uv, and with the list of Debian in no file."""
    text = text.replace("/uv/bin/uv", "echo").replace("/lock/pyproject.toml", "pyproject.toml")
    return subprocess.run(
        ["sh", "-c", text.replace("> /lock/debian.txt", "")],
        cwd=ROOT,
        env={"PATH": "/usr/bin:/bin", **env},
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
    ).stdout


def text_of(file: str) -> str:
    return (ROOT / "images" / f"{file}.Containerfile").read_text()


def read(file: str) -> Containerfile:
    """That Containerfile without its comments."""
    lines = [line for line in text_of(file).splitlines() if not line.lstrip().startswith("#")]
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
