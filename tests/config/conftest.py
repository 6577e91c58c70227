from collections.abc import Callable
from pathlib import Path

import pytest

from mechflow.config.loading import ConfigError, load_config
from mechflow.config.problems import Problem

ROOT = Path(__file__).parents[2]
Refuse = Callable[..., tuple[Problem, ...]]


@pytest.fixture
def default() -> Path:
    return ROOT / "config" / "config.yaml"


@pytest.fixture
def refuse(tmp_path: Path, default: Path) -> Refuse:
    """The problems of an overlay, given as text, over the default configuration."""

    def problems(text: str | bytes, **overrides: object) -> tuple[Problem, ...]:
        overlay = tmp_path / "mine.yaml"
        overlay.write_bytes(text.encode() if isinstance(text, str) else text)
        with pytest.raises(ConfigError) as caught:
            load_config([default, overlay], overrides)
        return caught.value.problems

    return problems
