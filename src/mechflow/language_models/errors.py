"""What can go wrong with a language model, in words that tell the user what to do."""


class LanguageModelError(Exception):
    """A problem with a language model that the user can solve; the message says how."""


class ModelSourceError(LanguageModelError):
    """A language model that cannot be fetched or loaded."""


class TokenisationError(LanguageModelError, ValueError):
    """Text whose tokens do not allow what is asked of them."""


class UnsupportedModelError(LanguageModelError):
    """An architecture of which this package would compute something else than the model does."""


class NonFiniteStateError(LanguageModelError):
    """A hidden state with NaN or infinite values.

    Attributes:
        site: the first site, in the order of layers, where there is one.
        layer: its layer.
        prompt: index of the first prompt with such a state.
    """

    def __init__(self, site: str, layer: int, prompt: int, text: str, dtype: str) -> None:
        """Words the message.

        Args:
            site: the site.
            layer: its layer.
            prompt: index of the prompt among those that were run together.
            text: the prompt.
            dtype: number format of the model, such as ``float16``.
        """
        self.site, self.layer, self.prompt = site, layer, prompt
        hint = "; bfloat16 and float32 hold larger numbers" if dtype == "float16" else ""
        super().__init__(
            f"NaN or infinity in the hidden state at {site} (layer {layer}) of prompt {prompt}, "
            f"{text!r}, computed in {dtype}{hint}"
        )
