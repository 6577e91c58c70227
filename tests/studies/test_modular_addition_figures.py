import dataclasses
import importlib
import itertools
import math
import pkgutil
import re

import numpy as np
import pandas as pd
import pytest
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.text import Text

from mechflow.artifacts import Owner, collect, read_table, write_table
from mechflow.config.sections import Training
from mechflow.config.study import Style
from mechflow.figures.data import FigureData
from mechflow.figures.save import save_figure
from mechflow.figures.style import context
from mechflow.studies.modular_addition import figures as package
from mechflow.studies.modular_addition import outcomes
from mechflow.studies.modular_addition.config import Dataset, Figures, Spectra
from mechflow.studies.modular_addition.figures import neurons, summary
from mechflow.studies.modular_addition.study import STUDY
from tests.studies.tiny import MODEL, REPLICATES, TinyStudy

P = 11
STYLE = Style(dpi=60)
THREE = ("full", "binary", "ternary")
NAMES = [figure.name for figure in STUDY.figures]
TABLES = ("dataset", "curves", "probes", "spectra", "progress", "interventions")


class InMemory:
    """A tiny study under several names of variants, with only what a figure declares to read."""

    def __init__(self, study: TinyStudy, variants, replicates=2, reads=None, change=None):
        self.study, self.variants, self.replicates = study, variants, replicates
        self.reads, self.change = reads, change or (lambda name, frame: frame)

    def read_tables(self, name):
        self._check(name)
        frame = getattr(self.study, name)
        # The tiny study numbers its replicates like those of a later block.
        frame = frame.assign(replicate=frame["replicate"] - REPLICATES[0])
        frame = self.change(name, frame[frame["replicate"] < self.replicates])
        return pd.concat([frame.assign(variant=v, block="b") for v in self.variants])

    def read_tensors_of_all(self, name):
        self._check(name)
        tensors = {k: t[: self.replicates] for k, t in getattr(self.study, name).items()}
        return {(variant, "b"): tensors for variant in self.variants}

    def _check(self, name):
        assert self.reads is None or name in self.reads, f"{name} is not declared"


def declared(name):
    (figure,) = (figure for figure in STUDY.figures if figure.name == name)
    return figure


def draw(name, study, variants=THREE, shown=None, style=STYLE, **options):
    figure = declared(name)
    module = importlib.import_module(f"{package.__name__}.{figure.module}")
    sections = {
        "dataset": Dataset(p=P, train_fraction=0.6),
        "model": MODEL,
        "training": Training(steps=60, lr=1e-2, eval_every=20, checkpoints=4),
        "spectra": Spectra(),
    }
    reader = InMemory(study, variants, reads=figure.reads, **options)
    data = FigureData(reader, dict.fromkeys(variants, sections), 0, "modular_addition")
    drawn, source = getattr(module, f"draw_{name}")(data, shown or Figures(), style)
    assert isinstance(drawn, Figure)
    return drawn, source


def without_key(name, frame):
    return frame[frame["quantity"] != "key_frequency"] if name == "spectra" else frame


def of(frame, **wanted):
    for column, value in wanted.items():
        frame = frame[frame[column] == value]
    return frame


def test_every_declared_figure_can_be_drawn_and_no_other():
    found = set()
    for module in pkgutil.iter_modules(package.__path__):
        names = vars(importlib.import_module(f"{package.__name__}.{module.name}"))
        found |= {(n.removeprefix("draw_"), module.name) for n in names if n.startswith("draw_")}
    assert found == {(figure.name, figure.module) for figure in STUDY.figures}


@pytest.mark.parametrize("name", NAMES)
def test_captions_say_how_to_read_and_name_no_configured_number(name):
    figure = declared(name)
    assert figure.title
    assert figure.caption.endswith(".")
    assert len(figure.caption.split()) > 25
    # Intervals, the accuracy of generalisation, the 2 x 2 block, and ends of scales.
    assert set(re.findall(r"\d+", figure.caption)) <= {"0", "1", "2", "95", "99"}


@pytest.mark.parametrize("name", NAMES)
def test_figures_are_drawn_from_what_they_declare(name, tiny, tmp_path):
    drawn, source = draw(name, tiny)
    assert not source.empty
    assert {"panel", "variant"} <= set(source)
    assert set(source["variant"].dropna()) == set(THREE)
    note = drawn.get_supxlabel()
    assert f"p = {P}" in note
    assert "n = 2 training seeds" in note or "training seed 0" in note
    provenance = collect(kind="figure_data", owner=Owner("x"), stage="f", spec={}, code="0", seed=0)
    write_table(tmp_path / "source.parquet", source, "figure_data", provenance)
    assert len(read_table(tmp_path / "source.parquet", "figure_data")) == len(source)


