"""What the workflow asks of the package: which files, from which inputs, stale by what.

Every method that is handed to a rule takes wildcards only, and returns strings or paths: functions
of anything else are not tracked by Snakemake. Nothing here names a study.
"""

import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, TypeAlias, TypeVar

from mechflow.blocks import BLOCK_PATTERN
from mechflow.config.root import Config
from mechflow.language_models.folder import local_folder, model_files
from mechflow.layout import ARTEFACTS, upstream_uses
from mechflow.resolved import ResolvedStudies, dump
from mechflow.staleness import canonical_json, code_digest
from mechflow.studies.declaration import Figure, Stage, Study, Table
from mechflow.studies.registry import study as declared_study

Wildcards: TypeAlias = Any
"""Wildcards of a job, one attribute for each; Snakemake's type has no annotations."""

Inputs: TypeAlias = dict[str, str | list[str]]
Declared = TypeVar("Declared", Stage, Figure, Table)


class Pipeline:
    """The wiring of one configuration: every study that it names, and their files."""

    def __init__(self, config: Config, scripts: Path) -> None:
        self._config = config
        self._scripts = scripts
        self._resolved = ResolvedStudies(config)
        self.studies: dict[str, Study] = {name: declared_study(name) for name in config.studies}

    def constraints(self) -> dict[str, str]:
        """Regular expressions of the wildcards: the names that exist, and nothing else."""
        figures = {figure.name for study in self.studies.values() for figure in study.figures}
        tables = {table.name for study in self.studies.values() for table in study.tables}
        variants = {name for block in self._config.studies.values() for name in block.variants}
        return {
            "study": _any_of(self.studies),
            "variant": _any_of(variants),
            "block": BLOCK_PATTERN,
            "model": _any_of(self._config.models),
            "figure": _any_of(figures),
            "table": _any_of(tables),
        }

    # Targets

    def targets(self, study: str) -> list[str]:
        """Everything that a study ends in: figures, tables, verdicts, and every stage's files."""
        declared = self.studies[study]
        stages = {stage.name for stage in declared.stages}
        return [
            *(f"results/figures/{study}/{figure.name}.pdf" for figure in declared.figures),
            *(f"results/tables/{study}/{table.name}.md" for table in declared.tables),
            f"results/{study}/claims.parquet",
            *(
                path
                for artefact, place in ARTEFACTS.items()
                if place.stage in stages
                for path in self._resolved.paths(artefact, study)
            ),
        ]

    def all_targets(self) -> list[str]:
        """Everything, of all studies."""
        pages = ["results/replication.md", "results/report.html"]
        return pages + [path for study in self.studies for path in self.targets(study)]

    # Language models: one job for each model that a variant uses

    def model_inputs(self, wildcards: Wildcards) -> list[str]:
        """The files of a local model; other models come from elsewhere."""
        source = self._config.models[wildcards.model]
        if source.folder is None:
            return []
        folder = local_folder(source.folder)
        return [str(folder / name) for name in model_files(folder)]

    def model_spec(self, wildcards: Wildcards) -> str:
        """Where a model comes from."""
        source = self._config.models[wildcards.model]
        return canonical_json({"stage": "fetch", "model": wildcards.model, "source": dump(source)})

    def model_code(self, wildcards: Wildcards) -> str:
        """Digest of the script that fetches models."""
        return self._digest("fetch")

    # Stages: one job for each variant, or for each block of its replicates

    def inputs(self, stage: str) -> Callable[[Wildcards], Inputs]:
        """Input function of a stage: what the study declares that it reads, named by artefact."""

        def stage_inputs(wildcards: Wildcards) -> Inputs:
            return {
                artefact: self._path(artefact, wildcards)
                for artefact in self._stage(wildcards.study, stage).reads
            }

        return stage_inputs

    def after(self, stage: str) -> Callable[[Wildcards], list[str]]:
        """Input function of what must be there before a stage runs, and is not read by it."""

        def stage_after(wildcards: Wildcards) -> list[str]:
            declared = self._stage(wildcards.study, stage).after
            return [self._path(artefact, wildcards) for artefact in declared]

        return stage_after

    def spec(self, stage: str) -> Callable[[Wildcards], str]:
        """Params function of a stage: exactly the values that it uses, as canonical JSON."""

        def stage_spec(wildcards: Wildcards) -> str:
            declared = self._stage(wildcards.study, stage)
            spec = {
                "study": wildcards.study,
                "variant": wildcards.variant,
                "stage": stage,
                "values": self._resolved.values(wildcards.study, wildcards.variant, declared.uses),
            }
            return canonical_json(spec | ({"seed": self._config.seed} if declared.seeded else {}))

        return stage_spec

    def code(self, stage: str) -> Callable[[Wildcards], str]:
        """Params function of a stage: digest of its script and of the study's module."""

        def stage_code(wildcards: Wildcards) -> str:
            return self._digest(stage, f"mechflow.studies.{wildcards.study}.{stage}")

        return stage_code

    # Figures, tables and verdicts: one job each, over all variants and blocks of a study

    def figure_inputs(self, wildcards: Wildcards) -> Inputs:
        """What a figure reads: for each artefact, the files of all variants and blocks."""
        return self._study_inputs(wildcards.study, self._figure(wildcards).reads)

    def figure_spec(self, wildcards: Wildcards) -> str:
        """The values that a figure uses: style, the study's figures section, its variants."""
        figure = self._figure(wildcards)
        block = self._config.studies[wildcards.study]
        return canonical_json(
            {
                **self._study_spec(wildcards.study, "figure", figure.reads),
                "figure": {"name": figure.name, "module": figure.module},
                "figures": dump(getattr(block, "figures", None)),
                "style": dump(self._config.style),
            }
        )

    def figure_code(self, wildcards: Wildcards) -> str:
        """Digest of the figure script and of the module that draws the figure."""
        module = self._figure(wildcards).module
        return self._digest("figure", f"mechflow.studies.{wildcards.study}.figures.{module}")

    def table_inputs(self, wildcards: Wildcards) -> Inputs:
        """What a table reads: for each artefact, the files of all variants and blocks."""
        return self._study_inputs(wildcards.study, self._table(wildcards).reads)

    def table_spec(self, wildcards: Wildcards) -> str:
        """The values that a table uses: the study's variants."""
        table = self._table(wildcards)
        return canonical_json(
            {**self._study_spec(wildcards.study, "table", table.reads), "table": table.name}
        )

    def table_code(self, wildcards: Wildcards) -> str:
        """Digest of the table script and of the study's tables."""
        return self._digest("table", f"mechflow.studies.{wildcards.study}.tables")

    def claims_inputs(self, wildcards: Wildcards) -> Inputs:
        """What a study's claims are judged on."""
        return self._study_inputs(wildcards.study, self.studies[wildcards.study].claim_reads)

    def claims_spec(self, wildcards: Wildcards) -> str:
        """The values that a study's claims use: its variants."""
        reads = self.studies[wildcards.study].claim_reads
        return canonical_json(self._study_spec(wildcards.study, "claims", reads))

    def claims_code(self, wildcards: Wildcards) -> str:
        """Digest of the claims script and of the study's claims."""
        return self._digest("claims", f"mechflow.studies.{wildcards.study}.claims")

    # Made once, from all studies

    def replication_inputs(self) -> list[str]:
        """Verdicts of all studies, in the order of the configuration."""
        return [f"results/{study}/claims.parquet" for study in self.studies]

    def replication_spec(self) -> str:
        """The scoreboard uses no value of its own."""
        return canonical_json({"stage": "replication", "studies": list(self.studies)})

    def replication_code(self) -> str:
        """Digest of the script that collates the verdicts."""
        return self._digest("replication")

    def report_inputs(self) -> Inputs:
        """What the report shows: figures and tables of all studies, and the scoreboard."""
        return {
            "figures": [
                f"results/figures/{study}/{figure.name}.png"
                for study, declared in self.studies.items()
                for figure in declared.figures
            ],
            "tables": [
                f"results/tables/{study}/{table.name}.parquet"
                for study, declared in self.studies.items()
                for table in declared.tables
            ],
            "sources": [
                f"results/figures/{study}/{figure.name}.parquet"
                for study, declared in self.studies.items()
                for figure in declared.figures
            ],
            "replication": "results/replication.parquet",
        }

    def report_spec(self) -> str:
        """Titles and captions, and the resolved configuration of every variant."""
        return canonical_json(
            {
                "stage": "report",
                "seed": self._config.seed,
                "studies": {name: self._report_study(name) for name in self.studies},
            }
        )

    def report_code(self) -> str:
        """Digest of the script that writes the report."""
        return self._digest("report")

    def _report_study(self, study: str) -> dict[str, Any]:
        declared, block = self.studies[study], self._config.studies[study]
        return {
            "title": declared.title,
            "replicates": block.replicates,
            "figures": {f.name: {"title": f.title, "caption": f.caption} for f in declared.figures},
            "tables": {t.name: {"title": t.title, "caption": t.caption} for t in declared.tables},
            "variants": {name: dump(self._resolved.variant(study, name)) for name in block.run},
        }

    def _study_spec(self, study: str, stage: str, reads: tuple[str, ...]) -> dict[str, Any]:
        """What a job over all variants uses: their blocks, and values that its inputs depend on."""
        uses = upstream_uses(self.studies[study], reads)
        return {
            "study": study,
            "stage": stage,
            "seed": self._config.seed,
            "blocks": self._resolved.blocks(study),
            "variants": [
                {
                    "name": variant,
                    "values": self._resolved.values(study, variant, uses),
                    "source": self._resolved.model_source(study, variant),
                }
                for variant in self._config.studies[study].run
            ],
        }

    def _study_inputs(self, study: str, reads: tuple[str, ...]) -> Inputs:
        return {artefact: self._resolved.paths(artefact, study) for artefact in reads}

    def _path(self, artefact: str, wildcards: Wildcards) -> str:
        """The file of an artefact of a job's own variant and block."""
        block = getattr(wildcards, "block", None)
        return self._resolved.path(artefact, wildcards.study, wildcards.variant, block)

    def _digest(self, script: str, *modules: str) -> str:
        return code_digest((str(self._scripts / f"{script}.py"), *modules))

    def _stage(self, study: str, name: str) -> Stage:
        return _named(self.studies[study].stages, name, study)

    def _figure(self, wildcards: Wildcards) -> Figure:
        return _named(self.studies[wildcards.study].figures, wildcards.figure, wildcards.study)

    def _table(self, wildcards: Wildcards) -> Table:
        return _named(self.studies[wildcards.study].tables, wildcards.table, wildcards.study)


def _any_of(names: Iterable[str]) -> str:
    """Regular expression of exactly these names; of nothing if there are none."""
    return "|".join(re.escape(name) for name in sorted(names)) or r"(?!)"


def _named(declared: tuple[Declared, ...], name: str, study: str) -> Declared:
    for candidate in declared:
        if candidate.name == name:
            return candidate
    known = ", ".join(candidate.name for candidate in declared) or "none"
    raise LookupError(f"study '{study}' declares no '{name}', only: {known}")
