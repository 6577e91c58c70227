"""A language model from a folder: its pretrained weights, or the same architecture at random.

Nothing here reaches for the network, reads a pickle, or runs code that lies beside a model.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import nn
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    PreTrainedTokenizerFast,
)

from mechflow.language_models.errors import ModelSourceError
from mechflow.language_models.folder import check_folder
from mechflow.language_models.quiet import quiet_transformers
from mechflow.language_models.weights import refuse_hidden_quantisation, refuse_unfit_weights

_PARTS = {"embed_tokens": nn.Module, "layers": nn.ModuleList, "norm": nn.Module}
"""What the backbone of a model of Llama's kind consists of, by attribute."""

_ATTENTION = {"full_attention", "sliding_attention", "chunked_attention"}
"""Kinds of layers whose only memory of earlier tokens is attention."""


@dataclass(frozen=True)
class LanguageModel:
    """A causal language model of Llama's kind with its tokenizer.

    That is a pre-norm or post-norm decoder whose backbone has `embed_tokens`, `layers` and `norm`,
    such as Llama, Mistral, Qwen, Gemma, OLMo 2, Phi 3 and SmolLM.

    Attributes:
        model: In evaluation mode, without gradients.
        tokenizer: A fast one, which knows the characters of each token.
    """

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase

    def __post_init__(self) -> None:
        """Refuses other architectures.

        Raises:
            ModelSourceError: the message names the architecture.
        """
        name = type(self.model).__name__
        missing = [
            attribute
            for attribute, kind in _PARTS.items()
            if not isinstance(getattr(self.backbone, attribute, None), kind)
        ]
        if missing:
            raise ModelSourceError(
                f"The architecture {name} is not supported: its backbone has no "
                f"{', '.join(missing)}, where models of Llama's kind have the parts of the "
                "residual stream."
            )
        kinds = set(getattr(self.model.config, "layer_types", None) or []) - _ATTENTION
        if kinds:
            raise ModelSourceError(
                f"The architecture {name} is not supported: it has layers of the kind "
                f"{', '.join(sorted(kinds))}, and prompts that share a prefix are told apart by "
                "the mask of attention alone."
            )

    @property
    def backbone(self) -> PreTrainedModel:
        """The model without its unembedding; gives the states after the final norm."""
        backbone = self.model.base_model
        assert isinstance(backbone, PreTrainedModel)
        return backbone

    @property
    def embed(self) -> nn.Module:
        """The table of token embeddings, [vocabulary, d_model].

        Its rows are not always the residual stream: Gemma scales them. What `hook_embed` names is
        the input of the first block, see `hook_point`.
        """
        return self._part("embed_tokens")

    @property
    def blocks(self) -> nn.ModuleList:
        """The decoder layers, in order."""
        blocks = self._part("layers")
        assert isinstance(blocks, nn.ModuleList)
        return blocks

    @property
    def final_norm(self) -> nn.Module:
        """The norm between the last block and the unembedding."""
        return self._part("norm")

    @property
    def n_layers(self) -> int:
        """Number of blocks."""
        return len(self.blocks)

    @property
    def d_model(self) -> int:
        """Width of the residual stream."""
        return int(self.model.config.hidden_size)

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.model.device

    @property
    def dtype(self) -> torch.dtype:
        """Type of the weights, and so of the states."""
        return self.model.dtype

    @property
    def sites(self) -> tuple[str, ...]:
        """Where the residual stream is read, as TransformerLens names it; the index is the layer.

        0 is what enters the first block, i + 1 what block i gives, the last but one therefore the
        stream before the final norm and the last the one after it.
        """
        outputs = [f"blocks.{block}.hook_resid_post" for block in range(self.n_layers)]
        return ("hook_embed", *outputs, "ln_final.hook_normalized")

    def hook_point(self, site: str) -> tuple[nn.Module, Literal["input", "output"]]:
        """The module at a site, and whether the site is its first input or its output.

        `hook_embed` is the input of the first block rather than the output of the embedding, since
        an architecture may scale the embedding in between, as Gemma does in some versions of
        transformers. It equals the first of transformers' `hidden_states`.

        Raises:
            ValueError: the model has no such site.
        """
        if site not in self.sites:
            raise ValueError(f"there is no site '{site}'; there are {', '.join(self.sites)}")
        layer = self.sites.index(site)
        if layer == 0:
            return self.blocks[0], "input"
        if layer > self.n_layers:
            return self.final_norm, "output"
        return self.blocks[layer - 1], "output"

    def _part(self, attribute: str) -> nn.Module:
        part: nn.Module = getattr(self.backbone, attribute)
        return part


