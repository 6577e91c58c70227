"""The frame around a stage script: outputs all or none, a log, failures in plain words.

A script reads artefacts, calls one function of its study and writes what it returns::

    with job.start(snakemake) as task:
        dataset = task.read_table("dataset")
        tables = task.stage.run(dataset, **task.sections, seeds=task.seeds)
        task.write_table("probes", tables)
"""

import errno
import logging
import os
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import TYPE_CHECKING

from mechflow.artifacts import ArtifactError, Batch
from mechflow.artifacts.errors import reason
from mechflow.config.problems import ConfigError
from mechflow.figures.errors import FigureError
from mechflow.language_models.errors import LanguageModelError
from mechflow.task import JobError, Task

if TYPE_CHECKING:
    import snakemake.iocontainers

_log = logging.getLogger(__name__)

_FOR_USERS = (ArtifactError, ConfigError, FigureError, JobError, LanguageModelError)
_SYSTEM_REFUSALS = (
    errno.ENOSPC,
    errno.EDQUOT,
    errno.EROFS,
    errno.EACCES,
    errno.EPERM,
    errno.EIO,
)
"""Errors of the system that the user can solve and that no traceback would explain better."""


@contextmanager
def start(snakemake: "snakemake.iocontainers.Snakemake") -> Iterator[Task]:
    """Runs the body of a stage script.

    The outputs appear when the body ends without an exception, all of them or none. Log records and
    warnings go to the rule's log file. What imports matplotlib is to be imported in the body.

    Args:
        snakemake: The object that Snakemake gives to scripts.

    Yields:
        What the stage reads and writes.

    Raises:
        SystemExit: status 1 after any failure, which has then been explained on standard error and
            in the log.
    """
    name = _describe(snakemake)
    log_file = str(snakemake.log[0]) if snakemake.log else None
    with _drawing_into_files(), _logging_to(log_file), _termination_as_exit():
        began = time.monotonic()
        try:
            with Batch() as batch:
                task = Task(snakemake, batch)
                _log.info("%s: started with %d thread(s)", name, task.threads)
                yield task
            task.resume.clear()
        except Exception as error:
            _explain(error, name, log_file)
            raise SystemExit(1) from None
        finished = f"{name}: finished after {time.monotonic() - began:.1f} s"
        _log.info(finished)
        if not sys.stderr.isatty():
            # On a terminal, Snakemake's own display shows how far the workflow is.
            print(finished, file=sys.stderr)


@contextmanager
def _drawing_into_files() -> Iterator[None]:
    """Has matplotlib, once it is imported, draw without a display.

    A notebook passes its own backend on to all that is started from it, and matplotlib cannot be
    imported where that backend is not installed.
    """
    before = os.environ.get("MPLBACKEND")
    os.environ["MPLBACKEND"] = "agg"
    try:
        yield
    finally:
        if before is None:
            del os.environ["MPLBACKEND"]
        else:
            os.environ["MPLBACKEND"] = before


@contextmanager
def _termination_as_exit() -> Iterator[None]:
    """Lets a job that the scheduler ends (SIGTERM) clean up as after any other exit."""

    def leave(number: int, frame: FrameType | None) -> None:
        _log.warning("terminated by signal %d", number)
        raise SystemExit(128 + number)

    before = signal.signal(signal.SIGTERM, leave)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _describe(snakemake: "snakemake.iocontainers.Snakemake") -> str:
    """The job in words, such as ``train (study=modular_addition, block=r000-004)``."""
    wildcards = ", ".join(f"{key}={value}" for key, value in snakemake.wildcards.items())
    return f"{snakemake.rule} ({wildcards})" if wildcards else str(snakemake.rule)


def _explain(error: Exception, name: str, log_file: str | None) -> None:
    """Tells the user what went wrong, and keeps the traceback for what was not foreseen."""
    message = _message_for_user(error)
    if message is not None:
        _log.error("%s: %s", name, message)
        print(f"{name}: {message}", file=sys.stderr)
        return
    _log.error("%s: unexpected failure", name, exc_info=error)
    print(f"{name} failed: {type(error).__name__}: {error}", file=sys.stderr)
    if log_file:
        print(f"The traceback is in {log_file}", file=sys.stderr)


def _message_for_user(error: Exception) -> str | None:
    """What to tell the user about a failure that a traceback would not explain better."""
    if isinstance(error, _FOR_USERS):
        return str(error)
    if isinstance(error, OSError) and error.errno in _SYSTEM_REFUSALS:
        return f"{error.filename or 'the system'}: {reason(error)}"
    return None


@contextmanager
def _logging_to(path: str | None) -> Iterator[None]:
    """Sends log records and warnings to a file, or to standard error without one."""
    handler: logging.Handler = (
        logging.StreamHandler() if path is None else logging.FileHandler(path, "w", "utf-8")
    )
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    root = logging.getLogger()
    level = root.level
    root.addHandler(handler)
    root.setLevel(logging.INFO)
    logging.captureWarnings(True)
    try:
        yield
    finally:
        logging.captureWarnings(False)
        root.setLevel(level)
        root.removeHandler(handler)
        handler.close()
