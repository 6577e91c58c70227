"""The only reader and writer of result files.

Tables are Parquet, tensors are safetensors; both carry the provenance of the result and a digest of
the whole file, so that a damaged or foreign file is refused before one value of it is used. Every
file appears under its final name complete or not at all.
"""

from mechflow.artifacts.digest import content_digest, stored_digest
from mechflow.artifacts.errors import (
    ArtifactDamagedError,
    ArtifactError,
    ArtifactForeignError,
    ArtifactMissingError,
    ArtifactVersionError,
    ArtifactWriteError,
)
from mechflow.artifacts.files import Batch, settle, write_bytes, write_text
from mechflow.artifacts.listed import check_listed_files, list_files
from mechflow.artifacts.provenance import (
    SCHEMA_VERSION,
    Owner,
    Provenance,
    collect,
    read_provenance,
)
from mechflow.artifacts.resume import ResumeFile
from mechflow.artifacts.schemas import SCHEMAS, Column
from mechflow.artifacts.shards import SHARDED, Shards, ShardWriter
from mechflow.artifacts.tables import read_table, write_table
from mechflow.artifacts.tensors import TENSOR_KINDS, read_tensors, write_tensors

__all__ = [
    "SCHEMAS",
    "SCHEMA_VERSION",
    "SHARDED",
    "TENSOR_KINDS",
    "ArtifactDamagedError",
    "ArtifactError",
    "ArtifactForeignError",
    "ArtifactMissingError",
    "ArtifactVersionError",
    "ArtifactWriteError",
    "Batch",
    "Column",
    "Owner",
    "Provenance",
    "ResumeFile",
    "ShardWriter",
    "Shards",
    "check_listed_files",
    "collect",
    "content_digest",
    "list_files",
    "read_provenance",
    "read_table",
    "read_tensors",
    "settle",
    "stored_digest",
    "write_bytes",
    "write_table",
    "write_tensors",
    "write_text",
]
