"""The Argo templates, one file each with one public `build()`. Only this package imports hera.

`python -m argotune.workflows.templates` writes them as YAML to workflows/rendered.
"""
