"""Tasks, train sets and models of the phase changes study that cannot be."""

from collections.abc import Callable

import pytest

STUDY = "studies.phase_changes"
Case = tuple[str, str, str, tuple[str, ...]]

# name: (section, text with "# !" on the line to be named, key and value, what is said)
CASES: dict[str, Case] = {
    # tasks
    "unknown_task": (
        f"{STUDY}.variants.addition.data",
        "\ntask: adition # !",
        'addition.data.task = "adition"',
        ("expected one of addition, skip_trigram, induction",),
    ),
    "task_left_empty": (
        f"{STUDY}.variants.induction.data",
        "task: # !",
        "induction.data.task = null",
        ("addition, skip_trigram, induction",),
    ),
    "one_digit": (
        f"{STUDY}.variants.addition.data.addition",
        "n_digits: 1 # !",
        "addition.n_digits = 1",
        ("at least 2 and at most 15",),
    ),
    "digits_that_no_number_holds": (
        f"{STUDY}.variants.addition.data.addition",
        "n_digits: 16 # !",
        "addition.n_digits = 16",
        ("at least 2 and at most 15",),
    ),
    "one_trigger": (
        f"{STUDY}.variants.skip_trigram.data.skip_trigram",
        "n_triggers: 1 # !",
        "n_triggers = 1",
        ("at least 2",),
    ),
    "copies_that_do_not_fit": (
        f"{STUDY}.variants.induction.data.induction",
        "subseq_len: 21 # !",
        "induction.subseq_len = 21",
        ("at most 20: 3 copies share 60 positions",),
    ),
    "copies_that_do_not_fit_any_more": (
        f"{STUDY}.variants.induction_finite.data.induction",
        "repeats: 7\nsubseq_len: 10 # !",
        "induction.subseq_len = 10",
        ("at most 8: 7 copies share 60 positions",),
    ),
    "one_copy": (
        f"{STUDY}.variants.induction.data.induction",
        "repeats: 1 # !",
        "induction.repeats = 1",
        ("at least 2",),
    ),
    "one_token_to_choose_from": (
        f"{STUDY}.variants.induction.data.induction",
        "d_vocab: 2 # !",
        "induction.d_vocab = 2",
        ("at least 3",),
    ),
    "no_test_set": (
        f"{STUDY}.defaults.data",
        "test_examples: 0 # !",
        "data.test_examples = 0",
        ("at least 1",),
    ),
    # finite and infinite data
    "infinite_data_all_at_once": (
        f"{STUDY}.variants.addition.training",
        "batch_size: null # !",
        "addition.training.batch_size = null",
        ("infinite data come in batches: give a number, or a finite train set",),
    ),
    "infinite_data_where_batches_were_the_whole": (
        f"{STUDY}.variants.skip_trigram_finite",
        "finite: null\ntraining: {batch_size: null} # !",
        "skip_trigram_finite.training.batch_size = null",
        ("infinite data come in batches",),
    ),
    "batch_larger_than_the_train_set": (
        f"{STUDY}.variants.induction_finite.training",
        "batch_size: 1025 # !",
        "induction_finite.training.batch_size = 1025",
        ("at most finite.examples (1024)", "null takes all"),
    ),
    "train_set_smaller_than_a_batch": (
        f"{STUDY}.variants.addition_finite",
        "finite: {examples: 63}\ntraining: {batch_size: 64} # !",
        "addition_finite.training.batch_size = 64",
        ("at most finite.examples (63)",),
    ),
    "no_batch": (
        f"{STUDY}.variants.induction.training",
        "batch_size: 0 # !",
        "training.batch_size = 0",
        ("at least 1", "null"),
    ),
    "more_than_half_of_all_sums": (
        f"{STUDY}.variants.addition_finite",
        "data: {addition: {n_digits: 2}}\nfinite: {examples: 5001} # !",
        "addition_finite.finite.examples = 5001",
        ("at most 5000, half of the 10000 sums of so many digits",),
    ),
    "finite_without_a_number": (
        f"{STUDY}.variants.addition",
        "finite: {} # !",
        "addition.finite.examples",
        ("missing; expected a whole number of at least 1",),
    ),
    # models and their training
    "models_that_see_the_answers": (
        f"{STUDY}.variants.addition.model",
        "causal: false # !",
        "addition.model.causal = false",
        ("the answers are part of the sequences, so attention must be causal",),
    ),
    "head_without_width": (
        f"{STUDY}.variants.skip_trigram.model",
        "d_head: 0 # !",
        "skip_trigram.model.d_head = 0",
        ("at least 1", "null"),
    ),
    "residual_stream_lost": (
        f"{STUDY}.variants.induction.model",
        "residual_gain: 0.0 # !",
        "model.residual_gain = 0.0",
        ("greater than 0",),
    ),
    "unknown_loss_factor": (
        f"{STUDY}.variants.induction.training",
        "loss_factor: sum # !",
        'training.loss_factor = "sum"',
        ("mean, published",),
    ),
    # analysis and figures
    "too_few_examples_to_probe": (
        f"{STUDY}.defaults.probe",
        "examples: 9 # !",
        "probe.examples = 9",
        ("at least 10",),
    ),
    "no_penalties": (
        f"{STUDY}.defaults.probe",
        "penalties: [] # !",
        "probe.penalties = []",
        ("at least 1 item",),
    ),
    "one_checkpoint": (
        f"{STUDY}.defaults.progress",
        "checkpoints: 1 # !",
        "progress.checkpoints = 1",
        ("at least 2",),
    ),
    "unknown_ablation": (
        f"{STUDY}.defaults.interventions",
        "ablation: resample # !",
        'interventions.ablation = "resample"',
        ("zero, mean",),
    ),
    "replicate_not_trained": (
        f"{STUDY}.figures",
        "replicate: 5 # !",
        "figures.replicate = 5",
        ("less than replicates (5), since replicates count from 0",),
    ),
    "fewer_replicates_than_the_one_shown": (
        STUDY,
        "replicates: 2\nfigures: {replicate: 2} # !",
        "figures.replicate = 2",
        ("less than replicates (2)",),
    ),
    # unknown keys
    "misspelt_key_of_data": (
        f"{STUDY}.defaults.data",
        "test_example: 9 # !",
        "data.test_example = 9",
        ("did you mean 'test_examples'?", "allowed: task, addition, skip_trigram, induction"),
    ),
    "misspelt_key_of_training": (
        f"{STUDY}.variants.addition.training",
        "batchsize: 9 # !",
        "training.batchsize = 9",
        ("did you mean 'batch_size'?",),
    ),
    "misspelt_task_section": (
        f"{STUDY}.variants.skip_trigram.data",
        "skip_trigrams: {seq_len: 9} # !",
        "data.skip_trigrams",
        ("did you mean 'skip_trigram'?",),
    ),
    "key_of_another_task": (
        f"{STUDY}.variants.addition.data.addition",
        "seq_len: 9 # !",
        "data.addition.seq_len = 9",
        ("unknown key", "allowed: n_digits"),
    ),
    "key_one_level_too_high": (
        f"{STUDY}.variants.addition",
        "batch_size: 9 # !",
        "addition.batch_size = 9",
        ("did you mean 'training.batch_size'?",),
    ),
    "figure_choice_of_another_study": (
        f"{STUDY}.figures",
        "main: addition # !",
        "figures.main",
        ("unknown key", "allowed: replicate"),
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_mistake_is_named_with_place_and_what_is_allowed(
    name: str, assert_refused: Callable[..., None]
) -> None:
    assert_refused(*CASES[name])
