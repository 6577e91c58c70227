"""Every mistake gives one line that names file, line, key, value and what is allowed."""

from collections.abc import Callable
from pathlib import Path
from textwrap import dedent, indent

import pytest

from mechflow.config.loading import ConfigError, load_config
from mechflow.config.problems import Problem

Refuse = Callable[..., tuple[Problem, ...]]
STUDY = "studies.modular_addition"


def below(path: str, text: str) -> str:
    """YAML with a text below a dotted path."""
    for part in reversed(path.split(".")):
        text = f"{part}:\n{indent(dedent(text), '  ')}"
    return text


# id: (section, text with "# !" at the line to be named, value shown, what is said)
CASES: dict[str, tuple[str, str, str, tuple[str, ...]]] = {
    # unknown keys
    "unknown_top_level_key": ("", "sead: 3 # !", "sead = 3", ("'seed'", "seed, style, studies")),
    "unknown_study": (
        "studies",
        "modular_adition: {} # !",
        "studies.modular_adition = {}",
        ("did you mean 'modular_addition'?", "allowed: modular_addition"),
    ),
    "unknown_key_of_study": (
        STUDY,
        "replicate: 3 # !",
        "replicate = 3",
        ("did you mean 'replicates'?", "allowed: replicates, block_size, run"),
    ),
    "unknown_key_of_dataset": (
        f"{STUDY}.defaults.dataset",
        "train_fracton: 0.4 # !",
        "defaults.dataset.train_fracton = 0.4",
        ("did you mean 'train_fraction'?", "allowed: p, task, train_fraction, split"),
    ),
    "key_one_level_too_high": (
        f"{STUDY}.defaults",
        "p: 31 # !",
        "defaults.p = 31",
        ("did you mean 'dataset.p'?",),
    ),
    "unknown_key_of_variant": (
        f"{STUDY}.variants.binary.model",
        "\nprecison: binary # !",
        'variants.binary.model.precison = "binary"',
        ("did you mean 'precision'?",),
    ),
    "key_without_resemblance": ("", "qqq: 1 # !", "qqq = 1", ("unknown key; allowed: seed",)),
    # the modulus
    "p_text": (f"{STUDY}.defaults.dataset", 'p: "113" # !', 'p = "113"', ("write 113",)),
    "p_float": (f"{STUDY}.defaults.dataset", "p: 113.0 # !", "p = 113.0", ("write 113",)),
    "p_fractional": (f"{STUDY}.defaults.dataset", "p: 113.5 # !", "p = 113.5", ("whole number",)),
    "p_two": (f"{STUDY}.defaults.dataset", "p: 2 # !", "p = 2", ("greater than 2",)),
    "p_negative": (f"{STUDY}.defaults.dataset", "p: -7 # !", "p = -7", ("greater than 2",)),
    "p_bool": (f"{STUDY}.defaults.dataset", "p: true # !", "p = true", ("whole number",)),
    "p_null": (f"{STUDY}.defaults.dataset", "p: # !", "p = null", ("whole number", "null")),
    "p_list": (f"{STUDY}.defaults.dataset", "p: [5] # !", "p = [5]", ("whole number",)),
    # fractions
    **{
        f"fraction_{name}": (
            f"{STUDY}.defaults.dataset",
            f"train_fraction: {text} # !",
            f"dataset.train_fraction = {shown}",
            ("a number greater than 0 and less than 1",),
        )
        for name, text, shown in (
            ("zero", "0", "0"),
            ("one", "1", "1"),
            ("above_one", "1.5", "1.5"),
            ("negative", "-0.3", "-0.3"),
            ("quoted", '"0.3"', '"0.3"'),
            ("comma", "0,3", '"0,3"'),
            ("percent", "30%", '"30%"'),
            ("infinite", ".inf", ".inf"),
            ("not_a_number", ".nan", ".nan"),
            ("bool", "true", "true"),
        )
    },
    "empty_train_split": (
        f"{STUDY}.defaults.dataset",
        "train_fraction: 0.0001 # !",
        "train_fraction = 0.0001",
        ("one split would be empty", "1431 unordered pairs"),
    ),
    "split_seed_negative": (
        f"{STUDY}.variants.binary.dataset",
        "split_seed: -1 # !",
        "variants.binary.dataset.split_seed = -1",
        ("at least 0 or null",),
    ),
    "unknown_task": (
        f"{STUDY}.defaults.dataset",
        "task: divide # !",
        'dataset.task = "divide"',
        ("one of add, subtract, quadratic, random_labels",),
    ),
    # architecture
    "heads_do_not_divide": (
        f"{STUDY}.defaults.model",
        "\nd_model: 66 # !",
        "model.d_model = 66",
        ("divisible by n_heads (4)",),
    ),
    "heads_of_variant_do_not_divide": (
        f"{STUDY}.variants.ternary",
        "model: # !\n  n_heads: 5",
        "variants.ternary.model.d_model = 64",
        ("divisible by n_heads (5)",),
    ),
    "scale_of_full_precision": (
        f"{STUDY}.variants.full.model",
        "weight_scale: true # !",
        "weight_scale = true",
        ("binary or ternary",),
    ),
    "unknown_precision": (
        f"{STUDY}.variants.binary.model",
        "precision: 1bit # !",
        'precision = "1bit"',
        ("one of full, binary, ternary",),
    ),
    "yes_is_text": (
        f"{STUDY}.defaults.model",
        "causal: yes # !",
        'causal = "yes"',
        ("true or false",),
    ),
    "one_is_no_truth_value": (
        f"{STUDY}.defaults.model",
        "causal: 1 # !",
        "causal = 1",
        ("true or false",),
    ),
    "text_for_list": (
        f"{STUDY}.defaults.model",
        "biases: attn # !",
        'biases = "attn"',
        ("one of attn, mlp, unembed", "write [attn]"),
    ),
    "unknown_item": (
        f"{STUDY}.defaults.model",
        "biases: [attn, head] # !",
        'biases[1] = "head"',
        ("one of attn, mlp, unembed",),
    ),
    "norm_without_sites": (
        f"{STUDY}.defaults.model",
        "normalization_sites: [] # !",
        "normalization_sites = []",
        ("acts nowhere", "normalization: none"),
    ),
    "biases_without_mlp": (
        f"{STUDY}.variants.full.model",
        "d_mlp: 0\nbiases: [mlp] # !",
        'biases = ["mlp"]',
        ("attention-only",),
    ),
    # training
    "steps_in_scientific_notation": (
        f"{STUDY}.defaults.training",
        "steps: 1e4 # !",
        "steps = 10000.0",
        ("write 10000",),
    ),
    "steps_with_underscore": (
        f"{STUDY}.defaults.training",
        "steps: 25_000 # !",
        'steps = "25_000"',
        ("write 25000",),
    ),
    "learning_rate_zero": (
        f"{STUDY}.defaults.training",
        "lr: 0.0 # !",
        "lr = 0.0",
        ("a number greater than 0",),
    ),
    "one_beta": (
        f"{STUDY}.defaults.training",
        "betas: [0.9] # !",
        "training.betas",
        ("too few", "2 items"),
    ),
    "three_betas": (
        f"{STUDY}.defaults.training",
        "betas: [0.9, 0.98, 0.99] # !",
        "betas = [0.9, 0.98, 0.99]",
        ("2 items",),
    ),
    "beta_one": (
        f"{STUDY}.defaults.training",
        "betas: [0.9, 1.0] # !",
        "betas[1] = 1.0",
        ("less than 1",),
    ),
    "more_checkpoints_than_steps": (
        f"{STUDY}.defaults.training",
        "steps: 100\ncheckpoints: 102 # !",
        "checkpoints = 102",
        ("at most 101 with steps 100",),
    ),
    "warmup_longer_than_training": (
        f"{STUDY}.defaults.training",
        "warmup_steps: 7000 # !",
        "warmup_steps = 7000",
        ("at most 6000",),
    ),
    "never_evaluated": (
        f"{STUDY}.defaults.training",
        "eval_every: 6001 # !",
        "eval_every = 6001",
        ("at most 6000",),
    ),
    "early_stop_is_a_number": (
        f"{STUDY}.defaults.training",
        "stop: 3 # !",
        "stop = 3",
        ("test_accuracy, sustained, extra_steps or null",),
    ),
    # sites
    "site_of_absent_layer": (
        f"{STUDY}.defaults.activations",
        "sites: [hook_logits, blocks.0.hook_resid_mid, blocks.0.mlp.hook_post,\n"
        "        blocks.1.hook_resid_post] # !",
        'activations.sites[3] = "blocks.1.hook_resid_post"',
        ("1 layer(s)", "blocks.0.hook_resid_post"),
    ),
    "misspelt_site": (
        f"{STUDY}.defaults.activations",
        "sites: [blocks.0.hook_mlp_post] # !",
        'sites[0] = "blocks.0.hook_mlp_post"',
        ("blocks.0.mlp.hook_post",),
    ),
    "mlp_site_without_mlp": (
        f"{STUDY}.variants.full",
        "model: {d_mlp: 0}\nactivations: {sites: [blocks.0.mlp.hook_post]} # !",
        'activations.sites[0] = "blocks.0.mlp.hook_post"',
        ("d_mlp 0", "blocks.0.hook_resid_post"),
    ),
    "probe_of_unread_site": (
        f"{STUDY}.defaults",
        "activations: {sites: [hook_logits]}\nprobe: {sites: [blocks.0.attn.hook_z]} # !",
        'probe.sites[0] = "blocks.0.attn.hook_z"',
        ("allowed: hook_logits",),
    ),
    "probe_of_pattern": (
        f"{STUDY}.defaults",
        "activations: {sites: [hook_logits, blocks.0.attn.hook_pattern]}\n"
        "probe: {sites: [blocks.0.attn.hook_pattern]} # !",
        'probe.sites[0] = "blocks.0.attn.hook_pattern"',
        ("allowed: hook_logits",),
    ),
    "no_sites": (
        f"{STUDY}.defaults.probe",
        "sites: [] # !",
        "probe.sites = []",
        ("at least 1 item",),
    ),
    # analysis
    "negative_penalty": (
        f"{STUDY}.defaults.probe",
        "penalties: [1.0, -1.0] # !",
        "penalties[1] = -1.0",
        ("greater than 0",),
    ),
    "more_directions_than_dimensions": (
        f"{STUDY}.defaults.spectra",
        "principal_directions: 60 # !",
        "principal_directions = 60",
        ("at most 53", "d_model and p"),
    ),
    "more_neurons_than_there_are": (
        f"{STUDY}.defaults.spectra",
        "example_neurons: 257 # !",
        "example_neurons = 257",
        ("at most 256 (d_mlp)",),
    ),
    "unknown_rule": (
        f"{STUDY}.defaults.spectra.key_frequencies",
        "rule: threshold # !",
        'rule = "threshold"',
        ("norm_ratio, power_share, neuron_clusters",),
    ),
    "definition_twice": (
        f"{STUDY}.defaults.progress",
        "definitions: [block_2x2, block_2x2] # !",
        'definitions = ["block_2x2", "block_2x2"]',
        ("'block_2x2' is listed twice",),
    ),
    # replicates and variants
    "no_replicates": (STUDY, "replicates: 0 # !", "replicates = 0", ("at least 1",)),
    "replicates_left_empty": (STUDY, "replicates: # !", "replicates = null", ("at least 1",)),
    "block_of_none": (STUDY, "block_size: 0 # !", "block_size = 0", ("at least 1",)),
    "run_unknown_variant": (
        STUDY,
        "run: [full, trinary] # !",
        'run[1] = "trinary"',
        ("known variants: full, binary, ternary",),
    ),
    "run_twice": (STUDY, "run: [full, full] # !", 'run = ["full", "full"]', ("listed twice",)),
    "run_nothing": (STUDY, "run: [] # !", "run = []", ("at least 1 item",)),
    "run_is_text": (STUDY, "run: full # !", 'run = "full"', ("write [full]",)),
    "variant_left_empty": (
        f"{STUDY}.variants",
        "full: # !",
        "variants.full = null",
        ("write {}",),
    ),
    "variant_badly_named": (
        f"{STUDY}.variants",
        "Full-2: {} # !",
        "variants.Full-2",
        ("the name must be text such as random_labels",),
    ),
    "variants_alike": (
        STUDY,
        "run: [full, again] # !\nvariants: {again: {}}",
        'run[1] = "again"',
        ("differs in nothing from 'full'", "raise replicates"),
    ),
    # figures and style
    "compare_unknown_variant": (
        f"{STUDY}.figures",
        "compare: [full, half] # !",
        'compare[1] = "half"',
        ("known variants: full",),
    ),
    "compare_nothing_that_runs": (
        STUDY,
        "run: [random_labels]\nfigures: {compare: [full, binary]} # !",
        'compare = ["full", "binary"]',
        ("none of these variants is run",),
    ),
    "replicate_not_trained": (
        f"{STUDY}.figures",
        "replicate: 5 # !",
        "figures.replicate = 5",
        ("less than replicates (5)",),
    ),
    "seed_negative": ("", "seed: -1 # !", "seed = -1", ("at least 0",)),
    "seed_text": ("", "seed: one # !", 'seed = "one"', ("whole number", "not a number")),
    "dpi_too_low": ("style", "dpi: 20 # !", "dpi = 20", ("at least 50 and at most 1200",)),
    "colour_by_name": (
        "style.colours",
        "full: blue # !",
        'colours.full = "blue"',
        ("such as #0072b2",),
    ),
    "colour_of_nothing": (
        "style.colours",
        'half: "#000000" # !',
        "style.colours.half",
        ("no variant of any study",),
    ),
    "section_is_a_list": (
        f"{STUDY}.defaults",
        "model: [1, 2] # !",
        "model = [1, 2]",
        ("a mapping with keys out of n_layers",),
    ),
    "studies_null": ("", "studies: # !", "studies = null", ("modular_addition",)),
}


