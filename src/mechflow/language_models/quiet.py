"""transformers and huggingface_hub without progress bars and advice, for the length of a block."""

from collections.abc import Iterator
from contextlib import contextmanager

from huggingface_hub.utils.tqdm import (
    are_progress_bars_disabled,
    disable_progress_bars,
    enable_progress_bars,
)
from transformers.utils import logging


@contextmanager
def quiet_transformers() -> Iterator[None]:
    """Lets only errors of transformers and no progress bar through, and then restores both.

    A job's output is read by people and kept in log files, where a bar is hundreds of lines.
    """
    verbosity = logging.get_verbosity()
    bars = logging.is_progress_bar_enabled()
    hub_bars = not are_progress_bars_disabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    disable_progress_bars()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if bars:
            logging.enable_progress_bar()
        if hub_bars:
            enable_progress_bars()
