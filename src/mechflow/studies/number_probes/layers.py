"""Sites of the residual stream in the order of depth."""

from collections.abc import Iterable, Iterator, Sequence

from jaxtyping import Float
from torch import Tensor

from mechflow.artifacts import Shards

_EMBEDDING, _AFTER_NORM = "hook_embed", "ln_final.hook_normalized"


def in_depth_order(sites: Iterable[str]) -> list[str]:
    """Embedding, the outputs of the blocks, the states after the final norm."""

    def depth(site: str) -> float:
        if site == _EMBEDDING:
            return -1.0
        return float("inf") if site == _AFTER_NORM else float(site.split(".")[1])

    return sorted(sites, key=depth)


def each_layer(
    states: Shards, layers: Sequence[int] | None = None
) -> Iterator[tuple[int, str, Float[Tensor, "prompts d_model"]]]:
    """Number, site and states of each layer, one layer in memory at a time.

    Args:
        states: the stored states.
        layers: the layers wanted; all by default.
    """
    for layer, site in enumerate(in_depth_order(states.names)):
        if layers is None or layer in layers:
            yield layer, site, states.load(site)
