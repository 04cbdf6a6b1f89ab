"""The shape of the files in presets/models, presets/skus and presets/anchors.yaml.

Architecture names are transformers' own. Unknown keys are refused: a typo is an error here, not
a silently missing number.
"""

from __future__ import annotations

import datetime
from typing import Literal

import msgspec

Family = Literal["phi3", "mistral", "qwen2"]
Method = Literal["lora", "qlora"]


class Architecture(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The numbers of a model's config.json that sizes, memory and rope follow from."""

    num_hidden_layers: int
    hidden_size: int
    intermediate_size: int
    num_attention_heads: int
    num_key_value_heads: int
    head_dim: int
    vocab_size: int
    """Rows of the embedding, padding rows included."""
    tie_word_embeddings: bool
    """Whether lm_head is the embedding itself."""
    attention_bias: bool
    """Whether q, k and v have a bias (Qwen2)."""
    max_position_embeddings: int
    """Longest sequence that the model knows, tokens."""
    original_max_position_embeddings: int | None = None
    """LongRoPE uses its long factors above this many tokens; None without LongRoPE."""
    sliding_window: int | None = None
    """Attention window in tokens; None for full attention."""
    partial_rotary_factor: float = 1.0
    """Share of each head that is rotated."""
    rope_theta: float
    rms_norm_eps: float


class Chat(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How conversations become text, and how the model says that its turn is over."""

    template: str | None = None
    """Jinja text for a tokenizer that has no template of its own; None: it has one."""
    end_of_turn: str
    """Token that ends the assistant's turn; it must be trained."""
    eos_token: str
    pad_token: str | None
    """None: the tokenizer has none. Where it equals eos_token, masks go by position."""
    notes: str


class Defaults(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Hyperparameters used where the training config says nothing."""

    r: int
    lora_alpha: int
    lora_dropout: float
    learning_rate: float
    lr_scheduler_type: Literal["cosine", "linear", "constant"]
    warmup_ratio: float
    weight_decay: float
    max_grad_norm: float
    num_train_epochs: float
    max_length: int
    """Longest row in tokens."""
    tokens_per_step: int
    """Tokens that one optimizer step should see."""
    early_stopping_patience: int | None
    """Evaluations without a better held-out loss before the run ends; None: never."""
    source: str
    """Where these values come from."""


class ModelPreset(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One base model that can be tuned."""

    name: str
    """Also the name of the file."""
    aliases: list[str] = []
    """Other names that users write, such as Kaito's."""
    title: str
    """One line for the table of presets."""
    family: Family
    """transformers' model_type."""
    repository: str
    """Hub repository, OWNER/NAME."""
    revision: str
    """Pinned commit, 40 hex digits."""
    license: str
    """SPDX identifier."""
    source: Literal["hub", "cache"]
    """hub: fetched from the Hugging Face Hub; cache: must be in the model cache already."""
    parameters: int
    """Weights and biases of the whole model; follows from the architecture."""
    architecture: Architecture
    lora_target_modules: list[str]
    """Every linear layer of a block by its real name; fused on Phi."""
    chat: Chat
    defaults: Defaults


class Sku(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One virtual machine size with GPUs."""

    name: str
    aliases: list[str] = []
    """Other spellings that users write, such as Kaito's."""
    vendor: Literal["nvidia", "amd"]
    gpu_model: str
    gpus: int
    gpu_memory_gib: float
    """Memory of one GPU as sold, GiB."""
    bfloat16: bool
    """Whether the GPU computes in bfloat16 (NVIDIA: compute capability 8.0 or more)."""
    vcpus: int
    memory_gib: float
    """Memory of the machine, GiB."""
    quota_family: str
    """Name of the vCPU quota that it counts against."""
    confidential: bool = False
    """Whether it is a confidential machine, which is never proposed unasked: it wants node pools
    and drivers of its own."""
    retired: datetime.date | None = None
    """Day on which the cloud retired it; None: on offer."""
    price_usd_per_hour: float | None = None
    """Price in price_region; None: not known."""
    cloud: str = ""
    """Cloud of its catalog; the loader fills it in."""
    price_region: str = ""
    """Region of the price; empty in a file: the catalog's, which the loader fills in."""


class SkuCatalog(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """All sizes of one cloud."""

    cloud: str
    """Name of the cloud; also of the file."""
    providers: list[str]
    """Providers of steps/nodes that make nodes of these sizes."""
    price_region: str
    price_source: str
    skus: list[Sku]


class Anchor(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One published measurement of tuning speed on one GPU: a class to expect, no promise."""

    gpu_model: str
    model: str
    parameters: float
    method: Method
    tokens_per_second: float
    source: str


class AnchorFile(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    bfloat16_tflops: dict[str, float]
    """Dense bfloat16 rate of each card, 10^12 operations per second, to carry a speed over to
    another card."""
    anchors: list[Anchor]
