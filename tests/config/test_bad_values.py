"""Values of dataset, model and training that cannot be: one line each that says so."""

from collections.abc import Callable

import pytest

STUDY = "studies.modular_addition"
Case = tuple[str, str, str, tuple[str, ...]]

# name: (section, text with "# !" on the line to be named, key and value, what is said)
CASES: dict[str, Case] = {
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
        ("one split would be empty", "unordered pairs to divide"),
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
        ("at most", "with steps"),
    ),
    "never_evaluated": (
        f"{STUDY}.defaults.training",
        "eval_every: 6001 # !",
        "eval_every = 6001",
        ("at most", "with steps"),
    ),
    "early_stop_is_a_number": (
        f"{STUDY}.defaults.training",
        "stop: 3 # !",
        "stop = 3",
        ("test_accuracy, sustained, extra_steps or null",),
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_mistake_is_named_with_place_and_what_is_allowed(
    name: str, assert_refused: Callable[..., None]
) -> None:
    assert_refused(*CASES[name])
