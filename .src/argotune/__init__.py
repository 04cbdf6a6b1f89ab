"""Fine-tuning of open language models on your own Kubernetes.

This folder holds the import name: argotune.steps, argotune.workflows and argotune.presets are the
repository's folders of these names, by links that Python, type checkers, the wheel and an editable
install all follow.
"""
