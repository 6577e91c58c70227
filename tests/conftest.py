"""Settings that all tests share."""

from pathlib import Path

import pytest
from hypothesis import settings

# Timings on shared machines say nothing about faults.
settings.register_profile("no_deadline", deadline=None, derandomize=True)
settings.load_profile("no_deadline")


# Most tests need no language model, so what makes one is imported by those that do.


@pytest.fixture(scope="session")
def tiny_llama_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A language model that writes one digit a token."""
    from tests.tiny_llamas import save_digit_llama

    return save_digit_llama(tmp_path_factory.mktemp("models") / "digits")


@pytest.fixture(scope="session")
def tiny_llama_numbers_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One that writes every number as one token."""
    from tests.tiny_llamas import save_number_llama

    return save_number_llama(tmp_path_factory.mktemp("models") / "numbers")
