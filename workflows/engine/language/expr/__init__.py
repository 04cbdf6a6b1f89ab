"""The expression language of `{{=...}}`, `depends` and retry expressions (expr-lang)."""

from argotune.workflows.engine.language.expr.evaluate import evaluate, evaluate_bool
from argotune.workflows.engine.language.expr.parser import parse

__all__ = ["evaluate", "evaluate_bool", "parse"]
