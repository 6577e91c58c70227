"""Several replicates of one architecture as one computation over stacked weights."""

from collections.abc import Iterable
from functools import cached_property

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.func import functional_call, vmap

from mechflow.config.sections import Transformer
from mechflow.models import at_positions, factorised
from mechflow.models.initialise import initialise
from mechflow.models.stacked_layers import StackedWeights
from mechflow.models.transformer import HookedToyTransformer


class StackedTransformer:
    """R toy transformers of one architecture; their weights are passed in, never held.

    Args:
        cfg: the architecture.
        d_vocab: number of input tokens.
        d_vocab_out: number of output classes.
        n_ctx: longest sequence.
    """

    def __init__(self, cfg: Transformer, *, d_vocab: int, d_vocab_out: int, n_ctx: int) -> None:
        self.cfg = cfg
        self._sizes = {"d_vocab": d_vocab, "d_vocab_out": d_vocab_out, "n_ctx": n_ctx}

    def module(self, weights: StackedWeights, replicate: int) -> HookedToyTransformer:
        """The hooked model of one replicate, by its index in the stack, with its own copy."""
        model = HookedToyTransformer(self.cfg, **self._sizes)
        model.load_state_dict({name: w[replicate] for name, w in weights.items()})
        return model

    def initial(self, generators: Iterable[torch.Generator]) -> StackedWeights:
        """Freshly initialised weights, one replicate for each generator."""
        states = []
        for generator in generators:
            model = HookedToyTransformer(self.cfg, **self._sizes)
            initialise(model, self.cfg, generator)
            states.append({name: p.detach() for name, p in model.named_parameters()})
        return {name: torch.stack([s[name] for s in states]) for name in sorted(states[0])}

    def last_logits(
        self, weights: StackedWeights, tokens: Int[Tensor, "R n pos"]
    ) -> Float[Tensor, "R n d_vocab_out"]:
        """Logits at the last position; through tables where the architecture allows it.

        The last token must be the same in all examples.
        """
        if factorised.applies_to(self.cfg):
            return factorised.last_logits(weights, self.cfg, tokens)
        return self.plain_last_logits(weights, tokens)

    def plain_last_logits(
        self, weights: StackedWeights, tokens: Int[Tensor, "R n pos"]
    ) -> Float[Tensor, "R n d_vocab_out"]:
        """The same logits from the hooked module's own forward, mapped over replicates."""

        def one(own_weights: StackedWeights, own_tokens: Tensor) -> Tensor:
            logits: Tensor = functional_call(self._skeleton, own_weights, (own_tokens,))
            return logits[:, -1]

        return vmap(one)(weights, tokens)

    def logits_at(
        self,
        weights: StackedWeights,
        tokens: Int[Tensor, "R n pos"],
        positions: Int[Tensor, "R n read"],
    ) -> Float[Tensor, "R n read d_vocab_out"]:
        """Logits at the positions that are read, which may differ between examples."""
        return at_positions.logits_at(weights, self.cfg, tokens, positions)

    def plain_logits_at(
        self,
        weights: StackedWeights,
        tokens: Int[Tensor, "R n pos"],
        positions: Int[Tensor, "R n read"],
    ) -> Float[Tensor, "R n read d_vocab_out"]:
        """The same logits from the hooked module's own forward, mapped over replicates."""

        def one(own_weights: StackedWeights, own_tokens: Tensor, own_positions: Tensor) -> Tensor:
            logits: Tensor = functional_call(self._skeleton, own_weights, (own_tokens,))
            return logits.take_along_dim(own_positions[..., None], 1)

        return vmap(one)(weights, tokens, positions)

    @cached_property
    def _skeleton(self) -> HookedToyTransformer:
        return HookedToyTransformer(self.cfg, **self._sizes)
