"""Finds the studies: every package of ``mechflow.studies`` that has a ``study`` module."""

import importlib
import pkgutil
from functools import cache

import mechflow.studies
from mechflow.studies.declaration import Study


@cache
def studies() -> dict[str, Study]:
    """All declared studies by name, in alphabetical order."""
    packages = [m.name for m in pkgutil.iter_modules(mechflow.studies.__path__) if m.ispkg]
    return {
        name: importlib.import_module(f"mechflow.studies.{name}.study").STUDY
        for name in sorted(packages)
    }


def study(name: str) -> Study:
    """The study of that name.

    Raises:
        KeyError: no such study; the message lists those that exist.
    """
    known = studies()
    if name not in known:
        raise KeyError(f"unknown study '{name}'; known studies: {', '.join(known)}")
    return known[name]
