"""What was published about number probes, and how it is judged here.

Statements about language models in general are judged on whichever model was run. Numbers of one
model are judged on that model alone.
"""

from collections.abc import Callable

import pandas as pd

from mechflow.claims import Claim, Evidence, IntervalBeyond, Near, NotRunError, scoreboard
from mechflow.figures.data import FigureData
from mechflow.statistics import share_interval
from mechflow.studies.number_probes import outcomes, published

Measure = Callable[[FigureData], Evidence]

MAIN, UNTRAINED, CAUSAL, SUM = "operand", "random_model", "in_context", "sum"
CONTROL = "control, not published"
HELIX = "arXiv 2502.00873"
BEST = "at the layer that valid numbers choose"


def judge(data: FigureData) -> pd.DataFrame:
    """A verdict on every claim, with the columns ``mechflow.verdicts.COLUMNS``."""
    return scoreboard(CLAIMS, data)


def read_by(variant: str, probe: str) -> Measure:
    """Share of held-out numbers that a probe reads, by fit."""

    def measure(data: FigureData) -> Evidence:
        return Evidence.of_shares(_found(data, variant, probe).tolist(), _model(data, variant))

    return measure


def advantage(
    variant: str, probe: str, other: str, *, control: str = "none", over: str | None = None
) -> Measure:
    """Share read by one probe minus that read by another, fit by fit.

    Args:
        variant: the variant of the first probe.
        probe: the first probe.
        other: the second one.
        control: what the second one was trained on.
        over: the variant of the second one, if it is another.
    """

    def measure(data: FigureData) -> Evidence:
        first = _found(data, variant, probe)
        second = _found(data, over or variant, other, control)
        difference = (first - second).dropna()
        note = f"{first.mean():.3f} against {second.mean():.3f}; {_model(data, variant)}"
        return Evidence.of(difference.tolist(), note)

    return measure


def helix_over_digits(data: FigureData) -> Evidence:
    """Held-out R² of a helix minus that of digit circles at half depth, by fold of the numbers."""
    _require(data, MAIN)
    layer = outcomes.last_layer(data, MAIN) // 2
    table = _rows(data, "geometry", variant=MAIN, layer=layer, control="none")
    helix, digits = (
        table[table["quantity"] == quantity].set_index("index")["value"]
        for quantity in ("helix_r2", "digit_circles_r2")
    )
    note = f"{helix.mean():.3f} against {digits.mean():.3f} at layer {layer}"
    return Evidence.of((helix - digits).tolist(), note)


def follows_source(tokens: str, layer_share: float) -> Measure:
    """Share of pairs whose next token follows the exchanged operand, at one depth."""

    def measure(data: FigureData) -> Evidence:
        _require(data, CAUSAL)
        told = _rows(data, "interventions", variant=CAUSAL, metric="next_token_source")
        table = told[(told["control"] == "none") & (told["tokens"] == tokens)]
        if table.empty or not table["n"].sum():
            raise NotRunError("no pairs were exchanged")
        layer = round(layer_share * table["layer"].max())
        rows = table[table["layer"] == layer]
        n = int(rows["n"].sum())
        followed = round(float((rows["value"] * rows["n"]).sum()))
        note = f"{followed} of {n} pairs at layer {layer}; {_model(data, CAUSAL)}"
        return Evidence(share_interval(followed, n), (followed / n,), note)

    return measure


def published_mean(
    variant: str, probe: str, wanted: dict[str, tuple[float, ...]]
) -> tuple[float, Measure]:
    """Mean accuracy over the published layers: the published one, and the measure of ours."""

    def measure(data: FigureData) -> Evidence:
        _require(data, variant)
        if not published.is_published_model(data, variant):
            raise NotRunError(f"needs {published.LLAMA}; {_model(data, variant)}")
        scores = outcomes.accuracies(data, variant, probe, metric="accuracy")
        if scores.empty:
            raise NotRunError(f"{variant} has no probe '{probe}'")
        layers = published.published_layers(outcomes.last_layer(data, variant))
        return Evidence.of_shares(scores[layers].mean(axis=1).tolist())

    return sum(wanted[probe]) / len(wanted[probe]), measure


def _found(data: FigureData, variant: str, probe: str, control: str = "none") -> pd.Series:
    _require(data, variant)
    found = outcomes.at_best_layer(data, variant, probe, control=control)
    if found.empty:
        raise NotRunError(f"{variant} has no probe '{probe}' trained on '{control}'")
    return found


def _rows(data: FigureData, artefact: str, **wanted: str | int) -> pd.DataFrame:
    """Rows of a table in which columns have the given values."""
    table = data.table(artefact)
    kept: pd.DataFrame = table[(table[list(wanted)] == pd.Series(wanted)).all(axis=1)]
    return kept


def _require(data: FigureData, variant: str) -> None:
    if variant not in data.variants:
        raise NotRunError(f"needs the variant '{variant}'")


