"""Sections that more than one study uses: the toy transformer and its training."""

from typing import Annotated, Literal

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from mechflow.config.base import Section

PositiveInt = Annotated[int, Field(ge=1, strict=True)]
NonNegativeInt = Annotated[int, Field(ge=0, strict=True)]
PositiveFloat = Annotated[float, Field(gt=0.0, strict=True)]
NonNegativeFloat = Annotated[float, Field(ge=0.0, strict=True)]
Fraction = Annotated[float, Field(gt=0.0, lt=1.0, strict=True)]
Beta = Annotated[float, Field(ge=0.0, lt=1.0, strict=True)]
Switch = Annotated[bool, Field(strict=True)]
Penalties = Annotated[tuple[PositiveFloat, ...], Field(min_length=1)]

RIDGE_PENALTIES = (1e-4, 1e-3, 1e-2, 1e-1, 1.0)
"""Default grid of relative ridge penalties."""


class Transformer(Section):
    """Architecture of a hooked toy transformer."""

    n_layers: PositiveInt = 1
    """Number of transformer blocks."""
    n_heads: PositiveInt = 4
    """Attention heads in each block; must divide d_model unless d_head is set."""
    d_head: PositiveInt | None = None
    """Width of each head's queries, keys and values; null for d_model / n_heads."""
    d_model: PositiveInt = 128
    """Width of the residual stream."""
    d_mlp: NonNegativeInt = 512
    """Neurons in each MLP; 0 makes the model attention-only."""
    activation: Literal["relu", "gelu", "silu"] = "relu"
    """Nonlinearity of the MLP."""
    normalization: Literal["none", "LN", "RMS"] = "none"
    """Kind of normalisation: none, LayerNorm or RMSNorm."""
    normalization_sites: tuple[Literal["attn", "mlp", "final"], ...] = ("attn", "mlp", "final")
    """Where it acts: before attention, before the MLP, before the unembedding."""
    biases: tuple[Literal["attn", "mlp", "unembed"], ...] = ()
    """Which linear maps have a bias."""
    positions: Literal["none", "learned", "sinusoidal"] = "learned"
    """Positional embedding that is added to the token embedding."""
    residual_gain: PositiveFloat = 1.0
    """Factor on the residual stream that enters a block, before the block's outputs are added.
    2 counts the stream twice, as a block with its own skip connection inside another does."""
    causal: Switch = True
    """Whether attention is masked to earlier positions."""
    attention_scale: Literal["sqrt_d_head", "sqrt_d_model"] = "sqrt_d_head"
    """Divisor of the attention scores."""
    precision: Literal["full", "binary", "ternary"] = "full"
    """Weights of the linear maps inside the blocks: full precision, sign, or {-1, 0, 1}."""
    weight_scale: Switch = False
    """Multiply quantised weights by their mean absolute latent value (the beta of BitNet)."""
    initialization: Literal["transformer_lens", "variance_scaled", "head_scaled", "torch"] = (
        "variance_scaled"
    )
    """transformer_lens: N(0, 0.64/d_model) everywhere. variance_scaled: N(0, 1/d_model), W_U
    N(0, 1/d_vocab). head_scaled: the same, but W_Q, W_K and W_V N(0, 1/d_head).
    torch: embeddings N(0, 1), linear maps U(-1/sqrt(fan_in), 1/sqrt(fan_in))."""

    @model_validator(mode="after")
    def _heads_divide_width(self) -> "Transformer":
        if self.d_head is None and self.d_model % self.n_heads:
            raise PydanticCustomError(
                "conflict",
                "d_model ({value}) must be divisible by n_heads ({n_heads})",
                {"key": "d_model", "value": self.d_model, "n_heads": self.n_heads},
            )
        return self

    @model_validator(mode="after")
    def _scale_needs_quantised_weights(self) -> "Transformer":
        if self.weight_scale and self.precision == "full":
            raise PydanticCustomError(
                "conflict",
                "weight_scale applies to precision binary or ternary, not full",
                {"key": "weight_scale", "value": True},
            )
        return self

    @model_validator(mode="after")
    def _normalization_acts_somewhere(self) -> "Transformer":
        if self.normalization != "none" and not self.normalization_sites:
            raise PydanticCustomError(
                "conflict",
                "normalization {kind} acts nowhere; name a site or set normalization: none",
                {"key": "normalization_sites", "value": [], "kind": self.normalization},
            )
        return self

    @model_validator(mode="after")
    def _mlp_biases_need_an_mlp(self) -> "Transformer":
        if self.d_mlp == 0 and "mlp" in self.biases:
            raise PydanticCustomError(
                "conflict",
                "an attention-only model (d_mlp 0) has no mlp biases",
                {"key": "biases", "value": list(self.biases)},
            )
        return self


class EarlyStop(Section):
    """When to stop before the last step: every replicate has generalised for a while."""

    test_accuracy: Annotated[float, Field(gt=0.0, le=1.0, strict=True)] = 0.99
    """Test accuracy that every replicate must reach."""
    sustained: PositiveInt = 5
    """Number of consecutive evaluations that must reach it."""
    extra_steps: NonNegativeInt = 1000
    """Steps trained after that, in which the weights are cleaned up."""


class Training(Section):
    """AdamW training of a block of stacked replicates."""

    steps: PositiveInt = 10_000
    """Optimiser updates; with full batches a step is an epoch."""
    lr: PositiveFloat = 1e-3
    """Learning rate after warm-up."""
    weight_decay: NonNegativeFloat = 1.0
    """Decoupled weight decay (AdamW)."""
    betas: tuple[Beta, Beta] = (0.9, 0.98)
    """Decay rates of Adam's moment estimates."""
    warmup_steps: NonNegativeInt = 10
    """Steps over which the learning rate rises linearly; 0 for none."""
    loss_dtype: Literal["float32", "float64"] = "float64"
    """Precision of the log-softmax; float32 is known to cause loss spikes when grokking."""
    eval_every: PositiveInt = 50
    """Steps between measurements of loss and accuracy on both splits."""
    checkpoints: Annotated[int, Field(ge=2, strict=True)] = 32
    """Number of weights kept through training, first and last step included."""
    checkpoint_spacing: Literal["log", "linear"] = "log"
    """How the kept weights are spread over the steps."""
    resume_every: PositiveInt = 500
    """Steps between saved states from which an interrupted job continues."""
    stop: EarlyStop | None = None
    """Optional early stop; null trains for all steps."""

    @model_validator(mode="after")
    def _schedules_fit_into_steps(self) -> "Training":
        for key, limit in (
            ("warmup_steps", self.steps),
            ("eval_every", self.steps),
            ("checkpoints", self.steps + 1),
        ):
            value = getattr(self, key)
            if value > limit:
                raise PydanticCustomError(
                    "conflict",
                    "at most {limit} with steps {steps}",
                    {"key": key, "value": value, "limit": limit, "steps": self.steps},
                )
        return self
