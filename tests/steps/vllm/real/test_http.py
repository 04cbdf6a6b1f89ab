"""serve's tests of HTTP and of OpenAI's client, before a real vLLM and an adapter that was tuned.

Those are left out that look into the fake engine, need what it says, or count what one test did.
"""

from __future__ import annotations

import pytest

from tests.steps.serve.test_app import (
    test_a_large_body_is_refused_whether_or_not_it_says_its_size,
    test_a_stream_says_the_same_piece_by_piece,
    test_bad_chats_are_refused_in_words,
    test_bad_completions_are_refused_in_words,
    test_chat_answers_what_was_trained,
    test_completions_have_openais_form,
    test_content_may_come_in_parts,
    test_health_is_good_once_it_is_loaded,
    test_models_are_the_adapter_and_its_base,
    test_only_json_is_read,
    test_the_answer_ends_at_max_tokens,
    test_the_answer_ends_before_a_stop_text,
    test_the_base_model_answers_by_its_own_name,
)
from tests.steps.serve.test_openai import (
    test_a_completion,
    test_a_reply_names_the_adapter_that_answered,
    test_an_answer_of_a_schema,
    test_chat_takes_kaitos_older_forms,
    test_langchain_asks_and_reads_streams_and_structured_answers,
    test_log_probabilities_of_the_tokens,
    test_parameters_that_ask_for_nothing_are_accepted,
    test_plain_completions_of_several_prompts_and_streams,
    test_several_answers_have_seeds_that_follow_each_other,
    test_several_streams_come_mixed_and_are_told_apart,
    test_what_does_not_go_together_is_refused,
)

__all__ = [
    "test_a_completion",
    "test_a_large_body_is_refused_whether_or_not_it_says_its_size",
    "test_a_reply_names_the_adapter_that_answered",
    "test_a_stream_says_the_same_piece_by_piece",
    "test_an_answer_of_a_schema",
    "test_bad_chats_are_refused_in_words",
    "test_bad_completions_are_refused_in_words",
    "test_chat_answers_what_was_trained",
    "test_chat_takes_kaitos_older_forms",
    "test_completions_have_openais_form",
    "test_content_may_come_in_parts",
    "test_health_is_good_once_it_is_loaded",
    "test_langchain_asks_and_reads_streams_and_structured_answers",
    "test_log_probabilities_of_the_tokens",
    "test_models_are_the_adapter_and_its_base",
    "test_only_json_is_read",
    "test_parameters_that_ask_for_nothing_are_accepted",
    "test_plain_completions_of_several_prompts_and_streams",
    "test_several_answers_have_seeds_that_follow_each_other",
    "test_several_streams_come_mixed_and_are_told_apart",
    "test_the_answer_ends_at_max_tokens",
    "test_the_answer_ends_before_a_stop_text",
    "test_the_base_model_answers_by_its_own_name",
    "test_what_does_not_go_together_is_refused",
]

# A server starts in one to four minutes.
pytestmark = [pytest.mark.vllm, pytest.mark.timeout(1200)]
