"""The tag of a parameter in a container's flags: the templates write it, `step_params` reads it.

Kubernetes replaces `$$` by `$` in a container's command and args, and `$(NAME)` where the container
has that variable. So Argo doubles every `$` of a value before the pod is created, whichever client
submitted the run.
"""

from __future__ import annotations

import re

_NAME = r"(?P<scope>inputs|workflow)\.parameters"
_PLAIN = re.compile(rf"\{{\{{{_NAME}\.(?P<name>[\w-]+)\}}\}}")
_LITERAL = re.compile(
    rf"\{{\{{=replace\({_NAME}\['(?P<name>[\w-]+)'\], '\$', '\$\$'\)\}}\}}",
)


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


def plain(text: str) -> str:
    """Replace each tag of `literal` in `text` by the plain one."""
    return _LITERAL.sub(r"{{\g<scope>.parameters.\g<name>}}", text)
