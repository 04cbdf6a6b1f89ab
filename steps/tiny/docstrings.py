"""The docstrings of Python's standard library, a text that every machine with Python has.

The demo's base model is pretrained on them, and the demo's questions are generated from them.
"""

from __future__ import annotations

import ast
import importlib
import inspect
import re
import sysconfig
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

MODULES = (
    "builtins",
    "bisect",
    "calendar",
    "collections",
    "copy",
    "csv",
    "datetime",
    "difflib",
    "fnmatch",
    "functools",
    "glob",
    "gzip",
    "hashlib",
    "heapq",
    "html",
    "inspect",
    "itertools",
    "json",
    "math",
    "operator",
    "os",
    "os.path",
    "pathlib",
    "pprint",
    "random",
    "re",
    "shlex",
    "shutil",
    "statistics",
    "string",
    "struct",
    "tempfile",
    "textwrap",
    "time",
    "tokenize",
    "urllib.parse",
    "zlib",
)
"""Well-known modules that can be imported without side effects."""

# fmt: off
FAMILIAR = (
    "abs", "all", "any", "bin", "callable", "hash", "input", "iter", "len", "max", "min",
    "next", "open", "ord", "print", "reversed", "round", "set", "sorted", "calendar.isleap",
    "collections.Counter", "copy.copy", "copy.deepcopy", "datetime.timedelta", "glob.glob",
    "heapq.heappop", "heapq.merge", "html.escape", "json.dumps", "math.exp", "math.floor",
    "math.gcd", "math.sqrt", "os.chdir", "os.chmod", "os.getcwd", "os.getpid", "os.kill",
    "os.listdir", "os.mkdir", "os.path.exists", "os.path.join", "os.remove", "os.rename",
    "random.choice", "random.randint", "random.shuffle", "re.compile", "shutil.copytree",
    "shutil.rmtree", "statistics.median", "textwrap.dedent", "time.sleep", "zlib.compress",
)
# fmt: on
"""Functions that most Python programmers know, so that they can judge an answer."""

PHRASINGS = (
    "What does {} do?",
    "What is {} for?",
    "Explain {}.",
    "Describe {} in one sentence.",
    "How would you describe {}?",
    "Tell me about {}.",
)
"""Phrasings of one question. Most held-out rows are another phrasing of a trained question."""

_SENTENCE = re.compile(r".+?[.!](?=\s|$)")
_SIGNATURE = re.compile(r"^[\w.]+\(.*?\)\s*(-+>?\s*[\w\[\], ]*)?$")


class Docstring(NamedTuple):
    """One public function or class and the summary of its docstring."""

    name: str
    """Qualified name, e.g. json.dumps; without a module for builtins."""
    summary: str
    """First sentence of its docstring."""


def collect_docstrings(modules: Sequence[str] = MODULES) -> list[Docstring]:
    """The functions and classes with docstrings of some modules, sorted by name.

    Of several with the same summary one is kept, so that every answer has one question.
    """
    found: dict[str, Docstring] = {}
    for module in modules:
        for documented in _docstrings_of(module):
            found.setdefault(documented.summary, documented)
    return sorted(found.values())


def conversations() -> list[list[dict[str, str]]]:
    """The demo's dataset: about 300 conversations, a question about a function and its summary."""
    known = set(FAMILIAR)
    return [
        [
            {"role": "user", "content": phrasing.format(documented.name)},
            {"role": "assistant", "content": documented.summary},
        ]
        for documented in collect_docstrings()
        if documented.name in known
        for phrasing in PHRASINGS
    ]


def library_texts() -> Iterator[str]:
    """Yield the docstrings of the standard library's single-file modules, about 900 kB.

    The source is parsed without an import, in the order of the file names.
    """
    for path in sorted(Path(sysconfig.get_paths()["stdlib"]).glob("*.py")):
        yield from _texts(path)


def first_sentence(text: str) -> str:
    """The first sentence of a docstring on one line; empty if it has none."""
    paragraphs = [" ".join(part.split()) for part in re.split(r"\n\s*\n", inspect.cleandoc(text))]
    prose = [part for part in paragraphs if part and not _SIGNATURE.match(part)]
    if not prose:
        return ""
    match = _SENTENCE.match(prose[0].replace("`", ""))
    if match is None or match.group().count("(") != match.group().count(")"):
        return ""  # cut at an abbreviation inside of parentheses
    return match.group()


def _docstrings_of(module_name: str) -> Iterator[Docstring]:
    module = importlib.import_module(module_name)
    prefix = "" if module_name == "builtins" else f"{module_name}."
    for name in sorted(getattr(module, "__all__", dir(module))):
        thing = getattr(module, name)
        if name.startswith("_") or not (inspect.isroutine(thing) or inspect.isclass(thing)):
            continue
        if inspect.isclass(thing) and issubclass(thing, BaseException):
            continue
        summary = first_sentence(thing.__doc__ or "")
        if 3 <= len(summary.split()) <= 14 and summary.isascii():
            yield Docstring(prefix + name, summary)


def _texts(path: Path) -> Iterator[str]:
    try:
        tree = ast.parse(path.read_bytes())
    except (SyntaxError, ValueError):
        return
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            text = ast.get_docstring(node)
            if text and text.isascii():
                yield text
