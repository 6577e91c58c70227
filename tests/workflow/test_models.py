"""Language models in odd places, and what a study waits for before it reads one."""

import shutil
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml

from mechflow.artifacts import read_provenance
from tests.workflow.offline import MODEL, STUDY, offline
from tests.workflow.workspace import SCALED, Workspace

CHECK = f"results/{STUDY}/plain/check.parquet"
EXTRACTION = f"results/{STUDY}/plain/extraction.parquet"
FILES = "results/models/tiny/files.parquet"


def overlay(
    folder: str = MODEL, template: str = "{a} + {b} =", pairs: int = 4, position: str = "b"
) -> dict[str, Any]:
    """One variant on a local model, and as little of it as there can be."""
    plain = {
        "prompts": {"sample": 40, "template": template},
        "extraction": {"position": position},
        "interventions": {"pairs": pairs, "operand_digits": 2},
    }
    return {
        "models": {"tiny": {"folder": folder}},
        "studies": {
            STUDY: {
                "run": ["plain"],
                "defaults": {"model": {"name": "tiny"}},
                "variants": {"plain": plain},
                "figures": {"main": "plain", "untrained": None, "sums": None, "causal": None},
            }
        },
    }


def configure(workspace: Workspace, **changes: Any) -> None:
    workspace.write("config/test.yaml", yaml.safe_dump(overlay(**changes)))


def times(workspace: Workspace) -> dict[str, int]:
    """When each artefact of the variant was made."""
    return {
        path.name: path.stat().st_mtime_ns
        for path in workspace.path(f"results/{STUDY}/plain").rglob("*.parquet")
    }


def test_an_extraction_waits_for_the_check_and_does_not_go_stale_with_it(
    tmp_path: Path, tiny_llama_numbers_folder: Path
) -> None:
    # Behind this template the answer 7 would be part of the token 17.
    merging = "{a} {b} 1"
    workspace = offline(tmp_path, tiny_llama_numbers_folder, overlay(template=merging))
    ran = workspace.snakemake("--cores", "2", *SCALED, "--", EXTRACTION)
    assert "the answer does not begin with a token of its own" in ran.stderr
    assert times(workspace).keys() == {"prompts.parquet"}

    configure(workspace, template=merging, pairs=0)
    workspace.make(*SCALED, "--", EXTRACTION)
    made, passed = times(workspace), workspace.path(CHECK).read_bytes()
    assert pd.read_parquet(workspace.path(CHECK))["quantity"].tolist() == ["states"]

    configure(workspace, template=merging, pairs=4)
    failed = workspace.snakemake("--cores", "2", *SCALED, "--", EXTRACTION, CHECK)
    assert failed.returncode != 0
    # Snakemake keeps the last check that passed, with another time.
    assert workspace.path(CHECK).read_bytes() == passed

    configure(workspace, template=merging, pairs=0)
    workspace.make(*SCALED, "--", EXTRACTION, CHECK)
    assert {**times(workspace), "check.parquet": made["check.parquet"]} == made

    configure(workspace, template="{a} + {b} =", pairs=4)
    workspace.make(*SCALED, "--", EXTRACTION)
    made_again = times(workspace)
    assert all(made_again[name] > made[name] for name in made)
    found = pd.read_parquet(workspace.path(CHECK)).set_index("quantity")
    assert found.index.tolist() == ["states", "patched_runs", "pairs_left_out"]
    assert (found["value"][:2] < found["allowed"][:2]).all()

    configure(workspace, template="{a} + {b} =", pairs=3)
    workspace.make(*SCALED, "--", EXTRACTION, CHECK)
    changed = {name for name, time in times(workspace).items() if time != made_again[name]}
    assert changed == {"check.parquet"}

    # Both are stale by themselves: one run makes both, though Snakemake plans one at a time.
    configure(workspace, position="last", pairs=3)
    workspace.make(*SCALED, "--", EXTRACTION)
    spec = read_provenance(workspace.path(EXTRACTION), "extraction").spec
    assert spec["values"]["extraction"]["position"] == "last"


@pytest.mark.parametrize(
    "spelling", ["results/models/tiny", "config/../results/models/other", "{folder}", "link"]
)
def test_a_model_that_would_replace_itself_is_refused_before_anything_runs(
    tmp_path: Path, tiny_llama_folder: Path, spelling: str
) -> None:
    """Bug: every file of it, weights included, became a link to itself."""
    workspace = offline(tmp_path, tiny_llama_folder, overlay())
    own = Path(shutil.copytree(tiny_llama_folder, workspace.path("results/models/tiny")))
    shutil.copytree(tiny_llama_folder, workspace.path("results/models/other"))
    workspace.path("link").symlink_to("results/models/tiny")
    before = {path.name: path.read_bytes() for path in own.iterdir()}
    configure(workspace, folder=spelling.format(folder=own))
    for options in (("-n",), ("--cores", "1")):
        ran = workspace.snakemake(*options, *SCALED)
        assert ran.returncode != 0
        assert "models.tiny.folder = " in ran.stderr
        assert "where mechflow puts models itself" in ran.stderr
        assert "Traceback" not in ran.stderr
    assert {path.name: path.read_bytes() for path in own.iterdir()} == before
    assert not any(path.is_symlink() for path in own.iterdir())


def test_braces_in_a_folder_are_refused_in_words(tmp_path: Path, tiny_llama_folder: Path) -> None:
    workspace = offline(tmp_path, tiny_llama_folder, overlay(folder="my {odd} model"))
    workspace.path(MODEL).rename(workspace.path("my {odd} model"))
    ran = workspace.snakemake("-n", *SCALED)
    assert 'models.tiny.folder = "my {odd} model"' in ran.stderr
    assert "give my {odd} model another name" in ran.stderr
    assert "WildcardError" not in ran.stderr


def test_another_model_takes_the_place_of_the_first_wherever_it_lies(
    tmp_path: Path, tiny_llama_folder: Path, tiny_llama_numbers_folder: Path
) -> None:
    """Bug: what was loaded were the first model's files, if it had files of other names."""
    workspace = offline(tmp_path, tiny_llama_folder, overlay(folder="my odd $model"))
    workspace.path(MODEL).rename(workspace.path("my odd $model"))
    home = workspace.path("home")
    shutil.copytree(tiny_llama_numbers_folder, home / "other")
    (home / "other" / "special_tokens_map.json").write_text("{}")
    placed = workspace.path(FILES).parent
    workspace.make(*SCALED, "--", FILES)
    weights = workspace.path("my odd $model") / "model.safetensors"
    assert (placed / "model.safetensors").samefile(weights)
    first = {path.name for path in placed.iterdir() if not path.name.startswith(".")}

    configure(workspace, folder="~/other")
    workspace.make(*SCALED, "--", FILES, HOME=str(home))
    listed = set(pd.read_parquet(workspace.path(FILES))["file"])
    present = {path.name for path in placed.iterdir() if not path.name.startswith(".")}
    assert present == listed | {"files.parquet"} != first
    assert all((placed / name).samefile(home / "other" / name) for name in listed)
