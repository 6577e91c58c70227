"""Random initial weights, drawn from one passed generator in a fixed order."""

import math

import torch
from torch import nn

from mechflow.config.sections import Transformer
from mechflow.models.layers import QUANTISED, head_width

_TRANSFORMER_LENS_GAIN = 0.8


def initialise(model: nn.Module, cfg: Transformer, generator: torch.Generator) -> None:
    """Fill the weights of ``model`` in place; biases and gains keep their constants.

    Parameters are visited by name in alphabetical order, so the draw does not depend on the order
    in which modules were built.

    Args:
        model: a :class:`~mechflow.models.transformer.HookedToyTransformer`.
        cfg: its architecture; ``cfg.initialization`` names the scheme.
        generator: source of all the randomness.
    """
    for name, parameter in sorted(model.named_parameters()):
        kind = name.rsplit(".", 1)[-1]
        if not kind.startswith("W_"):
            continue
        with torch.no_grad():
            if cfg.initialization == "torch" and kind in (*QUANTISED, "W_U"):
                bound = 1.0 / math.sqrt(_fan_in(kind, cfg))
                parameter.uniform_(-bound, bound, generator=generator)
            else:
                parameter.normal_(0.0, _deviation(kind, parameter, cfg), generator=generator)


def _fan_in(kind: str, cfg: Transformer) -> int:
    match kind:
        case "W_out":
            return cfg.d_mlp
        case "W_O":
            return cfg.n_heads * head_width(cfg)
        case _:
            return cfg.d_model


def _deviation(kind: str, parameter: nn.Parameter, cfg: Transformer) -> float:
    match cfg.initialization:
        case "torch":
            return 1.0
        case "transformer_lens":
            return _TRANSFORMER_LENS_GAIN / math.sqrt(cfg.d_model)
        case "variance_scaled" | "head_scaled":
            return 1.0 / math.sqrt(_size(kind, parameter, cfg))


def _size(kind: str, parameter: nn.Parameter, cfg: Transformer) -> int:
    """The width that the variance of the notebooks' schemes is one over."""
    if kind == "W_U":
        return parameter.shape[-1]
    if cfg.initialization == "head_scaled" and kind in ("W_Q", "W_K", "W_V"):
        return head_width(cfg)
    return cfg.d_model