@pytest.mark.parametrize("name", CASES)
def test_bad_value_is_named_with_place_and_what_is_allowed(name: str, refuse: Refuse) -> None:
    section, text, given, said = CASES[name]
    text = below(section, text) if section else text
    (problem,) = refuse(text)
    message = str(problem)
    line = 1 + next(i for i, row in enumerate(text.splitlines()) if row.endswith("# !"))
    assert (Path(problem.source).name, problem.line) == ("mine.yaml", line), message
    assert given in message
    for part in said:
        assert part in message
    assert problem.key.startswith(section)
    assert "\n" not in message
    for jargon in ("pydantic", "http", "type=", "Input should", "validation error"):
        assert jargon not in message


def test_all_problems_are_listed_at_once_in_order_of_line(refuse: Refuse) -> None:
    text = below(f"{STUDY}.defaults", "training: {steps: 0}\ndataset:\n  p: 1\n  task: x\nq: 1")
    problems = refuse(f"seed: -1\n{text}", style={"dpi": "1"})
    assert [problem.key.rpartition(".")[2] for problem in problems] == [
        *("seed", "steps", "p", "task", "q", "dpi")
    ]
    lines = str(ConfigError(problems)).splitlines()
    assert lines[0] == "The configuration has 6 problems:"
    assert len(lines) == 7


