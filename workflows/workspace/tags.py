"""Tags of Argo: of a parameter in a container's flags, and values that would be one.

Kubernetes replaces `$$` by `$` in a container's command and args, and `$(NAME)` where the container
has that variable. So Argo doubles every `$` of a value before the pod is created, whichever client
submitted the run.
"""

from __future__ import annotations

import re
import unicodedata

_NAME = r"(?P<scope>inputs|workflow)\.parameters"
_PLAIN = re.compile(rf"\{{\{{{_NAME}\.(?P<name>[\w-]+)\}}\}}")

# Characters that Argo's substitution of parameters turns into invalid JSON.
_NOT_JSON = "\U000e0001"
_WORKFLOWS = re.compile(
    r"\{\{workflow\.parameters\.(?P<name>[\w-]+)\}\}"
    r"|\{\{=workflow\.parameters\['(?P<first>[\w-]+)'\] .*\}\}"
)


def parameter_of(text: str) -> str | None:
    """Return the Workflow's parameter whose value the text is, if the template permits it.

    Returns None where the text is not the tag of one.
    """
    match = _WORKFLOWS.fullmatch(text)
    return match and (match["name"] or match["first"])


def literal(text: str) -> str:
    """Replace each parameter's tag in `text` by one whose value Kubernetes passes on unchanged."""
    return _PLAIN.sub(r"{{=replace(\g<scope>.parameters['\g<name>'], '$', '$$')}}", text)


def unsafe(text: str, *, lines: bool = False) -> str | None:
    """Say why a text cannot be a parameter of a workflow; None when it can."""
    if "{{" in text:
        return "accepted is a text without '{{', which Argo would expand"
    permitted = "\n\t" if lines else ""
    for character in text:
        control = unicodedata.category(character) == "Cc" and character not in permitted
        if control or character in _NOT_JSON:
            return f"accepted is a text without control characters, here U+{ord(character):04X}"
    return None
