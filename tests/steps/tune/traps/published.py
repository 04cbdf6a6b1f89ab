"""The presets' chat templates as their repositories have them, without tools, and tokenizers with
the special tokens that they name."""

from __future__ import annotations

from dataclasses import dataclass

from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast


@dataclass(frozen=True, kw_only=True)
class Published:
    """How one repository writes conversations."""

    template: str
    end_of_turn: str
    eos: str
    pad: str | None
    bos: str | None = None
    others: tuple[str, ...] = ()


_PHI_3_TOKENS = ("<|system|>", "<|user|>", "<|assistant|>", "<|end|>")
_IM_TOKENS = ("<|im_start|>", "<|im_sep|>", "<|im_end|>")

_PHI_3_TURNS = (
    "{% for message in messages %}"
    "{% if message['role'] == 'system' CONDITION %}"
    "{{ '<|system|>\\n' + message['content'] + '<|end|>\\n' }}"
    "{% elif message['role'] == 'user' %}"
    "{{ '<|user|>\\n' + message['content'] + '<|end|>\\n' }}"
    "{% elif message['role'] == 'assistant' %}"
    "{{ '<|assistant|>\\n' + message['content'] + '<|end|>\\n' }}"
    "{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>\\n' }}{% else %}{{ eos_token }}{% endif %}"
)
_PHI_3 = Published(
    template=_PHI_3_TURNS.replace(" CONDITION", ""),
    end_of_turn="<|end|>",
    eos="<|endoftext|>",
    pad="<|endoftext|>",
    bos="<s>",
    others=_PHI_3_TOKENS,
)
_PHI_4 = Published(
    template=(
        "{% for message in messages %}"
        "{{ '<|im_start|>' + message['role'] + '<|im_sep|>' + message['content'] + '<|im_end|>' }}"
        "{% endfor %}"
        "{% if add_generation_prompt %}{{ '<|im_start|>assistant<|im_sep|>' }}{% endif %}"
    ),
    end_of_turn="<|im_end|>",
    eos="<|im_end|>",
    pad="<|dummy_85|>",
    bos="<|endoftext|>",
    others=_IM_TOKENS,
)
_QWEN_SYSTEM = "You are Qwen, created by Alibaba Cloud. You are a helpful assistant."

PUBLISHED: dict[str, Published] = {
    "phi-3-mini-4k-instruct": _PHI_3,
    # Its user turns end with the assistant's header, and system turns vanish.
    "phi-3-medium-4k-instruct": Published(
        template=(
            "{% for message in messages %}{% if (message['role'] == 'user') %}"
            "{{ '<|user|>' + '\\n' + message['content'] + '<|end|>' + '\\n<|assistant|>\\n' }}"
            "{% elif (message['role'] == 'assistant') %}"
            "{{ message['content'] + '<|end|>' + '\\n' }}{% endif %}{% endfor %}"
        ),
        end_of_turn="<|end|>",
        eos="<|endoftext|>",
        pad="<|endoftext|>",
        bos="<s>",
        others=_PHI_3_TOKENS,
    ),
    "phi-3.5-mini-instruct": Published(
        template=_PHI_3_TURNS.replace("CONDITION", "and message['content']"),
        end_of_turn="<|end|>",
        eos="<|endoftext|>",
        pad="<|endoftext|>",
        bos="<s>",
        others=_PHI_3_TOKENS,
    ),
    "phi-4": _PHI_4,
    # As it was before its tokens were set apart: unsloth.ai/blog/phi4.
    "phi-4, first published": Published(
        template=(
            "{% for message in messages %}{% if (message['role'] == 'system') %}"
            "{{ '<|im_start|>system<|im_sep|>' + message['content'] + '<|im_end|>' }}"
            "{% elif (message['role'] == 'user') %}"
            "{{ '<|im_start|>user<|im_sep|>' + message['content'] + "
            "'<|im_end|><|im_start|>assistant<|im_sep|>' }}"
            "{% elif (message['role'] == 'assistant') %}{{ message['content'] + '<|im_end|>' }}"
            "{% endif %}{% endfor %}"
        ),
        end_of_turn="<|im_end|>",
        eos="<|endoftext|>",
        pad="<|endoftext|>",
        bos="<|endoftext|>",
        others=_IM_TOKENS,
    ),
    "phi-4-mini-instruct": Published(
        template=(
            "{% for message in messages %}"
            "{{ '<|' + message['role'] + '|>' + message['content'] + '<|end|>' }}{% endfor %}"
            "{% if add_generation_prompt %}{{ '<|assistant|>' }}{% else %}{{ eos_token }}"
            "{% endif %}"
        ),
        end_of_turn="<|end|>",
        eos="<|endoftext|>",
        pad="<|endoftext|>",
        bos="<|endoftext|>",
        others=_PHI_3_TOKENS,
    ),
    # A system turn is written only where a question is the last turn: never in training.
    "mistral-7b-instruct": Published(
        template=(
            "{%- if messages[0]['role'] == 'system' %}{%- set system = messages[0]['content'] %}"
            "{%- set turns = messages[1:] %}{%- else %}{%- set turns = messages %}{%- endif %}"
            "{{- bos_token }}{%- for message in turns %}"
            "{%- if message['role'] == 'user' %}{%- if loop.last and system is defined %}"
            "{{- '[INST] ' + system + '\\n\\n' + message['content'] + '[/INST]' }}"
            "{%- else %}{{- '[INST] ' + message['content'] + '[/INST]' }}{%- endif %}"
            "{%- else %}{{- ' ' + message['content'] | trim + eos_token }}{%- endif %}"
            "{%- endfor %}"
        ),
        end_of_turn="</s>",
        eos="</s>",
        pad=None,
        bos="<s>",
        others=("[INST]", "[/INST]"),
    ),
    "qwen2.5-coder-7b-instruct": Published(
        template=(
            "{%- if messages[0]['role'] == 'system' %}"
            "{{- '<|im_start|>system\\n' + messages[0]['content'] + '<|im_end|>\\n' }}"
            "{%- else %}{{- '<|im_start|>system\\n" + _QWEN_SYSTEM + "<|im_end|>\\n' }}"
            "{%- endif %}{%- for message in messages %}"
            "{%- if message.role != 'system' or not loop.first %}"
            "{{- '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>\\n' }}"
            "{%- endif %}{%- endfor %}"
            "{%- if add_generation_prompt %}{{- '<|im_start|>assistant\\n' }}{%- endif %}"
        ),
        end_of_turn="<|im_end|>",
        eos="<|im_end|>",
        pad="<|endoftext|>",
        others=_IM_TOKENS,
    ),
}


def tokenizer_of(published: Published) -> PreTrainedTokenizerFast:
    """Bytes and the special tokens."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {letter: number for number, letter in enumerate(alphabet)}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    named = {
        "bos_token": published.bos,
        "eos_token": published.eos,
        "pad_token": published.pad,
    }
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        chat_template=published.template,
        additional_special_tokens=list(published.others),
        **{name: token for name, token in named.items() if token is not None},
    )
