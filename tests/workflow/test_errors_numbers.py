"""What users of language models are told when it cannot work; one run meets all of it."""

import json
import subprocess
from typing import Any

import pytest
from safetensors.torch import load_file, save_file

from tests.tiny_llamas import save_digit_llama, save_number_llama
from tests.workflow.offline import GUARD, STUDY, network_use, offline
from tests.workflow.workspace import SCALED, Workspace

SECRET = "hf_never_to_be_shown"
SMALL_DISK = """

import shutil

_disk_usage = shutil.disk_usage
shutil.disk_usage = lambda path: _disk_usage(path)._replace(
    **({"free": 1000} if "crowded" in str(path) else {})
)
"""
OVERLAY: dict[str, Any] = {
    "models": {
        "digits": {"folder": "my_model"},
        "numbers": {"folder": "numbers"},
        "loud": {"folder": "loud"},
        "both_ways": {"folder": "both_ways"},
    },
    "studies": {
        STUDY: {
            "run": ["gated", "merging", "both_ways", "loud", "crowded"],
            "defaults": {"model": {"name": "digits"}, "prompts": {"sample": 50}},
            "variants": {
                "gated": {"model": {"name": "llama"}},
                "merging": {"model": {"name": "numbers"}, "prompts": {"template": "{a}, {b}0"}},
                "both_ways": {"model": {"name": "both_ways"}},
                "loud": {"model": {"name": "loud"}, "extraction": {"dtype": "float16"}},
                "crowded": {},
            },
            "figures": {"main": "crowded", "untrained": None, "sums": None, "causal": None},
        }
    },
}
SAID = {
    "gated": [
        "fetch (model=llama): HF_HUB_OFFLINE is set, and the hub's cache does not hold "
        "meta-llama/Llama-3.2-1B",
        "use a packaged model or one in a local folder",
    ],
    "merging": [
        "check (study=number_probes, variant=merging): the token '390' of the prompt '2, 390' "
        "holds more than operand b, which is '39': put a space or a line break between them"
    ],
    "both_ways": [
        "check (study=number_probes, variant=both_ways): LlamaForCausalLM cannot be read: prompts "
        "that share their beginnings give other states than each prompt alone",
        "(config.json says is_causal: false)",
    ],
    "loud": [
        "extract (study=number_probes, variant=loud): NaN or infinity in the hidden state at "
        "ln_final.hook_normalized (layer 4) of prompt 0",
        "computed in float16; bfloat16 and float32 hold larger numbers",
    ],
    "crowded": [
        "results/number_probes/crowded/states: not begun: 50 examples take",
        "Make room, read fewer prompts, or put results/ on a larger disk.",
    ],
}


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    folder = tmp_path_factory.mktemp("errors")
    workspace = offline(folder, save_digit_llama(folder / "digits"), OVERLAY)
    workspace.write("src/sitecustomize.py", GUARD + SMALL_DISK)
    save_number_llama(folder / "numbers")
    config = save_digit_llama(folder / "both_ways") / "config.json"
    config.write_text(json.dumps({**json.loads(config.read_text()), "is_causal": False}))
    loud = save_digit_llama(folder / "loud") / "model.safetensors"
    tensors = load_file(loud)
    tensors["model.norm.weight"] *= 1e6  # more than float16 holds
    save_file(tensors, loud, {"format": "pt"})
    return workspace


@pytest.fixture(scope="module")
def failed(workspace: Workspace) -> "subprocess.CompletedProcess[str]":
    targets = [f"results/{STUDY}/{variant}/extraction.parquet" for variant in SAID]
    home = str(workspace.folder / "hub")
    return workspace.snakemake(
        *("--cores", "2", *SCALED, "--", *targets),
        HF_HUB_OFFLINE="1",
        HF_HOME=home,
        HF_TOKEN=SECRET,
    )


@pytest.mark.parametrize("variant", SAID)
def test_what_is_wrong_and_what_to_do_is_said_in_words(
    failed: "subprocess.CompletedProcess[str]", variant: str
) -> None:
    for words in SAID[variant]:
        assert words in failed.stderr


def test_no_traceback_and_no_token_is_shown(
    failed: "subprocess.CompletedProcess[str]", workspace: Workspace
) -> None:
    assert failed.returncode != 0
    logs = [file.read_text() for file in workspace.path("logs").rglob("*.log")]
    for text in (failed.stdout, failed.stderr, *logs):
        assert "Traceback" not in text
        assert SECRET not in text


def test_nothing_is_left_behind(
    failed: "subprocess.CompletedProcess[str]", workspace: Workspace
) -> None:
    left = {
        variant: {path.name for path in workspace.path(f"results/{STUDY}/{variant}").rglob("*.*")}
        for variant in SAID
    }
    only_asked, checked = {"prompts.parquet"}, {"prompts.parquet", "check.parquet"}
    assert left == {
        "gated": only_asked,
        "merging": only_asked,
        "both_ways": only_asked,
        "loud": checked,
        "crowded": checked,
    }
    assert not workspace.path("results/models/llama/files.parquet").exists()
    assert network_use(workspace) == ""
