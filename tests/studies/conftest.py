"""A model of modular addition that is known exactly, and the artefacts made from it."""

import pytest

from tests.studies.tiny import TinyStudy, trained


@pytest.fixture(scope="session")
def tiny() -> TinyStudy:
    return trained()
