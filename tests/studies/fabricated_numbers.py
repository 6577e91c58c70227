"""Made-up artefacts of the number probes study: small, of the right form, and the same every time.

Six layers (the embedding, four blocks, the final norm), numbers below 100, three folds of one
replicate, and the four variants of the default configuration. Test scores of trained probes are
those of the made-up answers to each number.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import Any

import pandas as pd
import torch

from mechflow.config.language_models import LanguageModelSource
from mechflow.figures.data import FigureData
from tests.studies.fabricated_scores import Scores
from tests.studies.fabricated_subject import (
    COMPONENTS,
    D_MODEL,
    FUNCTIONS,
    GROUPS,
    HIDDEN,
    LAST,
    LAYERS,
    LIMIT,
    PERIODS,
    PERMUTATIONS,
    SITES,
    SMOLLM2,
    WIDTHS,
    Subject,
    rise,
)

Change = Callable[[str, pd.DataFrame], pd.DataFrame]

VARIANTS: Mapping[str, Subject] = {
    "operand": Subject(),
    "random_model": Subject(0.35, weights="random", bases=("sinusoidal", "digits"), controls=()),
    "in_context": Subject(bases=("sinusoidal", "digits"), controls=(), answers=80, pairs=16),
    "sum": Subject(0.6, label="sum", bases=("sinusoidal", "digits"), controls=("shuffled_values",)),
}


class Fabricated:
    """Reads the made-up artefacts as a job reads those of files."""

    def __init__(
        self,
        variants: Mapping[str, Subject],
        reads: Sequence[str] | None = None,
        change: Change | None = None,
    ) -> None:
        self._variants = variants
        self._reads = reads
        self._change = change or (lambda name, frame: frame)

    def read_tables(self, name: str) -> pd.DataFrame:
        """Rows of all variants."""
        self._check(name)
        frames = []
        for variant, subject in self._variants.items():
            frame = self._change(name, tables(variant, subject)[name].copy())
            frame.insert(0, "variant", variant)
            frame.insert(1, "block", "r000-000" if "replicate" in frame else "")
            frames.append(frame)
        return pd.concat(frames, ignore_index=True)

    def read_tensors_of_all(self, name: str) -> dict[tuple[str, str], dict[str, torch.Tensor]]:
        """Tensors of all variants."""
        self._check(name)
        return {(v, "r000-000"): arrays(v, subject)[name] for v, subject in self._variants.items()}

    def _check(self, name: str) -> None:
        assert self._reads is None or name in self._reads, f"{name} is not declared"


def data(
    variants: Mapping[str, Subject] = VARIANTS,
    *,
    reads: Sequence[str] | None = None,
    change: Change | None = None,
    source: LanguageModelSource = SMOLLM2,
) -> FigureData:
    """What figures, tables and claims are made from.

    Args:
        variants: the variants that ran.
        reads: artefacts that may be read; all by default.
        change: is given the name and the rows of a table, and returns those that are read.
        source: where the model comes from.
    """
    sections = {name: subject.sections() for name, subject in variants.items()}
    reader = Fabricated(variants, reads, change)
    return FigureData(reader, sections, 0, "number_probes", dict.fromkeys(variants, source))


@cache
def tables(variant: str, subject: Subject) -> dict[str, pd.DataFrame]:
    """Every table of a variant, by name."""
    made = _Maker(variant, subject)
    readout, values = made.readout()
    return {
        "prompts": made.prompts(),
        "folds": made.folds(),
        "extraction": made.extraction(),
        "readout": readout,
        "readout_values": values,
        "probes": made.probes(),
        "geometry": made.geometry(),
        "spectra": made.spectra(),
        "interventions": made.interventions(),
        "behaviour": made.behaviour(),
    }


@cache
def arrays(variant: str, subject: Subject) -> dict[str, dict[str, torch.Tensor]]:
    """Every set of tensors of a variant, by name."""
    return _Maker(variant, subject).arrays()


class _Maker(Scores):
    """Draws the remaining tables and the tensors too."""

    def extraction(self) -> pd.DataFrame:
        rows = []
        for layer, site in enumerate(SITES):
            error = 0.0 if layer == 0 else 2e-3 * layer * (1 + self.seed % 3)
            rows.append((site, layer, "norm_mean", 10.0 * 1.5**layer))
            rows.append((site, layer, "relative_error_median", error))
            rows.append((site, layer, "relative_error_max", 3 * error))
        return pd.DataFrame(rows, columns=["site", "layer", "quantity", "value"])

    def geometry(self) -> pd.DataFrame:
        draw = self.generator(3)
        rows: list[tuple[Any, ...]] = []
        for layer, site in enumerate(SITES):
            found: list[tuple[Any, ...]] = []
            for index, period in enumerate(PERIODS):
                share = (0.05, 0.1, 0.3, 0.2)[index] * rise(layer)
                for group in range(GROUPS + 1):
                    value = share + (draw.normal(0, 0.002) if group else 0)
                    found.append(("period_share", period, "none", group, value))
                for group in range(1, PERMUTATIONS + 1):
                    found.append(("period_share", period, "permuted", group, draw.uniform(0, 0.04)))
            found += [("trend_share", 0, "none", group, 0.1) for group in range(GROUPS + 1)]
            for quantity, level in (("helix_r2", 0.5), ("digit_circles_r2", 0.7)):
                for fold in range(5):
                    value = level * rise(layer) + draw.uniform(-0.02, 0.02)
                    found.append((quantity, fold, "none", 0, value))
                    for group in range(1, 4):
                        found.append((quantity, fold, "permuted", group, draw.uniform(-0.3, 0)))
            found += [("component_share", k, "none", 0, 0.4 * 0.6**k) for k in range(COMPONENTS)]
            rows += [(site, layer, *row) for row in found]
        columns = ["site", "layer", "quantity", "index", "control", "draw", "value"]
        return pd.DataFrame(rows, columns=columns)

    def spectra(self) -> pd.DataFrame:
        draw = self.generator(4)
        rows = []
        for replicate in self.replicates:
            for basis in ("sinusoidal", "digits"):
                for layer in LAYERS:
                    found = [("singular_value", k, 5.0 * 0.7**k) for k in range(HIDDEN)]
                    found.append(("effective_rank", 0, 3.0 + draw.uniform(0, 0.1)))
                    found += [("period_share", period, 0.2) for period in PERIODS]
                    rows += [(replicate, f"readout.{basis}", *row, layer) for row in found]
        columns = ["replicate", "matrix", "quantity", "index", "value", "layer"]
        return pd.DataFrame(rows, columns=columns)

    def interventions(self) -> pd.DataFrame:
        columns = ["replicate", "intervention", "site", "control", "draw", "split", "metric"]
        columns += ["value", "layer", "read_layer", "tokens", "n"]
        n = self.subject.pairs
        rows: list[tuple[Any, ...]] = []
        for replicate in self.replicates if n else ():
            clean = (replicate, "none", "", "none", 0, "all")
            rows += [
                (*clean, f"first_token_correct_{side}", 0.5, -1, -1, "", n)
                for side in ("base", "source")
            ]
            for tokens in ("last", "operand"):
                for control in ("none", "random_direction"):
                    for layer in LAYERS[:-1]:
                        names = (replicate, "interchange", SITES[layer])
                        rows += [
                            (*names, control, 0, "all", metric, value, layer, read, tokens, count)
                            for metric, value, read, count in _followed(layer, tokens, control, n)
                        ]
        frame = pd.DataFrame(rows, columns=columns)
        whole = dict.fromkeys(("replicate", "draw", "layer", "read_layer", "n"), "int64")
        text = ["intervention", "site", "control", "split", "metric", "tokens"]
        return frame.astype(whole | dict.fromkeys(text, "str") | {"value": "float64"})

    def arrays(self) -> dict[str, dict[str, torch.Tensor]]:
        generator = torch.Generator().manual_seed(self.seed)
        n = torch.arange(LIMIT)
        waves = [torch.cos(2 * torch.pi * n / period) for period in (10, 100, 5, 2)]
        scores = torch.stack(waves, dim=1).expand(LAST + 1, -1, -1).contiguous()
        weights, functions = {}, {}
        R, L = self.subject.replicates, LAST + 1
        for basis in self.bases:
            width = WIDTHS[basis]
            for name, shape in (
                ("W_in", (R, L, HIDDEN, D_MODEL)), ("b_in", (R, L, HIDDEN)),
                ("W_out", (R, L, HIDDEN, width)), ("b_out", (R, L, HIDDEN)),
                ("basis", (R, LIMIT, width)),
            ):  # fmt: skip
                weights[f"{basis}.{name}"] = torch.randn(shape, generator=generator)
        for basis in ("sinusoidal", "digits"):
            found = torch.stack(waves[:FUNCTIONS]) / (LIMIT / 2) ** 0.5
            functions[f"singular_functions.{basis}"] = found.expand(R, L, -1, -1).contiguous()
        spectrum = torch.rand(L, LIMIT // 2, generator=generator)
        flat = torch.full((L, LIMIT // 2), 2 / LIMIT)
        return {
            "geometry_arrays": {
                "pc_scores": scores,
                "spectrum": (spectrum / spectrum.sum(dim=1, keepdim=True)).double(),
                "spectrum_permuted": flat.double(),
            },
            "readout_weights": weights,
            "spectra_arrays": functions,
        }


def _followed(layer: int, tokens: str, control: str, n: int) -> list[tuple[str, float, int, int]]:
    """Metric, value, layer where it is read, and pairs."""
    follows = (0.9 if tokens == "operand" else rise(layer) * 0.6) if control == "none" else 0.02
    found = []
    for what, read, count in (
        *(("decoded", later, n) for later in range(layer, LAST + 1)),
        ("next_token", -1, n),
        ("next_token_when_right", -1, n // 2),
    ):
        found += [
            (f"{what}_source", follows, read, count),
            (f"{what}_base", 1 - follows, read, count),
        ]
    found += [("log_prob_change_source", 3 * follows, -1, n)]
    return [*found, ("log_prob_change_base", -3 * follows, -1, n)]
