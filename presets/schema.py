"""Schema of the files in presets/models, presets/skus and presets/anchors.yaml.

Architecture keys have the names of transformers. Unknown keys are refused, so that a typo is an
error and not a silently missing number.
"""

from __future__ import annotations

import datetime
from typing import Literal

import msgspec

from argotune.presets.families import layout_of

Family = str
"""transformers' model_type, one of presets/families.py."""
Method = Literal["lora", "qlora"]


class Architecture(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Values of a model's config.json from which sizes, memory and rope are computed."""

    num_hidden_layers: int
    hidden_size: int
    intermediate_size: int
    """Inner size of the MLP; with experts that of blocks without, of which none is supported."""
    num_attention_heads: int
    num_key_value_heads: int
    head_dim: int
    vocab_size: int
    """Rows of the embedding, padding rows included."""
    tie_word_embeddings: bool
    """Whether lm_head is the embedding itself."""
    attention_bias: bool
    """Whether the attention's layers have a bias: those that the family's layout names."""
    mlp_bias: bool = False
    """Whether the layers of the MLP have one."""
    num_experts: int | None = None
    """Experts of each block; None: an MLP without."""
    num_experts_per_tok: int | None = None
    """Experts that compute each token."""
    moe_intermediate_size: int | None = None
    """Inner size of an expert."""
    shared_expert_intermediate_size: int | None = None
    """Inner size of the expert that computes all tokens (Qwen2-MoE); None: there is none."""
    max_position_embeddings: int
    """Longest sequence that the model supports, tokens."""
    original_max_position_embeddings: int | None = None
    """LongRoPE uses its long factors above this many tokens; None without LongRoPE."""
    sliding_window: int | None = None
    """Attention window in tokens, of all blocks or of some; None for full attention."""
    attn_logit_softcapping: float | None = None
    """Bound of the attention's logits, cap * tanh(logits / cap) (Gemma 2); None: there is none."""
    final_logit_softcapping: float | None = None
    """The same of lm_head's logits."""
    partial_rotary_factor: float = 1.0
    """Share of each head that rotary embedding rotates."""
    rope_theta: float
    rms_norm_eps: float

    def __post_init__(self) -> None:
        experts = (self.num_experts, self.num_experts_per_tok, self.moe_intermediate_size)
        if any(experts) and not all(experts):
            raise ValueError(
                "num_experts, num_experts_per_tok and moe_intermediate_size go together"
            )


SHAPE = (
    "num_hidden_layers",
    "hidden_size",
    "intermediate_size",
    "num_attention_heads",
    "num_key_value_heads",
    "vocab_size",
    "max_position_embeddings",
    "num_experts",
    "moe_intermediate_size",
)
"""Keys of config.json from which a plan counts memory, and what its weights must have."""


class Chat(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How conversations are rendered as text, and which token ends the model's turn."""

    template: str | None = None
    """Jinja template for a tokenizer that has none of its own; None: it has one."""
    end_of_turn: str
    """Token that ends the assistant's turn; it must be trained."""
    eos_token: str
    pad_token: str | None
    """None: the tokenizer has none. Where it equals eos_token, masks go by position."""
    notes: str


class Defaults(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Hyperparameters for keys that the training config does not set."""

    r: int
    lora_alpha: int
    lora_dropout: float
    learning_rate: float
    lr_scheduler_type: Literal["cosine", "linear", "constant_with_warmup"]
    warmup_ratio: float
    weight_decay: float
    max_grad_norm: float
    num_train_epochs: float
    max_length: int
    """Longest row in tokens."""
    tokens_per_step: int
    """Most tokens per optimizer step."""
    min_steps: int
    """Optimizer steps that the epochs take at least: the step shrinks for little data."""
    early_stopping_patience: int | None
    """Evaluations without a better held-out loss before the run ends; None: never."""
    source: str
    """Where these values come from."""


class ModelPreset(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One base model that can be tuned."""

    name: str
    """Also the name of its file; OWNER/NAME, dir:DIRECTORY or oci:DIRECTORY of one without."""
    aliases: list[str] = []
    """Other names that users write, such as Kaito's."""
    title: str
    """One line for the table of presets."""
    family: Family
    repository: str
    """Hub repository, OWNER/NAME; local/NAME of a directory or an image."""
    revision: str
    """Pinned commit, 40 hex digits."""
    license: str
    """SPDX identifier where there is one, else as the Hub has it; `unknown`: it says none."""
    gated: bool = False
    """Whether the Hub gives its files only to accounts that accepted its license."""
    source: str
    """hub: downloaded from the Hugging Face Hub; cache: must already be in the model cache;
    dir:DIRECTORY or oci:IMAGE: taken from there."""
    parameters: int
    """Number of weights and biases of the whole model; a test computes it from the architecture."""
    architecture: Architecture
    lora_target_modules: list[str]
    """Every linear layer of a block by its module name; fused layers on Phi."""
    chat: Chat
    defaults: Defaults

    def __post_init__(self) -> None:
        if layout_of(self.family).experts != (self.architecture.num_experts is not None):
            raise ValueError(f"num_experts does not go with family {self.family}")


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
    quota: str
    """Name of the cloud's quota that the size counts against."""
    newest_driver: str | None = None
    """Newest NVIDIA driver that the cloud has for the size, where others have newer ones."""
    confidential: bool = False
    """Whether this is a confidential VM. These need their own node pools and drivers, so they are
    never proposed as an alternative."""
    retired: datetime.date | None = None
    """Day on which the cloud retired the size; None: available."""
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
    node_classes: list[str]
    """Kinds of Karpenter's node classes that make nodes of these sizes."""
    provider_id: str
    """Scheme of a node's `spec.providerID` in this cloud."""
    price_region: str
    price_source: str
    skus: list[Sku]


class Anchor(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One published measurement of tuning speed on one GPU: an order of magnitude only."""

    gpu_model: str
    model: str
    parameters: float
    method: Method
    tokens_per_second: float
    source: str


class AnchorFile(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The file presets/anchors.yaml."""

    bfloat16_tflops: dict[str, float]
    """Dense bfloat16 rate of each GPU model, 10^12 operations per second; speeds are scaled by it
    from one GPU model to another."""
    memory_gb_per_second: dict[str, float]
    """Rate of the same GPUs' memory, 10^9 bytes per second."""
    anchors: list[Anchor]
