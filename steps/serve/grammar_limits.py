"""What a grammar may cost: when it is compiled, and at each token of an answer."""

from __future__ import annotations

from llguidance import LLParserLimits

LIMITS = LLParserLimits(
    initial_lexer_fuel=500_000,  # about 10 ms
    step_lexer_fuel=200_000,  # about 15 ms
    max_lexer_states=20_000,  # 1 to 2 kB each
    max_grammar_size=100_000,
    precompute_large_lexemes=False,
    verbose_errors=False,
)
