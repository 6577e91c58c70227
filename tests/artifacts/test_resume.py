import logging
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from mechflow.artifacts import Provenance, ResumeFile, write_bytes


@pytest.fixture
def saved(tmp_path: Path, origin: Provenance) -> ResumeFile:
    file = ResumeFile(tmp_path / ".train.resume.safetensors", replace(origin, kind="resume"))
    file.save({"step": torch.tensor(5), "loss": torch.tensor([1.0, float("nan")])})
    return file


def test_state_comes_back_to_the_same_computation(saved: ResumeFile) -> None:
    state = saved.load()
    assert state is not None
    assert state["step"] == 5
    saved.save({"step": torch.tensor(6)})
    assert state["step"] == 5
    later = saved.load()
    assert later is not None
    assert list(later) == ["step"]


def test_no_state_at_first_and_after_the_end(saved: ResumeFile) -> None:
    write_bytes(saved.path.with_name(f".{saved.path.name}.12345.tmp"), b"left by a killed job")
    saved.clear()
    assert saved.load() is None
    assert list(saved.path.parent.iterdir()) == []
    saved.clear()


def test_state_of_another_computation_is_not_used(saved: ResumeFile, origin: Provenance) -> None:
    for changed in (
        replace(origin, kind="resume", code="other"),
        replace(origin, kind="resume", spec={}),
        replace(origin, kind="resume", inputs={"dataset": "00"}),
        replace(origin, kind="resume", block="r005-009"),
    ):
        assert ResumeFile(saved.path, changed).load() is None


def test_damaged_state_is_not_used(saved: ResumeFile, caplog: pytest.LogCaptureFixture) -> None:
    contents = bytearray(saved.path.read_bytes())
    contents[-1] ^= 1
    saved.path.write_bytes(contents)
    with caplog.at_level(logging.WARNING):
        assert saved.load() is None
    assert "starting anew" in caplog.text