def load_language_model(
    folder: Path,
    *,
    dtype: torch.dtype,
    weights: Literal["pretrained", "random"] = "pretrained",
    seed: int | None = None,
    device: str = "cpu",
) -> LanguageModel:
    """Loads a model from its folder alone.

    Args:
        folder: In the format of the hub: config, safetensors, fast tokenizer.
        dtype: Type of the weights.
        weights: `pretrained` as stored, or `random`: drawn by the architecture's own initialiser,
            on the CPU and in float32, so that they depend on the seed only. Stored weights are not
            read then and need not be there.
        seed: Of random weights.
        device: Where to put the model.

    Raises:
        ModelSourceError: the folder does not hold such a model, or the architecture is not
            supported.
        ValueError: random weights without a seed.
    """
    if weights == "random" and seed is None:
        raise ValueError("random weights need a seed")
    check_folder(folder, weights=weights == "pretrained")
    with quiet_transformers():
        try:
            # As the file describes it: AutoTokenizer would build the class that the configuration
            # names, whose rules of splitting may be others.
            tokenizer = PreTrainedTokenizerFast.from_pretrained(folder, **_OFFLINE)
            config = AutoConfig.from_pretrained(folder, **_OFFLINE)
            if weights == "random" and seed is not None:
                model = _random_model(config, dtype, seed)
            else:
                model = _pretrained_model(folder, config, dtype)
        except ModelSourceError:
            raise
        # The libraries beneath raise many kinds of errors, tokenizers even plain exceptions.
        except Exception as error:
            raise ModelSourceError(_explain(folder, error)) from error
    model.eval()
    model.requires_grad_(False)
    # Through nn.Module, whose annotations PreTrainedModel.to hides.
    nn.Module.to(model, device)
    return LanguageModel(model=model, tokenizer=tokenizer)


_OFFLINE: dict[str, Any] = {"local_files_only": True, "trust_remote_code": False}


def _pretrained_model(
    folder: Path, config: PreTrainedConfig, dtype: torch.dtype
) -> PreTrainedModel:
    refuse_hidden_quantisation(folder, config)
    # The annotations of transformers leave out that a report comes with the model.
    loaded: Any = AutoModelForCausalLM.from_pretrained(
        folder,
        config=config,
        dtype=dtype,
        use_safetensors=True,
        attn_implementation=_attention(config),
        output_loading_info=True,
        # They are refused below, by name and together with all else that does not fit.
        ignore_mismatched_sizes=True,
        **_OFFLINE,
    )
    model: PreTrainedModel = loaded[0]
    refuse_unfit_weights(folder, type(model).__name__, loaded[1])
    return model


def _random_model(config: PreTrainedConfig, dtype: torch.dtype, seed: int) -> PreTrainedModel:
    """A model as it is before training, its embedding tied as in the original."""
    # Initialisers of transformers draw from torch's global generator and take no other. The fork
    # hands it back as it was.
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model: PreTrainedModel = AutoModelForCausalLM.from_config(
            config,
            dtype=torch.float32,
            attn_implementation=_attention(config),
            trust_remote_code=False,
        )
    # Module.to would round the frequencies of the rotary embedding as well, which pretrained models
    # keep in float32.
    for parameter in model.parameters():
        parameter.data = parameter.data.to(dtype)
    model.config.dtype = dtype
    return model


def _attention(config: PreTrainedConfig) -> str:
    """The fused attention of torch, which cannot squash its scores as Gemma 2 does."""
    return "eager" if getattr(config, "attn_logit_softcapping", None) else "sdpa"


def _explain(folder: Path, error: Exception) -> str:
    said = str(error).strip().splitlines()
    reason = said[0] if said else type(error).__name__
    if "trust_remote_code" in str(error):
        reason = (
            "it needs code of its own, which is never run here. Only architectures that "
            "transformers contains can be loaded"
        )
    return f"The model in {folder} cannot be loaded: {reason}"
