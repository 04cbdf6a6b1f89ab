"""The parameters of the templates as a person fills them in Argo's form."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from hera.workflows import Parameter

from argotune.steps.common.setting import Setting


def form_field(row: Setting) -> Parameter:
    """Build the parameter of a setting."""
    notes = [row.description]
    if row.value.in_form:
        notes.append(row.value.in_form)
    if not row.default and row.default_meaning:
        notes.append(f"empty: {row.default_meaning}")
    choices = row.cluster_choices()
    field = Parameter(
        name=row.name,
        # Argo's form cannot return to an empty value that is not among the choices.
        enum=list(choices) if row.default in choices else None,
        description="; ".join(notes),
    )
    if not row.is_required:
        # Hera makes a given None into the text null.
        field.value = row.default
    return field


def form_fields(rows: Iterable[Setting], name: str, words: Mapping[str, str]) -> list[Parameter]:
    """Build the parameters of a template beside `finetune`.

    `name` is the default of the setting of that name, and `words` are the descriptions of settings
    that mean something else there.
    """
    fields = []
    for row in rows:
        field = form_field(row)
        field.description = words.get(row.name, field.description)
        if row.name == "name":
            field.value = name
        fields.append(field)
    return fields