@pytest.mark.parametrize("name", NAMES)
def test_drawing_again_gives_the_same_bytes_and_text_never_overlaps(name, tiny):
    first, second = (draw(name, tiny) for _ in range(2))
    pd.testing.assert_frame_equal(first[1], second[1])
    pdf, png = save_figure(first[0], STYLE)
    assert pdf.startswith(b"%PDF")
    assert png.startswith(b"\x89PNG")
    assert (pdf, png) == save_figure(second[0], STYLE)
    with context(STYLE):
        check_text(first[0])


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    "options",
    [{"replicates": 1, "change": without_key}, {"variants": ("my_own_network",)}],
    ids=["one replicate without key frequencies", "one variant"],
)
def test_figures_do_without_intervals_variants_and_key_frequencies(name, options, tiny):
    drawn, _ = draw(name, tiny, **options)
    with context(STYLE):
        drawn.draw_without_rendering()
        check_text(drawn)


@pytest.mark.parametrize("name", ["training_curves", "neurons_explained"])
def test_all_variants_are_laid_out_in_rows(name, tiny):
    drawn, _ = draw(name, tiny, variants=(*THREE, "random_labels", "binary_published"))
    with context(STYLE):
        drawn.draw_without_rendering()
        check_text(drawn)


def check_text(figure: Figure) -> None:
    """All text is legible and on the page, and none lies on other text."""
    width, height = figure.bbox.size
    slack = 0.02 * STYLE.dpi
    boxes = []
    for text in texts(figure):
        assert text.get_fontsize() >= 5.8, text.get_text()
        box = text.get_window_extent()
        inside = min(box.x0, box.y0, width - box.x1, height - box.y1) > -slack
        assert inside, (text.get_text(), box)
        boxes.append((text.get_text(), box.padded(-slack)))
    for (one, first), (other, second) in itertools.combinations(boxes, 2):
        assert not first.overlaps(second), (one, other)


def texts(figure: Figure) -> list[Text]:
    """All text that is drawn; ticks outside the limits of their axis are not."""
    found = [*figure.texts, *(t for legend in figure.legends for t in legend.get_texts())]
    for axes in figure.axes:
        found += axes.texts
        if not axes.axison:
            continue
        found += [t for place in ("left", "center", "right") for t in [title(axes, place)]]
        for axis, (low, high) in (
            (axes.xaxis, sorted(axes.get_xlim())),
            (axes.yaxis, sorted(axes.get_ylim())),
        ):
            found.append(axis.label)
            found += [
                tick.label1
                for tick in [*axis.get_major_ticks(), *axis.get_minor_ticks()]
                if low <= tick.get_loc() <= high and tick.label1.get_visible()
            ]
    return [text for text in found if text.get_text().strip() and text.get_visible()]


def title(axes: Axes, place: str) -> Text:
    return {"left": axes._left_title, "center": axes.title, "right": axes._right_title}[place]


def test_the_compared_variants_are_those_that_ran(tiny):
    _, source = draw("attention", tiny, shown=Figures(compare=("ternary", "absent", "full")))
    assert list(dict.fromkeys(source["variant"])) == ["ternary", "full"]


def test_training_curves_hold_every_measured_value(tiny):
    _, source = draw("training_curves", tiny)
    curves = tiny.curves
    wanted = of(curves[curves["step"] > 0], metric="loss", split="test", replicate=REPLICATES[1])
    drawn = of(source, panel="loss", series="test", kind="replicate", replicate=1, variant="full")
    assert drawn["x"].tolist() == wanted["step"].tolist()
    assert drawn["y"].tolist() == wanted["value"].tolist()
    uniform = of(source, kind="reference")["y"]
    assert uniform.tolist() == pytest.approx([math.log(P)] * len(THREE))


def test_heat_maps_hold_the_arrays_that_they_show(tiny):
    _, source = draw("attention", tiny, shown=Figures(replicate=1))
    head = of(source, panel="head 2", variant="full").pivot(index="a", columns="b", values="value")
    assert np.array_equal(head, tiny.spectra_arrays["attention"][1, 2, 0].numpy())
    assert set(source["replicate"]) == {1}
    _, source = draw("embedding_fourier", tiny)
    shown = of(source, variant="full").pivot(index="component", columns="dimension", values="value")
    assert np.array_equal(shown, tiny.spectra_arrays["W_E_fourier"][0].numpy())


