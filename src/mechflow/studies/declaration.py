"""What a study declares about itself, so that the workflow needs to know no study by name.

A declaration is data: which stages it has, what each of them reads and which configuration
sections it uses, which figures and tables it ends in. It is read while the Snakefile is parsed
and must import neither torch nor pandas.
"""

from dataclasses import dataclass

from mechflow.config.base import Section


@dataclass(frozen=True)
class Stage:
    """One stage of one study, run for each block of replicates of each variant.

    Its code is the module ``mechflow.studies.<study>.<name>``, whose ``run`` the stage's script
    calls.
    """

    name: str
    """Name of the rule, of the script and of the study's module."""
    reads: tuple[str, ...] = ()
    """Artefacts of the same block that it reads, such as ``dataset`` or ``weights``."""
    after: tuple[str, ...] = ()
    """Artefacts that must be there first and that it does not read: they make nothing stale."""
    uses: tuple[str, ...] = ()
    """Dotted keys of the variant's configuration, such as ``model`` or ``dataset.p``; their values
    reach ``run`` as keyword arguments named by the last part, and nothing else does."""
    seeded: bool = False
    """Whether it draws random numbers, so that the root seed is part of its spec."""


@dataclass(frozen=True)
class Figure:
    """One figure of a study, drawn from artefacts of all its variants and blocks.

    Its code is the function ``draw_<name>`` of ``mechflow.studies.<study>.figures.<module>``.
    """

    name: str
    module: str
    reads: tuple[str, ...]
    title: str
    """Short title for the report."""
    caption: str
    """How to read it: axes, intervals, what to look for."""


@dataclass(frozen=True)
class Table:
    """One table of a study: function ``make_<name>`` of ``mechflow.studies.<study>.tables``."""

    name: str
    reads: tuple[str, ...]
    title: str
    caption: str


@dataclass(frozen=True)
class Study:
    """Everything the workflow needs to know of a study."""

    name: str
    title: str
    config: type[Section]
    """Type of the study's block in the configuration (see ``mechflow.config.study``)."""
    variant_config: type[Section]
    """Type of one resolved variant: the sections that stages use."""
    stages: tuple[Stage, ...]
    figures: tuple[Figure, ...]
    tables: tuple[Table, ...]
    claim_reads: tuple[str, ...]
    """Artefacts from which ``mechflow.studies.<study>.claims`` judges the published claims."""
