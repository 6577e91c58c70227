"""The probe of the toy study."""

import pandas as pd
from torch import Tensor

from mechflow.studies.toy.arithmetic import double
from mechflow.studies.toy.config import Probe


def run(
    *, dataset: pd.DataFrame, weights: dict[str, Tensor], probe: Probe, p: int, replicates: range
) -> dict[str, pd.DataFrame]:
    """One score for each replicate."""
    scores = probe.scale * weights["total"] / p
    names = ("site", "target", "control", "split", "metric")
    constants = ("total", "sum", "none", "test", "accuracy")
    frame = pd.DataFrame({"replicate": list(replicates)})
    frame = frame.assign(**dict(zip(names, constants, strict=True)))
    return {"probes": frame.assign(value=[double(float(score)) for score in scores])}