def test_a_wave_of_the_sum_has_one_pair_of_frequencies():
    a, b = torch.meshgrid(torch.arange(P), torch.arange(P), indexing="ij")
    wave = 3 + torch.cos(2 * math.pi * 4 * (a + b).double() / P)
    found = neurons.frequency_map(wave)
    assert found.shape == (P // 2 + 1, P // 2 + 1)
    assert found[4, 4].item() == pytest.approx(math.sqrt(P * P / 2))
    found[4, 4] = 0
    assert found.abs().max() < 1e-9


def test_key_cosines_are_one_with_themselves(tiny):
    _, source = draw("key_inner_products", tiny)
    own = source[source["row"] == source["column"]]
    assert own["value"].to_numpy() == pytest.approx(np.ones(len(own)), abs=1e-6)
    assert source["value"].abs().max() <= 1 + 1e-6


def test_cosines_meet_at_the_right_answer(tiny):
    _, source = draw("constructive_interference", tiny)
    at_zero = source[source["x"] == 0]["y"]
    assert at_zero.to_numpy() == pytest.approx(np.ones(len(at_zero)))
    mean = of(source, variant="full", series="mean of key cosines")
    single = source[source["series"].str.startswith("cos ") & (source["variant"] == "full")]
    assert mean["y"].tolist() == pytest.approx(single.groupby("x")["y"].mean().tolist())


def test_bars_of_all_variants_name_the_key_frequencies(tiny):
    _, source = draw("embedding_norms", tiny)
    spectra = of(tiny.spectra, quantity="key_frequency", replicate=REPLICATES[0])
    bars = of(source, panel="W_E", series="trained", variant="full")
    assert set(bars.loc[bars["key"].astype(bool), "x"]) == set(spectra["index"])


def test_singular_values_are_shares_of_the_norm(tiny):
    _, source = draw("singular_values", tiny)
    trained = of(source, panel="W_E", series="trained", variant="binary", kind="mean")
    values = of(
        tiny.spectra, quantity="singular_value", matrix="W_E", model="trained", weights="latent"
    )
    norms = values.groupby("replicate")["value"].transform(lambda v: np.sqrt((v**2).sum()))
    wanted = (values["value"] / norms).groupby(values["index"]).mean()
    assert trained["y"].tolist() == pytest.approx(wanted.tolist())


def test_ablations_average_draws_within_replicates(tiny):
    _, source = draw("ablations", tiny)
    rows = of(tiny.interventions, intervention="keep_key", site="W_E", split="test", metric="loss")
    random = of(rows, control="random_frequencies", replicate=REPLICATES[0])["value"]
    drawn = of(
        source, panel="keep_key W_E", series="random control", kind="replicate", replicate=0,
        variant="full",
    )  # fmt: skip
    assert drawn["value"].item() == pytest.approx(np.exp(np.log(random).mean()))


def test_flip_rates_are_averaged_over_stretches(tiny):
    _, source = draw("bit_flips", tiny)
    rows = tiny.curves[tiny.curves["metric"] == "flip_rate.blocks.0.mlp.W_in"]
    rows = rows[(rows["step"] > 0) & (rows["replicate"] == REPLICATES[0])]
    drawn = of(source, kind="replicate", replicate=0, variant="full", panel="blocks.0.mlp.W_in")
    assert drawn["y"].dropna().sum() == pytest.approx(rows["value"].sum())
    assert drawn["x"].between(rows["step"].min(), rows["step"].max()).all()


def test_probe_selectivity_is_the_difference_from_shuffled_labels(tiny):
    _, source = draw("probes", tiny)
    site = "blocks.0.mlp.hook_post"
    scores = of(tiny.probes, split="test", model="trained", site=site, target="sum")
    scores = scores[scores["replicate"] == REPLICATES[0]].set_index("control")["value"]
    drawn = of(
        source, panel="selectivity", kind="replicate", replicate=0, variant="full",
        series="trained", target="sum", site=site,
    )  # fmt: skip
    assert drawn["value"].item() == pytest.approx(scores["none"] - scores["shuffled_labels"])


class Different:
    """Makes the variants differ in one known way: the binary network's spectra are denser."""

    def __init__(self, reader):
        self.reader = reader

    def read_tables(self, name):
        frame = self.reader.read_tables(name)
        if name != "spectra":
            return frame
        shifted = (frame["variant"] == "binary") & (frame["quantity"] == "gini")
        return frame.assign(value=frame["value"].where(~shifted, frame["value"] + 1))

    def read_tensors_of_all(self, name):
        return self.reader.read_tensors_of_all(name)


def test_the_summary_compares_with_full_precision(tiny):
    sections = {
        "dataset": Dataset(p=P, train_fraction=0.6),
        "training": Training(steps=60, lr=1e-2, eval_every=20, checkpoints=4),
        "spectra": Spectra(),
    }
    reader = Different(InMemory(tiny, THREE))
    data = FigureData(reader, dict.fromkeys(THREE, sections), 0, "modular_addition")
    _, source = summary.draw_summary(data, Figures(), STYLE)
    tests = of(source, kind="test")
    assert set(tests["reference"]) == {"full"}
    assert set(tests["panel"]) == {quantity.name for quantity in summary.QUANTITIES}
    gini = of(tests, panel="gini_W_E").set_index("variant")
    assert gini.loc["binary", "cliffs_delta"] == 1
    assert gini.loc["ternary", "cliffs_delta"] == 0
    # Two against two: the exact test cannot give less than 1/3, and Holm doubles it.
    assert gini.loc["binary", "p_value"] == pytest.approx(1 / 3)
    assert gini.loc["binary", "p_holm"] == pytest.approx(2 / 3)


def test_networks_that_never_generalise_are_counted_and_leave_no_mean(tiny):
    drawn, source = draw("summary", tiny)
    steps = of(source, panel="steps")
    assert of(steps, kind="replicate")["value"].isna().all()
    assert of(steps, kind="mean")["value"].isna().all()
    assert "2 never" in {text.get_text() for text in drawn.findobj(Text)}


def test_loss_ratios_of_the_summary_are_those_of_the_tables(tiny):
    _, source = draw("summary", tiny)
    rows = of(tiny.interventions, split="test", metric="loss", control="none")
    rows = rows[rows["replicate"] == REPLICATES[0]]
    after = of(rows, intervention="remove_key", site="W_E")["value"].item()
    before = of(rows, intervention="none")["value"].item()
    drawn = of(source, panel="removed", variant="full", kind="replicate", replicate=0)
    assert drawn["value"].item() == pytest.approx(after / before)


def test_an_early_stop_does_not_shorten_the_rule_of_generalisation(tiny):
    accuracy = {0: 0.2, 20: 1.0, 40: 1.0, 60: 1.0}

    def good(name, frame):
        if name != "curves":
            return frame
        test = (frame["metric"] == "accuracy") & (frame["split"] == "test")
        values = frame["step"].map(accuracy)
        return frame.assign(value=frame["value"].where(~test, values))

    drawn, source = draw("training_curves", tiny, change=good)
    marks = of(source, series="stays at 99 %")
    expected = [20.0] * 6 if outcomes.SUSTAINED <= 3 else [math.nan] * 6
    assert np.array_equal(marks["x"].to_numpy(dtype=float), expected, equal_nan=True)
    assert len(drawn.axes) == 6


def test_several_blocks_give_the_figure_of_one(tiny):
    class TwoBlocks(InMemory):
        def read_tensors_of_all(self, name):
            whole = super().read_tensors_of_all(name)
            return {
                (variant, block): {k: t[index : index + 1] for k, t in tensors.items()}
                for (variant, _), tensors in whole.items()
                for index, block in enumerate(("r000", "r001"))
            }

    sections = {"dataset": Dataset(p=P, train_fraction=0.6)}
    tables = []
    for reader in (InMemory(tiny, THREE), TwoBlocks(tiny, THREE)):
        data = FigureData(reader, dict.fromkeys(THREE, sections), 0, "modular_addition")
        module = importlib.import_module(f"{package.__name__}.attention")
        tables.append(module.draw_attention(data, Figures(replicate=1), STYLE)[1])
    pd.testing.assert_frame_equal(*tables)


def test_the_tiny_study_is_what_the_tests_assume(tiny):
    assert [field.name for field in dataclasses.fields(tiny) if field.name in TABLES]
    assert len(REPLICATES) == 2
    assert int(tiny.dataset["a"].max()) + 1 == P