def test_mistake_in_defaults_is_told_once_not_for_every_variant(refuse: Refuse) -> None:
    problems = refuse(below(f"{STUDY}.defaults.training", "lr: fast"))
    assert [problem.key for problem in problems] == [f"{STUDY}.defaults.training.lr"]


def test_mistake_of_variant_is_found_beside_one_in_defaults(refuse: Refuse) -> None:
    text = "defaults: {training: {lr: 0}}\nvariants: {binary: {training: {lr: -1}}}"
    keys = {problem.key for problem in refuse(below(STUDY, text))}
    assert keys == {
        f"{STUDY}.defaults.training.lr",
        f"{STUDY}.variants.binary.training.lr",
    }


def test_variant_that_is_not_run_is_checked_too(refuse: Refuse) -> None:
    text = "run: [full]\nvariants: {idle: {model: {d_model: 0}}}"
    (problem,) = refuse(below(STUDY, text))
    assert problem.key == f"{STUDY}.variants.idle.model.d_model"


def test_place_is_that_of_the_file_that_set_the_value_last(default: Path, tmp_path: Path) -> None:
    first, second = tmp_path / "first.yaml", tmp_path / "second.yaml"
    first.write_text("seed: -1\nstyle: {dpi: 1}\n")
    second.write_text("\n\nseed: -2\n")
    with pytest.raises(ConfigError) as caught:
        load_config([default, first, second])
    places = [(Path(p.source).name, p.line, p.value) for p in caught.value.problems]
    assert places == [("first.yaml", 2, "1"), ("second.yaml", 3, "-2")]


def test_command_line_is_named_as_source(refuse: Refuse) -> None:
    (problem,) = refuse("seed: 1", seed=-3)
    assert str(problem) == "--config: seed = -3: expected a whole number of at least 0"


def test_missing_keys_are_named(tmp_path: Path) -> None:
    alone = tmp_path / "alone.yaml"
    alone.write_text("studies:\n  modular_addition:\n    replicates: 2\n")
    with pytest.raises(ConfigError) as caught:
        load_config([alone])
    assert [(p.key, p.line, p.text.partition(";")[0]) for p in caught.value.problems] == [
        (f"{STUDY}.run", 2, "missing"),
        (f"{STUDY}.variants", 2, "missing"),
    ]


@pytest.mark.parametrize("text", ["seed: 1", "studies: {}"])
def test_at_least_one_study_is_needed(text: str, tmp_path: Path) -> None:
    alone = tmp_path / "alone.yaml"
    alone.write_text(text)
    with pytest.raises(ConfigError, match=r"studies.*modular_addition"):
        load_config([alone])
