"""The Argo templates, one file each with one public `build()`. Only here is hera imported.

`python -m argotune.workflows.templates` writes them as YAML to workflows/rendered.
"""
