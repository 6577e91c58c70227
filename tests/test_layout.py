import dataclasses
import re
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mechflow.artifacts import SCHEMAS, SHARDED, TENSOR_KINDS
from mechflow.artifacts.errors import MADE_BY
from mechflow.blocks import parse_block
from mechflow.layout import (
    ARTEFACTS,
    artefact_path,
    blocks,
    model_path,
    upstream_uses,
)
from mechflow.studies.declaration import Stage, Study
from mechflow.studies.registry import studies


@given(st.integers(1, 2000), st.integers(1, 60))
def test_blocks_cover_every_replicate_once(replicates: int, block_size: int) -> None:
    covered = [r for name in blocks(replicates, block_size) for r in parse_block(name)]
    assert covered == list(range(replicates))


@given(st.integers(1, 100), st.integers(0, 100), st.integers(1, 20))
def test_more_replicates_keep_every_full_block(replicates: int, more: int, block_size: int) -> None:
    full = [b for b in blocks(replicates, block_size) if len(parse_block(b)) == block_size]
    assert blocks(replicates + more, block_size)[: len(full)] == full


def test_the_last_block_may_be_smaller() -> None:
    assert blocks(7, 5) == ["r000-004", "r005-006"]
    assert blocks(10, 5) == ["r000-004", "r005-009"]


def test_an_artefact_lies_where_its_scope_says() -> None:
    block = artefact_path("probes", "number_probes", "sum", "r000-000")
    assert block == "results/number_probes/sum/r000-000/probes.parquet"
    states = "results/number_probes/sum/states/index.parquet"
    assert artefact_path("states", "number_probes", "sum") == states
    assert artefact_path("states", "number_probes", "sum", "r000-000") == states
    assert model_path("llama") == "results/models/llama/files.parquet"


def test_an_artefact_of_a_block_needs_the_block() -> None:
    with pytest.raises(ValueError, match="'probes' belongs to a block of replicates"):
        artefact_path("probes", "number_probes", "sum")


def test_no_two_artefacts_share_a_file() -> None:
    assert len({(place.scope, place.file) for place in ARTEFACTS.values()}) == len(ARTEFACTS)


def test_no_variant_can_be_taken_for_a_block() -> None:
    """Files of a variant lie among the folders of its blocks."""
    for place in ARTEFACTS.values():
        assert not re.fullmatch(r"r\d+-\d+", place.file.split("/")[0])


@pytest.mark.parametrize("artefact", ARTEFACTS)
def test_messages_name_the_rule_that_makes_an_artefact(artefact: str) -> None:
    assert MADE_BY[artefact] == ARTEFACTS[artefact].stage


def test_every_kind_of_file_is_made_by_a_rule_that_messages_can_name() -> None:
    assert {*SCHEMAS, *TENSOR_KINDS} - {"resume"} <= set(MADE_BY)
    for index, shard in SHARDED.items():
        assert MADE_BY[index] == MADE_BY[shard] == ARTEFACTS[index].stage


@pytest.mark.parametrize("artefact", ARTEFACTS)
def test_an_artefact_is_a_table_with_columns_or_tensors(artefact: str) -> None:
    declared = SCHEMAS if ARTEFACTS[artefact].file.endswith(".parquet") else TENSOR_KINDS
    assert artefact in declared


def toy(*stages: Stage) -> Study:
    return dataclasses.replace(studies()["number_probes"], stages=stages)


PROMPTS = Stage("prompts", uses=("prompts",))
EXTRACT = Stage("extract", reads=("model", "prompts"), uses=("model.weights", "extraction"))
READOUT = Stage("readout", reads=("prompts", "states"), uses=("prompts.limit", "readout"))


def test_what_an_artefact_depends_on_is_found_through_all_stages() -> None:
    study = toy(PROMPTS, EXTRACT, READOUT)
    assert upstream_uses(study, ("prompts",)) == ("prompts",)
    assert upstream_uses(study, ("states",)) == ("extraction", "model.weights", "prompts")
    everything = ("extraction", "model.weights", "prompts", "prompts.limit", "readout")
    assert upstream_uses(study, ("readout_weights",)) == everything


def test_a_language_model_is_no_stage_of_the_study() -> None:
    study = toy(PROMPTS, EXTRACT)
    assert upstream_uses(study, ("model",)) == ()
    assert upstream_uses(study, ("model", "prompts")) == ("prompts",)


def test_the_layout_needs_no_torch() -> None:
    """It is imported whenever Snakemake parses the workflow."""
    code = "import sys, mechflow.layout, mechflow.pipeline; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
