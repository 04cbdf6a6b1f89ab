"""serve's tests of OpenAI's responses, before a real vLLM; which are left out: test_http.py."""

from __future__ import annotations

import pytest

from tests.steps.serve.test_responses import (
    test_an_answer_of_a_schema,
    test_an_answer_that_is_cut_says_so,
    test_state_that_is_not_asked_for_is_accepted,
    test_the_events_of_a_stream_come_in_openais_order,
    test_what_is_not_done_here_is_refused_by_name,
)

__all__ = [
    "test_an_answer_of_a_schema",
    "test_an_answer_that_is_cut_says_so",
    "test_state_that_is_not_asked_for_is_accepted",
    "test_the_events_of_a_stream_come_in_openais_order",
    "test_what_is_not_done_here_is_refused_by_name",
]

# A server starts in one to four minutes.
pytestmark = [pytest.mark.vllm, pytest.mark.timeout(1200)]
