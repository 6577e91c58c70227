"""How tables call the attention heads of a model; light, since figures need no more of them."""

from typing import NamedTuple

from mechflow.config.sections import Transformer


class Head(NamedTuple):
    """One head by its layer and its number there; tables call it ``L0H1``."""

    layer: int
    number: int

    @property
    def name(self) -> str:
        """Its name in tables."""
        return f"L{self.layer}H{self.number}"

    @classmethod
    def named(cls, name: str) -> "Head":
        """The head of a name.

        Raises:
            ValueError: this is no name of a head.
        """
        layer, _, number = name.removeprefix("L").partition("H")
        return cls(int(layer), int(number))


def all_heads(cfg: Transformer) -> list[Head]:
    """All heads, layer by layer."""
    return [Head(layer, number) for layer in range(cfg.n_layers) for number in range(cfg.n_heads)]
