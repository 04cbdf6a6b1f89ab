"""Say what is wrong with a grammar, in a process of its own.

    python -m argotune.steps.serve.check_grammar CPU_SECONDS < GRAMMAR

Some schemas of a few lines, such as thirty patterns in one `allOf`, take llguidance hours, and a
thread cannot be interrupted. The process ends by itself when it has used too much.
"""

from __future__ import annotations

import resource
import sys

from llguidance import LLMatcher

from argotune.steps.serve.grammar_limits import LIMITS

_MEMORY_BYTES = 1 << 30


def main() -> None:
    """Print the problem, or nothing."""
    cpu_seconds = int(sys.argv[1])
    resource.setrlimit(resource.RLIMIT_CPU, (cpu_seconds, cpu_seconds))
    resource.setrlimit(resource.RLIMIT_AS, (_MEMORY_BYTES, _MEMORY_BYTES))
    is_wrong, messages = LLMatcher.validate_grammar_with_warnings(
        sys.stdin.read(), None, limits=LIMITS
    )
    print("\n".join(messages) if is_wrong else "", end="")


main()
