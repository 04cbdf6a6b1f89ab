"""The expression language of ``{{=...}}``, ``depends`` and retry expressions (expr-lang)."""

from workflows.engine.expr.evaluate import evaluate, evaluate_bool
from workflows.engine.expr.parser import parse

__all__ = ["evaluate", "evaluate_bool", "parse"]
