"""The number probes from nothing to the report: offline, on a tiny language model.

Interrupted or not, in whichever folder, they must end with the same bytes.
"""

import html
import os
import re
import time
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import TypeVar

import pandas as pd
import pytest

from mechflow.studies.number_probes.study import STUDY as DECLARED
from tests.tiny_llamas import save_digit_llama, save_number_llama
from tests.workflow.offline import MODEL, NUMBERS, STUDY, network_use, offline
from tests.workflow.workspace import SCALED, Workspace, results, script

Found = TypeVar("Found")
VARIANTS = ("operand", "random_model", "in_context", "sum")
_PATIENCE = 120.0
"""Seconds within which something that a test waits for must happen."""


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_digit_llama(tmp_path_factory.mktemp("model") / "digits")


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory, model: Path) -> Workspace:
    """A workspace in which everything was made in one go."""
    workspace = offline(tmp_path_factory.mktemp("undisturbed"), model, NUMBERS)
    workspace.make(*SCALED)
    workspace.keep()
    return workspace


def artefacts(variant: str) -> list[str]:
    """Everything that the stages of a variant make."""
    of_variant = ("prompts", "extraction", "behaviour", "geometry")
    of_block = ("folds", "readout", "readout_values", "probes", "spectra", "interventions")
    names = [*of_variant, *(f"r000-000/{name}" for name in of_block)]
    arrays = ("geometry", "r000-000/readout", "r000-000/spectra")
    files = [f"{name}.parquet" for name in names] + [f"{name}.safetensors" for name in arrays]
    return [f"results/{STUDY}/{variant}/{name}" for name in files]


def test_everything_planned_is_made_and_nothing_else_but_states(undisturbed: Workspace) -> None:
    made = {f"results/{name}" for name in results(undisturbed)}
    states = {name for name in made if re.search(r"/states/examples-\d{8}\.safetensors$", name)}
    assert made - states == set(undisturbed.plan(*SCALED))
    assert {name.split("/")[2] for name in states} == set(VARIANTS)
    assert {name for variant in VARIANTS for name in artefacts(variant)} <= made


def test_figures_tables_and_the_scoreboard_show_the_study(undisturbed: Workspace) -> None:
    made = results(undisturbed)
    page = html.unescape(made["report.html"].decode())
    for figure in DECLARED.figures:
        for suffix, magic in (("pdf", b"%PDF"), ("png", b"\x89PNG"), ("parquet", b"PAR1")):
            assert made[f"figures/{STUDY}/{figure.name}.{suffix}"].startswith(magic)
        assert figure.title in page
    for table in DECLARED.tables:
        for suffix in ("parquet", "tex", "md"):
            assert made[f"tables/{STUDY}/{table.name}.{suffix}"]
    verdicts = pd.read_parquet(undisturbed.path("results/replication.parquet"))
    assert set(verdicts["study"]) == {STUDY}


def test_a_second_run_does_nothing(undisturbed: Workspace) -> None:
    assert "Nothing to be done" in undisturbed.make(*SCALED).stderr


def test_a_figure_tables_and_verdicts_made_again_have_the_same_bytes(
    undisturbed: Workspace,
) -> None:
    """One figure of all: tests of their own draw each of them twice."""
    before = results(undisturbed)
    figure = f"results/figures/{STUDY}/sums.pdf"
    undisturbed.make(*SCALED, "--forcerun", figure, "table", "claims")
    assert differing(results(undisturbed), before) == []


def test_nothing_reached_for_the_network(undisturbed: Workspace) -> None:
    assert network_use(undisturbed) == ""


def test_killed_and_resumed_in_another_folder_gives_the_same_bytes(
    undisturbed: Workspace, model: Path, tmp_path: Path
) -> None:
    """What a random model gives is made in both folders too."""
    killed = offline(tmp_path, model, NUMBERS)
    first, shards = kill_extraction(killed, "in_context")
    killed.make(*SCALED, "--", *artefacts("in_context"), artefacts("random_model")[1])
    log = killed.path(f"logs/{STUDY}/in_context/extract.log").read_text()
    assert f"kept {first}" in log
    assert log.count("kept examples-") == shards
    ours, theirs = results(killed), results(undisturbed)
    assert {name for name in theirs if "in_context/" in name} <= ours.keys()
    assert any("random_model/states/" in name for name in ours)
    assert ours.keys() <= theirs.keys()
    assert differing(ours, {name: theirs[name] for name in ours}) == []


def kill_extraction(workspace: Workspace, variant: str) -> tuple[str, int]:
    """Kills the extraction after its first file; name of that, and how many files were written."""
    index = f"results/{STUDY}/{variant}/states/index.parquet"
    states = workspace.path(index).parent
    snakemake = workspace.start("--cores", "1", *SCALED, "--", index)
    victim = wait_for(lambda: script(snakemake, "extract"))
    wait_for(lambda: sorted(states.glob("examples-*.safetensors")))
    victim.kill()
    _, messages = snakemake.communicate(timeout=_PATIENCE)
    assert snakemake.returncode != 0, messages
    assert not workspace.path(index).exists()
    written = sorted(states.glob("examples-*.safetensors"))
    return written[0].name, len(written)


