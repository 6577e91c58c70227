"""Tiny language models, one of each way to write numbers."""

from pathlib import Path

import pytest

from tests.tiny_llamas import save_digit_llama, save_number_llama


@pytest.fixture(scope="session")
def tiny_llama_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_digit_llama(tmp_path_factory.mktemp("models") / "digits")


@pytest.fixture(scope="session")
def tiny_llama_numbers_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_number_llama(tmp_path_factory.mktemp("models") / "numbers")
