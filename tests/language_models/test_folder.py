"""Which folders are taken for a model, why others are refused, and that no half of one appears."""

import json
import os
import shutil
from pathlib import Path

import pytest

from mechflow.language_models import folder as module
from mechflow.language_models.errors import ModelSourceError
from mechflow.language_models.folder import check_folder, model_files, place, staging


@pytest.fixture
def model(tiny_llama_folder: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_llama_folder, tmp_path / "model"))


def shard(model: Path) -> None:
    """Makes the weights of a model look like two shards of which the second is absent."""
    (model / "model.safetensors").rename(model / "model-00001-of-00002.safetensors")
    shards = {str(number): f"model-0000{number}-of-00002.safetensors" for number in (1, 2)}
    (model / "model.safetensors.index.json").write_text(json.dumps({"weight_map": shards}))


def test_a_saved_model_passes_and_its_files_are_listed(model: Path) -> None:
    (model / "notes.txt").write_text("not part of the model")
    (model / "optimizer.pt").write_bytes(b"")
    assert check_folder(model) == [
        "config.json",
        "generation_config.json",
        "model.safetensors",
        "tokenizer.json",
        "tokenizer_config.json",
    ]


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ModelSourceError, match=r"no folder .*absent"):
        check_folder(tmp_path / "absent")


@pytest.mark.parametrize("name", ["config.json", "tokenizer.json"])
def test_a_missing_description_is_named(model: Path, name: str) -> None:
    (model / name).unlink()
    with pytest.raises(ModelSourceError, match=f"has no {name}"):
        check_folder(model)


@pytest.mark.parametrize("text", ["{", "[]", "\x00"])
def test_a_config_that_is_no_json_object(model: Path, text: str) -> None:
    (model / "config.json").write_text(text)
    with pytest.raises(ModelSourceError, match=r"config\.json .*JSON"):
        check_folder(model)


@pytest.mark.parametrize("name", ["pytorch_model.bin", "consolidated.00.pth", "model.ckpt"])
def test_weights_that_are_only_pickled_are_refused_for_that_reason(model: Path, name: str) -> None:
    (model / "model.safetensors").rename(model / name)
    with pytest.raises(ModelSourceError, match=rf"pickle \({name}\).*refused"):
        check_folder(model)


def test_pickles_beside_safetensors_do_no_harm_and_are_no_files_of_the_model(model: Path) -> None:
    (model / "pytorch_model.bin").write_bytes(b"")
    assert "pytorch_model.bin" not in check_folder(model)


def test_no_weights_at_all(model: Path) -> None:
    (model / "model.safetensors").unlink()
    with pytest.raises(ModelSourceError, match="has no weights"):
        check_folder(model)
    assert "config.json" in check_folder(model, weights=False)


def test_a_shard_that_the_index_lists_must_be_there(model: Path) -> None:
    shard(model)
    with pytest.raises(ModelSourceError, match=r"lacks model-00002-of-00002\.safetensors"):
        check_folder(model)


@pytest.mark.parametrize("text", ["{}", "{", '{"weight_map": 3}'])
def test_an_index_that_is_none(model: Path, text: str) -> None:
    shard(model)
    (model / "model.safetensors.index.json").write_text(text)
    with pytest.raises(ModelSourceError, match="not an index"):
        check_folder(model)


def test_a_pointer_of_git_lfs_is_told_from_weights(model: Path) -> None:
    (model / "model.safetensors").write_text("version https://git-lfs.github.com/spec/v1\noid x\n")
    with pytest.raises(ModelSourceError, match="git lfs pull"):
        check_folder(model)


@pytest.mark.parametrize("kept", [0, 4, 300, -1])
def test_weights_that_are_cut_short_are_named(model: Path, kept: int) -> None:
    weights = model / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:kept])
    with pytest.raises(ModelSourceError, match=rf"{weights} is not a whole .* download it again"):
        check_folder(model)
    check_folder(model, weights=False)


def test_placing_moves_every_file_of_the_model_and_nothing_else(
    model: Path, tmp_path: Path
) -> None:
    before = {name: (model / name).read_bytes() for name in model_files(model)}
    (model / "requirements.txt").write_text("")
    names = place(model, tmp_path / "final")
    assert names == sorted(before)
    assert {path.name: path.read_bytes() for path in (tmp_path / "final").iterdir()} == before


def test_placing_over_an_older_model_leaves_no_shard_of_it_and_no_other_file_touched(
    model: Path, tmp_path: Path
) -> None:
    final = tmp_path / "final"
    final.mkdir()
    (final / "model-00001-of-00002.safetensors").write_bytes(b"old")
    (final / "tokenizer.json").write_bytes(b"old")
    (final / "job.log").write_text("kept")
    names = place(model, final)
    assert sorted(path.name for path in final.iterdir()) == sorted([*names, "job.log"])
    assert (final / "tokenizer.json").read_bytes() != b"old"


def test_an_incomplete_model_is_not_placed(model: Path, tmp_path: Path) -> None:
    (model / "tokenizer.json").unlink()
    with pytest.raises(ModelSourceError, match=r"no tokenizer\.json"):
        place(model, tmp_path / "final")
    assert not (tmp_path / "final").exists()


@pytest.mark.parametrize("failing", range(5))
def test_a_move_that_fails_leaves_nothing_under_the_final_name(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failing: int
) -> None:
    moved: list[str] = []

    def replace(source: Path, target: Path) -> None:
        if len(moved) == failing:
            raise OSError(28, "No space left on device")
        moved.append(target.name)
        shutil.move(source, target)

    monkeypatch.setattr(module.os, "replace", replace)
    with pytest.raises(OSError, match="No space"):
        place(model, tmp_path / "final")
    assert len(moved) == failing
    assert not (tmp_path / "final").exists()


def test_the_description_arrives_last(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    moved: list[str] = []
    real = os.replace

    def replace(source: Path, target: Path) -> None:
        moved.append(target.name)
        real(source, target)

    monkeypatch.setattr(module.os, "replace", replace)
    place(model, tmp_path / "final")
    assert moved[-1] == "config.json"


def test_the_staging_folder_is_beside_the_final_one_and_always_goes(tmp_path: Path) -> None:
    final = tmp_path / "deep" / "final"
    with staging(final) as stage:
        assert stage.parent == final.parent
        assert stage.name.startswith(".")
        (stage / "file").write_text("x")

    def interrupted() -> None:
        with staging(final) as stage:
            (stage / "sub").mkdir()
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert list(final.parent.iterdir()) == []
