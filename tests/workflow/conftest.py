"""Workspaces for the tests of the workflow."""

from pathlib import Path

import pytest

from tests.workflow.workspace import Workspace


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Marks every test of this folder."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.workflow)


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    """A fresh copy of the repository."""
    return Workspace(tmp_path)
