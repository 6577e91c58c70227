"""Tensors on disk: safetensors files, read through memory maps, never pickles."""

import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from safetensors import SafetensorError, safe_open

from mechflow.artifacts.digest import seal, verify
from mechflow.artifacts.errors import (
    ArtifactDamagedError,
    ArtifactForeignError,
    ArtifactWriteError,
    how_to_remake,
)
from mechflow.artifacts.files import Batch, place
from mechflow.artifacts.provenance import (
    METADATA_KEY,
    Owner,
    Provenance,
    check_owner,
    pack,
    read_provenance,
)

if TYPE_CHECKING:
    import torch

TENSOR_KINDS = (
    "weights",
    "checkpoints",
    "activations",
    "state_shard",
    "readout_weights",
    "geometry_arrays",
    "spectra_arrays",
    "resume",
)
"""Kinds of tensor files. Every tensor has a leading replicate axis [R, ...]; those of checkpoints
have [C, R, ...], beside the int64 tensor "step" [C] of updates made [updates]. Those that belong to
a variant and no replicate begin with another axis: examples for shards of states [n, ...], layers
for geometry [L, ...]."""


def write_tensors(
    path: str | os.PathLike[str],
    tensors: Mapping[str, "torch.Tensor"],
    kind: str,
    provenance: Provenance,
    *,
    allow_nonfinite: bool = False,
    batch: Batch | None = None,
) -> None:
    """Writes named tensors; equal tensors with equal provenance give equal bytes.

    Tensors on a GPU are copied to the CPU; strided ones are made contiguous.

    Args:
        path: Final name of the file.
        tensors: The tensors by name.
        kind: What they are, one of `TENSOR_KINDS`; replaces the kind in `provenance`.
        provenance: Where they come from.
        allow_nonfinite: Writes infinities and NaN instead of refusing them.
        batch: Renames the file later, together with others.

    Raises:
        ArtifactWriteError: a value is not finite, two tensors share memory, or the system refused.
        ValueError: `kind` is not a kind of tensor file.
    """
    path = Path(path)
    if kind not in TENSOR_KINDS:
        raise ValueError(f"'{kind}' is not a kind of tensor file: {', '.join(TENSOR_KINDS)}")
    _refuse_aliases(path, tensors)
    ready = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    if not allow_nonfinite:
        for name, tensor in ready.items():
            _refuse_nonfinite(path, name, tensor, kind, provenance.block)
    # One key only: safetensors does not keep the order of several.
    metadata = {METADATA_KEY: pack(replace(provenance, kind=kind))}

    def fill(hidden: Path) -> None:
        from safetensors.torch import save_file

        try:
            save_file(ready, hidden, metadata)
        except SafetensorError as error:
            raise _as_os_error(error) from error
        seal(hidden)

    place(path, fill, batch)


def read_tensors(
    path: str | os.PathLike[str],
    kind: str,
    owner: Owner | None = None,
    names: Iterable[str] | None = None,
) -> dict[str, "torch.Tensor"]:
    """Maps tensors into memory after checking that the file is intact and the one asked for.

    Args:
        path: The file.
        kind: What it should hold.
        owner: Whose it should be; None accepts anybody's.
        names: The tensors wanted, in this order; None for all, in alphabetical order.

    Raises:
        ArtifactMissingError: there is no such file.
        ArtifactDamagedError: it is not exactly what was written.
        ArtifactForeignError: it is of another kind, study, variant or block, or lacks a tensor.
        ArtifactVersionError: it was written in another version of the layout.
    """
    path = Path(path)
    verify(path, kind)
    check_owner(path, read_provenance(path, kind), kind, owner)
    try:
        with safe_open(path, framework="pt") as file:
            present = sorted(file.keys())
            wanted = present if names is None else list(names)
            if missing := [name for name in wanted if name not in present]:
                raise ArtifactForeignError(
                    path,
                    f"has no tensor '{missing[0]}'; it holds {', '.join(present)}.",
                    how_to_remake(kind),
                )
            return {name: file.get_tensor(name) for name in wanted}
    except (SafetensorError, OSError) as error:
        raise ArtifactDamagedError(
            path, "damaged: it is not a tensor file.", how_to_remake(kind)
        ) from error


def _refuse_aliases(path: Path, tensors: Mapping[str, "torch.Tensor"]) -> None:
    """Refuses tensors that are views of one memory: a snapshot must be a copy."""
    owners: dict[tuple[str, int], str] = {}
    for name, tensor in tensors.items():
        if tensor.numel() == 0:
            continue
        first = owners.setdefault((str(tensor.device), tensor.data_ptr()), name)
        if first != name:
            raise ArtifactWriteError(
                path,
                f"not written: '{first}' and '{name}' are the same memory, so one would be a "
                "silent copy of the other. Clone them where they are made.",
            )


def _refuse_nonfinite(
    path: Path, name: str, tensor: "torch.Tensor", kind: str, block: str | None
) -> None:
    """Names the replicate that went wrong, since the others may be fine."""
    if not tensor.is_floating_point():
        return
    finite = tensor.isfinite()
    if finite.all():
        return
    position = (~finite).nonzero()[0].tolist()
    axis = 1 if kind == "checkpoints" else 0
    replicated = block is not None and len(position) > axis
    where = f"replicate index {position[axis]}" if replicated else f"index {position}"
    raise ArtifactWriteError(
        path,
        f"not written: tensor '{name}' holds {tensor[tuple(position)].item()} at {where}"
        f"{f' of block {block}' if block else ''}.",
        "Training diverged or a computation overflowed: look at the log and the curves.",
    )


def _as_os_error(error: SafetensorError) -> Exception:
    """The system's error that safetensors reports as text, or the error itself."""
    code = re.search(r"os error (\d+)", str(error))
    if code is None:
        return error
    return OSError(int(code[1]), os.strerror(int(code[1])))
