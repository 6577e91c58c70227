from collections.abc import Callable
from pathlib import Path
from textwrap import dedent, indent

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


@pytest.fixture
def below() -> Callable[[str, str], str]:
    """Puts YAML below a dotted path."""

    def nest(path: str, text: str) -> str:
        for part in reversed(path.split(".")):
            text = f"{part}:\n{indent(dedent(text), '  ')}" if part else text
        return text

    return nest


@pytest.fixture
def assert_refused(refuse: Refuse, below: Callable[[str, str], str]) -> Callable[..., None]:
    """Asserts that a mistake gives one line with file, line, key, value and what is allowed."""

    def check(section: str, text: str, given: str, said: tuple[str, ...]) -> None:
        text = below(section, text)
        (problem,) = refuse(text)
        message = str(problem)
        line = 1 + next(i for i, row in enumerate(text.splitlines()) if row.endswith("# !"))
        assert (Path(problem.source).name, problem.line) == ("mine.yaml", line), message
        assert problem.key.startswith(section)
        assert given in message
        for part in said:
            assert part in message
        assert "\n" not in message
        for jargon in ("pydantic", "http", "type=", "Input should", "validation error"):
            assert jargon not in message

    return check
