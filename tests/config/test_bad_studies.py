"""Keys, sites, variants and figures that do not exist or fit: one line each that says so."""

from collections.abc import Callable

import pytest

STUDY = "studies.modular_addition"
Case = tuple[str, str, str, tuple[str, ...]]

# name: (section, text with "# !" on the line to be named, key and value, what is said)
CASES: dict[str, Case] = {
    # unknown keys
    "unknown_top_level_key": (
        "",
        "sead: 3 # !",
        "sead = 3",
        ("'seed'", "seed, style, models, studies"),
    ),
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
    "dotted_key": (
        "",
        "style.dpi: 200 # !",
        "style.dpi = 200",
        ("a dot does not nest keys; write style: {dpi: 200}",),
    ),
    "key_of_two_dots": (
        STUDY,
        "defaults.dataset.p: 31 # !",
        "defaults.dataset.p = 31",
        ("write defaults: {dataset: {p: 31}}",),
    ),
    "dotted_key_that_leads_nowhere": (
        "",
        "style.dpj: 200 # !",
        "style.dpj = 200",
        ("unknown key; did you mean 'style'?",),
    ),
    "key_without_resemblance": ("", "qqq: 1 # !", "qqq = 1", ("unknown key; allowed: seed",)),
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
        ("d_model and p",),
    ),
    "more_neurons_than_there_are": (
        f"{STUDY}.defaults.spectra",
        "example_neurons: 257 # !",
        "example_neurons = 257",
        ("(d_mlp)",),
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
def test_mistake_is_named_with_place_and_what_is_allowed(
    name: str, assert_refused: Callable[..., None]
) -> None:
    assert_refused(*CASES[name])
