"""The parameters of the templates as a person fills them in Argo's form."""

from __future__ import annotations

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