def wait_for(find: Callable[[], Found | None]) -> Found:
    deadline = time.monotonic() + _PATIENCE
    while not (found := find()):
        assert time.monotonic() < deadline, "it never came to this"
        time.sleep(0.002)
    return found


def differing(ours: dict[str, bytes], theirs: dict[str, bytes]) -> list[str]:
    """Names of results that are not the same on both sides."""
    return sorted(
        name for name in ours.keys() | theirs.keys() if ours.get(name) != theirs.get(name)
    )


def flip_a_bit(workspace: Workspace, name: str) -> None:
    """Alters a byte in the middle of a file, which keeps its time."""
    path = workspace.path(name)
    times = path.stat()
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    workspace.write(name, bytes(data))
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))


def failing(workspace: Workspace, *arguments: str) -> str:
    """What a run says that must fail in plain words."""
    ran = workspace.snakemake("--cores", "2", *SCALED, *arguments)
    assert ran.returncode != 0
    assert "Traceback" not in ran.stderr
    return ran.stderr


def follow(said: str, workspace: Workspace) -> None:
    """Deletes the files that messages ask to delete."""
    asked = set(re.findall(r"delete (\S+) and run snakemake again", said))
    assert asked
    for name in asked:
        workspace.path(name).unlink()


def test_damaged_and_missing_states_are_named_and_remade(undisturbed: Workspace) -> None:
    before = results(undisturbed)
    damaged, missing = (
        f"results/{STUDY}/{variant}/states/examples-00000200.safetensors"
        for variant in ("operand", "random_model")
    )
    flip_a_bit(undisturbed, damaged)
    undisturbed.path(missing).unlink()
    wanted = [f"results/{STUDY}/{name}/geometry.parquet" for name in ("operand", "random_model")]
    said = failing(undisturbed, "--forcerun", "geometry", "--", *wanted)
    assert f"{damaged}: damaged" in said
    assert f"{missing}: " in said
    assert said.count("Made by the rule 'extract'") >= 2
    follow(said, undisturbed)
    undisturbed.make(*SCALED, "--", *wanted)
    undisturbed.keep()
    assert differing(results(undisturbed), before) == []
    assert undisturbed.stale(*SCALED) == set()


def test_a_model_that_changed_behind_its_list_is_named(undisturbed: Workspace) -> None:
    before = results(undisturbed)
    flip_a_bit(undisturbed, f"{MODEL}/model.safetensors")
    wanted = f"results/{STUDY}/operand/behaviour.parquet"
    said = failing(undisturbed, "--forcerun", "behaviour", "--", wanted)
    assert "results/models/tiny/model.safetensors: differs" in said
    assert "Made by the rule 'fetch'" in said
    undisturbed.restore()
    follow(said, undisturbed)
    undisturbed.make(*SCALED, "--", wanted)
    assert differing(results(undisturbed), before) == []
    assert undisturbed.stale(*SCALED) == set()


def test_a_model_that_is_cut_short_is_refused_before_anything_reads_it(
    undisturbed: Workspace,
) -> None:
    before = results(undisturbed)
    name = f"{MODEL}/model.safetensors"
    undisturbed.write(name, undisturbed.path(name).read_bytes()[:-100])
    wanted = "results/models/tiny/files.parquet"
    said = failing(undisturbed, "--", wanted)
    assert f"{name} is not a whole safetensors file" in said
    assert "Copy or download it again" in said
    undisturbed.restore()
    undisturbed.make(*SCALED, "--", wanted)
    assert differing(results(undisturbed), before) == []
    assert undisturbed.stale(*SCALED) == set()


def test_numbers_of_one_token_each(tmp_path: Path) -> None:
    """As Llama 3 writes them, after a token for the beginning."""
    overlay = deepcopy(NUMBERS)
    overlay["studies"][STUDY] |= {
        "run": ["in_context"],
        "figures": {"main": "in_context", "untrained": None, "sums": None, "causal": None},
    }
    workspace = offline(tmp_path / "repository", save_number_llama(tmp_path / "model"), overlay)
    files = artefacts("in_context")
    asked = [name for name in files if re.search("extraction|behaviour|interventions", name)]
    workspace.make(*SCALED, "--", *asked)
    behaviour, errors, interventions = (
        pd.read_parquet(workspace.path(f"results/{STUDY}/in_context/{name}.parquet"))
        for name in ("behaviour", "extraction", "r000-000/interventions")
    )
    assert set(behaviour["first_token_correct"]) <= {0, 1}  # the sum has a first token: its only
    assert len(errors) == 3 * 5
    exchanged = interventions[interventions["control"] == "none"].groupby("tokens")
    last, operand = (
        exchanged.get_group(tokens).drop(columns="tokens").reset_index(drop=True)
        for tokens in ("last", "operand")
    )
    pd.testing.assert_frame_equal(last, operand)  # the operand's last token is all of it
    assert network_use(workspace) == ""
