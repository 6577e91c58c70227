import json
import random
import subprocess
import sys

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from mechflow.seeds import Seeds

SEEDS = Seeds(0, "modular_addition", "full")


def test_known_values() -> None:
    assert SEEDS.integer(0, "split") == 2416991217717697478
    assert SEEDS.integer(None, "split") == 4671250800419113888
    assert SEEDS.torch(3, "initial_weights").initial_seed() == SEEDS.integer(3, "initial_weights")
    assert torch.randint(1000, (3,), generator=SEEDS.torch(0, "split")).tolist() == [431, 803, 621]
    assert SEEDS.numpy(0, "split").integers(1000, size=3).tolist() == [373, 20, 121]


@given(
    root=st.integers(0, 2**64),
    replicate=st.none() | st.integers(0, 1000),
    purpose=st.text(max_size=20),
)
def test_seeds_fit_every_generator(root: int, replicate: int | None, purpose: str) -> None:
    assert 0 <= Seeds(root, "s", "v").integer(replicate, purpose) < 2**63


def test_every_part_of_the_name_gives_another_stream() -> None:
    streams = {
        Seeds(root, study, variant).integer(replicate, purpose)
        for root in (0, 1)
        for study in ("a", "b")
        for variant in ("a", "b")
        for replicate in (None, 0, 1)
        for purpose in ("a", "b")
    }
    assert len(streams) == 48


def test_streams_start_anew_each_time_and_are_unrelated() -> None:
    first = SEEDS.numpy(0, "split").normal(size=4000)
    assert np.array_equal(first, SEEDS.numpy(0, "split").normal(size=4000))
    other = SEEDS.numpy(1, "split").normal(size=4000)
    assert abs(np.corrcoef(first, other)[0, 1]) < 0.07


def test_no_global_generator_is_touched() -> None:
    before = torch.get_rng_state(), np.random.get_state()[1].tolist(), random.getstate()  # noqa: NPY002
    torch.rand(3, generator=SEEDS.torch(0, "split"))
    SEEDS.numpy(0, "split").random(3)
    after = torch.get_rng_state(), np.random.get_state()[1].tolist(), random.getstate()  # noqa: NPY002
    assert torch.equal(before[0], after[0])
    assert before[1:] == after[1:]


def test_the_module_needs_neither_torch_nor_numpy() -> None:
    script = (
        "import json, sys; from mechflow.seeds import Seeds; "
        "value = Seeds(0, 'modular_addition', 'full').integer(0, 'split'); "
        "print(json.dumps([value, 'torch' in sys.modules, 'numpy' in sys.modules]))"
    )
    answer = subprocess.run(
        [sys.executable, "-c", script], check=True, capture_output=True, text=True
    )
    assert json.loads(answer.stdout) == [SEEDS.integer(0, "split"), False, False]
