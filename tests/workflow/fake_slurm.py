"""Stands for the commands of SLURM: runs jobs at once and records how they were submitted.

Installed under the names of the commands it stands for; ``FAKE_SLURM`` names its folder of state.
"""

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path

STATE = Path(os.environ["FAKE_SLURM"])


def sbatch(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--wrap", required=True)
    parser.add_argument("--output", required=True)
    known, _ = parser.parse_known_args(arguments)
    number = len(list(STATE.glob("*.json"))) + 1
    (STATE / f"{number}.json").write_text(json.dumps(arguments))
    (STATE / f"{number}.state").write_text("RUNNING")
    command = [sys.executable, __file__, "run", str(number), known.wrap, known.output]
    quiet = subprocess.DEVNULL
    subprocess.Popen(command, start_new_session=True, stdin=quiet, stdout=quiet, stderr=quiet)
    print(number)


def run_job(number: str, command: str, output: str) -> None:
    log = Path(output.replace("%j", number))
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("w") as file:
        environment = {**os.environ, "SLURM_JOB_ID": number, "SLURM_JOBID": number}
        code = subprocess.call(["sh", "-c", command], env=environment, stdout=file, stderr=file)
    (STATE / f"{number}.state").write_text("FAILED" if code else "COMPLETED")


def srun(arguments: list[str]) -> None:
    while arguments[0].startswith("-"):
        arguments = arguments[1:]
    os.execvp(arguments[0], arguments)


def squeue() -> None:
    for file in sorted(STATE.glob("*.state")):
        print(f"{file.stem}|{file.read_text()}")


def main(name: str, arguments: list[str]) -> None:
    if arguments and arguments[0] == "run":
        run_job(*arguments[1:])
    elif name == "sbatch":
        sbatch(arguments)
    elif name == "srun":
        srun(arguments)
    elif name == "squeue":
        squeue()
    elif name == "sacctmgr":
        print("myaccount")
    elif name == "scontrol":
        print("MinJobAge               = 300 sec")


if __name__ == "__main__":
    main(Path(sys.argv[0]).name, sys.argv[1:])
