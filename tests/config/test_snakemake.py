"""The loader inside a Snakefile: what Snakemake users type, and what they see."""

import shutil
import subprocess
import sys
from pathlib import Path
from textwrap import dedent

import pytest

from mechflow.config.loading import load_config

pytestmark = pytest.mark.workflow

SNAKEFILE = """
    import sys

    from mechflow.config.loading import ConfigError, load_config, workflow_files

    try:
        loaded = load_config(
            workflow_files(
                "config/config.yaml",
                workflow.overwrite_configfiles,
                replace=workflow.config_settings.replace_workflow_config,
            ),
            workflow.config_settings.config,
        )
    except ConfigError as error:
        sys.exit(str(error))

    block = loaded.studies["modular_addition"]
    print("LOADED", loaded.seed, block.replicates, block.defaults.dataset.p)

    configfile: "config/config.yaml"

    rule all:
        shell: "true"
"""


@pytest.fixture
def workdir(tmp_path: Path, default: Path) -> Path:
    (tmp_path / "Snakefile").write_text(dedent(SNAKEFILE))
    shutil.copytree(default.parent, tmp_path / "config")
    return tmp_path


def snakemake(workdir: Path, *arguments: str) -> tuple[int, str]:
    command = [sys.executable, "-m", "snakemake", "-n", *arguments]
    result = subprocess.run(command, cwd=workdir, capture_output=True, text=True, check=False)
    return result.returncode, result.stdout + result.stderr


@pytest.mark.parametrize(
    ("arguments", "loaded"),
    [
        ((), "default"),
        (("--configfile", "config/config.yaml", "config/smoke.yaml"), "smoke"),
        (("--configfile", "config/smoke.yaml"), "smoke"),
        (
            (
                *("--configfile", "config/smoke.yaml", "--config", "seed=3"),
                "studies={modular_addition: {defaults: {dataset: {p: 29}}}}",
            ),
            "smoke at p = 29 from seed 3",
        ),
    ],
)
def test_what_users_type_is_what_is_loaded(
    workdir: Path, arguments: tuple[str, ...], loaded: str
) -> None:
    files = ["config.yaml"] if loaded == "default" else ["config.yaml", "smoke.yaml"]
    config = load_config([workdir / "config" / name for name in files])
    block = config.studies["modular_addition"]
    seed, p = (3, 29) if loaded.endswith("seed 3") else (config.seed, block.defaults.dataset.p)
    code, output = snakemake(workdir, *arguments)
    assert code == 0, output
    assert f"LOADED {seed} {block.replicates} {p}\n" in output


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("seed: -1\n", "config/config.yaml:1: seed = -1: expected a whole number of at least 0"),
        ("seed: [\n", "config/config.yaml:2: not valid YAML"),
    ],
)
def test_bad_default_file_gives_one_message_and_no_traceback(
    workdir: Path, text: str, message: str
) -> None:
    file = workdir / "config" / "config.yaml"
    rest = file.read_text().replace("seed: 0\n", "") if "[" not in text else ""
    file.write_text(text + rest)
    code, output = snakemake(workdir)
    assert code != 0
    assert output.startswith("The configuration has 1 problem:\n")
    assert message in output
    assert "Traceback" not in output
    assert len(output.strip().splitlines()) == 2


def test_a_default_file_in_latin_1_is_refused_in_words(workdir: Path) -> None:
    file = workdir / "config" / "config.yaml"
    file.write_bytes(b"# caf\xe9\n" + file.read_bytes())
    code, output = snakemake(workdir)
    assert code != 0
    assert "  config/config.yaml:1: the file is not UTF-8; save it as UTF-8\n" in output
    assert "Traceback" not in output


def test_a_dotted_key_that_reaches_the_loader_is_refused_in_words(workdir: Path) -> None:
    code, output = snakemake(workdir, "--config", "studies={modular_addition.replicates: 3}")
    assert code != 0
    spelling = "a dot does not nest keys; write modular_addition: {replicates: 3}"
    assert f"  --config: studies.modular_addition.replicates = 3: {spelling}\n" in output
    assert "Traceback" not in output


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--configfile", "latin.yaml"), "UnicodeDecodeError: 'utf-8' codec can't decode"),
        (("--config", "style.dpi=200"), "Config entry must start with a valid identifier"),
    ],
)
def test_snakemake_itself_stops_before_any_snakefile_as_the_readme_says(
    workdir: Path, arguments: tuple[str, ...], said: str
) -> None:
    """When this fails, Snakemake has become kinder: shorten the README."""
    (workdir / "latin.yaml").write_bytes(b"# caf\xe9\nstyle: {dpi: 200}\n")
    code, output = snakemake(workdir, *arguments)
    assert code != 0
    assert said in output
    assert "LOADED" not in output


def test_the_spelling_that_the_readme_gives_for_a_nested_value_is_taken(workdir: Path) -> None:
    code, output = snakemake(workdir, "--config", "style={dpi: 200}")
    assert code == 0, output
    code, output = snakemake(workdir, "--config", "style={dpi: -1}")
    assert code != 0
    assert "  --config: style.dpi = -1: expected a whole number" in output
