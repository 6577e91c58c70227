import pytest
import torch

from mechflow import norms


def test_squared_weights_sum_over_everything_but_replicates() -> None:
    generator = torch.Generator().manual_seed(3)
    shapes = {"W": (2, 3, 4), "b": (2, 5), "scale": (2,)}
    weights = {
        name: torch.randn(shape, generator=generator, dtype=torch.float64)
        for name, shape in shapes.items()
    }
    weights["W"] = weights["W"].float()
    found = norms.squared_weights(weights)
    for r in range(2):
        naive = sum(float((tensor[r].double() ** 2).sum()) for tensor in weights.values())
        assert found[r].item() == pytest.approx(naive, rel=1e-12)
    with pytest.raises(ValueError, match="no parameters"):
        norms.squared_weights({})
