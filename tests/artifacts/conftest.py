import numpy as np
import pandas as pd
import pytest
import torch

from mechflow.artifacts import Owner, Provenance, collect


@pytest.fixture
def owner() -> Owner:
    return Owner("modular_addition", "full", "r000-001")


@pytest.fixture
def origin(owner: Owner) -> Provenance:
    return collect(
        kind="curves",
        owner=owner,
        stage="train",
        spec={"sections": {"training": {"steps": 10}}, "stage": "train"},
        code="c0de",
        seed=7,
        inputs={"dataset": "ab" * 32},
    )


@pytest.fixture
def curves() -> pd.DataFrame:
    rows = 12
    return pd.DataFrame(
        {
            "replicate": np.repeat(np.arange(2), rows // 2),
            "step": np.tile(np.arange(rows // 2), 2),
            "split": ["train", "test"] * (rows // 2),
            "metric": "loss",
            "value": np.linspace(4.0, 0.1, rows),
        }
    )


@pytest.fixture
def weights() -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return {
        "unembed.W_U": torch.randn(2, 3, 4, generator=generator),
        "embed.W_E": torch.randn(2, 5, 3, generator=generator, dtype=torch.float64),
        "step": torch.arange(2),
    }