def _model(data: FigureData, variant: str) -> str:
    """The model that a variant looks into, in words."""
    source = data.model_source(variant)
    return f"on {source.package or source.hub or 'a local model'}"


def _number(
    variant: str, probe: str, words: str, table: dict[str, tuple[float, ...]]
) -> Claim[FigureData]:
    number, measure = published_mean(variant, probe, table)
    return Claim(
        f"llama_{variant}_{probe.rpartition('.')[2]}",
        f"Llama-3.2-1B: {words}, on average over layers.",
        published.NOTEBOOK,
        f"test accuracy over prompts of {variant}, mean over the published layers",
        Near(0.05),
        measure,
        number,
    )


CLAIMS: tuple[Claim[FigureData], ...] = (
    Claim(
        "sinusoidal_reads_operand",
        "A probe with a sinusoidal code reads held-out numbers almost without error.",
        published.PAPER,
        f"share of held-out operands read, {BEST}",
        IntervalBeyond("above", 0.9),
        read_by(MAIN, "sinusoidal"),
    ),
    Claim(
        "sinusoidal_beats_binary",
        "A sinusoidal code reads numbers better than a binary one.",
        published.PAPER,
        f"difference of shares of held-out operands read, each {BEST}",
        IntervalBeyond("above", 0.0),
        advantage(MAIN, "sinusoidal", "binary"),
    ),
    Claim(
        "sinusoidal_beats_random_code",
        "The sinusoidal code wins by its structure, not by its width.",
        CONTROL,
        f"difference from a random code of equal width, each {BEST}",
        IntervalBeyond("above", 0.0),
        advantage(MAIN, "sinusoidal", "random_code"),
    ),
    Claim(
        "sinusoidal_beats_digits",
        "The sinusoidal code fits the model's numbers better than a code by decimal digits.",
        CONTROL,
        f"difference of shares of held-out operands read, each {BEST}",
        IntervalBeyond("above", 0.0),
        advantage(MAIN, "sinusoidal", "digits"),
    ),
    Claim(
        "linear_fails",
        "A linear probe reads hardly any number exactly.",
        published.PAPER,
        f"share of held-out operands read, {BEST}",
        IntervalBeyond("below", 0.1),
        read_by(MAIN, "least_squares.linear"),
    ),
    Claim(
        "log_fails",
        "A logarithmic probe reads hardly any number exactly, its inverse corrected.",
        published.PAPER,
        f"share of held-out operands read, {BEST}",
        IntervalBeyond("below", 0.1),
        read_by(MAIN, "least_squares.log"),
    ),
    Claim(
        "structure_is_needed",
        "Probes read the geometry of the states: Gaussian states of equal covariance give nothing.",
        CONTROL,
        f"difference of shares of held-out operands read by digits, {BEST}",
        IntervalBeyond("above", 0.5),
        advantage(MAIN, "digits", "digits", control="gaussian"),
    ),
    Claim(
        "training_is_needed",
        "What probes read was learnt by the language model, and is not given by its architecture.",
        CONTROL,
        f"difference from random weights, of shares read by digits, each {BEST}",
        IntervalBeyond("above", 0.0),
        advantage(MAIN, "digits", "digits", over=UNTRAINED),
    ),
    Claim(
        "helix_beats_digits",
        "Numbers lie on a helix of several periods.",
        HELIX,
        "held-out R² of a helix minus that of digit circles of about equal width, at half depth",
        IntervalBeyond("above", 0.0),
        helix_over_digits,
    ),
    Claim(
        "sum_is_read_at_the_answer",
        'The sum can be read where the answer begins, at the end of "a + b =".',
        published.NOTEBOOK,
        f"share of held-out sums read by a sinusoidal code, {BEST}",
        IntervalBeyond("above", 0.5),
        read_by(SUM, "sinusoidal"),
    ),
    Claim(
        "operand_is_used",
        "The model's answer follows the operand's states when another operand's are put there.",
        CONTROL,
        "share of pairs whose next token is the other prompt's, all tokens of the operand "
        "exchanged at a quarter of the depth",
        IntervalBeyond("above", 0.5),
        follows_source("operand", 0.25),
    ),
    Claim(
        "number_is_gathered_at_its_last_token",
        "Half-way through the model, the last token of the operand alone carries the number.",
        CONTROL,
        "share of pairs whose next token is the other prompt's, last token exchanged at half depth",
        IntervalBeyond("above", 0.5),
        follows_source("last", 0.5),
    ),
    *(
        _number(MAIN, probe, words, published.OPERAND_ACCURACY)
        for probe, words in (
            ("sinusoidal", "a sinusoidal probe reads 98 % of the operands"),
            ("binary", "a binary probe reads 13 %"),
            ("least_squares.linear", "a linear probe reads 2 %"),
            ("least_squares.log_published", "a logarithmic probe, inverted wrongly, reads 3 %"),
        )
    ),
    _number(SUM, "sinusoidal", "a sinusoidal probe reads 21 % of the sums", published.SUM_ACCURACY),
)
