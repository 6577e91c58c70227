"""A workspace whose processes cannot reach a network, with a tiny language model in it."""

import shutil
from pathlib import Path
from typing import Any

import yaml

from tests.workflow.workspace import Workspace, scaled

STUDY = "number_probes"
MODEL = "my_model"
GUARD = '''
import sys
import traceback
from pathlib import Path


def refuse(event, arguments):
    """Stops what looks up a name or connects to another machine, and writes down who it was."""
    asked = event == "socket.getaddrinfo"
    if asked or (event == "socket.connect" and isinstance(arguments[1], tuple)):
        with Path(__file__).with_name("network.txt").open("a") as file:
            print(event, arguments, *traceback.format_stack(), file=file)
        raise OSError("no network")


sys.addaudithook(refuse)
'''
"""What Python runs before anything else, in every process of the workspace."""
NUMBERS: dict[str, Any] = {
    "models": {"tiny": {"folder": MODEL}},
    "studies": {
        STUDY: {
            "defaults": {
                "model": {"name": "tiny"},
                "prompts": {"sample": 500},
                "extraction": {"shard_prompts": 200},
                "readout": {"steps": 20, "eval_every": 10, "hidden_dim": 16},
            },
            "variants": {
                "sum": {"prompts": {"sample": 500}},
                # Many small files, so that there is time to kill the extraction between two.
                "in_context": {"prompts": {"sample": 500}, "extraction": {"shard_prompts": 4}},
            },
        }
    },
}
"""Overlay of the smoke scale: the tiny model, and even less of everything."""


def offline(folder: Path, model: Path, overlay: dict[str, Any]) -> Workspace:
    """The number probes at smoke scale on a model in a local folder, without any network."""
    workspace = scaled(folder, STUDY, yaml.safe_dump(overlay))
    shutil.copytree(model, folder / MODEL)
    workspace.write("src/sitecustomize.py", GUARD)
    return workspace


def network_use(workspace: Workspace) -> str:
    """Who tried to reach a network; empty if nobody did."""
    file = workspace.path("src/network.txt")
    return file.read_text() if file.exists() else ""
