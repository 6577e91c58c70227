"""Which folders are taken for a model, and why others are refused."""

import json
import shutil
from pathlib import Path

import pytest

from mechflow.language_models.errors import ModelSourceError
from mechflow.language_models.folder import check_folder, local_folder, misplaced


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


@pytest.mark.parametrize(
    ("present", "said"),
    [
        (["model-00001-of-00001.safetensors"], "no model.safetensors.index.json that says which"),
        (
            ["model.safetensors", "model-00001-of-00001.safetensors"],
            "holds weights twice: model.safetensors, and beside them model-00001-of-00001.safe",
        ),
    ],
)
def test_weights_that_no_index_explains_are_refused(
    model: Path, present: list[str], said: str
) -> None:
    content = (model / "model.safetensors").read_bytes()
    (model / "model.safetensors").unlink()
    for name in present:
        (model / name).write_bytes(content)
    with pytest.raises(ModelSourceError, match=said):
        check_folder(model)


def test_one_file_beside_indexed_shards_is_refused(model: Path) -> None:
    """Bug: a loader takes the one file, whatever the index says."""
    content = (model / "model.safetensors").read_bytes()
    shard(model)
    (model / "model-00002-of-00002.safetensors").write_bytes(content)
    check_folder(model)
    (model / "model.safetensors").write_bytes(content)
    with pytest.raises(ModelSourceError, match=r"twice: model-00001.*beside them model\.safeten"):
        check_folder(model)


def test_an_adapter_is_not_left_out_without_a_word(model: Path) -> None:
    (model / "adapter_config.json").write_text("{}")
    with pytest.raises(ModelSourceError, match=r"an adapter .*merge_and_unload"):
        check_folder(model)


# A model below the folder where models are put


@pytest.fixture
def models(model: Path, tmp_path: Path) -> Path:
    """Where models are put, with one in it, and a link to that from elsewhere."""
    folder = tmp_path / "results" / "models"
    shutil.copytree(model, folder / "mine")
    (tmp_path / "link").symlink_to(folder / "mine")
    (tmp_path / "work").symlink_to(tmp_path)
    return folder


@pytest.mark.parametrize(
    "spelling",
    [
        "results/models/mine",
        "results/models/mine/",
        "results/../results/models/./mine",
        "link",
        "work/results/models/mine",
        "results/models/not_yet",
        "results/models",
    ],
)
def test_a_model_below_the_folder_of_models_is_misplaced(
    models: Path, tmp_path: Path, spelling: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert misplaced(tmp_path / spelling, models) == tmp_path / spelling
    monkeypatch.chdir(tmp_path)
    assert misplaced(Path(spelling), Path("results/models")) == Path(spelling)
    assert misplaced(Path(spelling), tmp_path / "work" / "results" / "models") == Path(spelling)


def test_a_file_that_leads_below_the_folder_of_models_is_misplaced(
    model: Path, models: Path
) -> None:
    (model / "tokenizer.json").unlink()
    (model / "tokenizer.json").symlink_to(models / "mine" / "tokenizer.json")
    assert misplaced(model, models) == model / "tokenizer.json"


def test_a_model_elsewhere_is_not_misplaced(model: Path, models: Path, tmp_path: Path) -> None:
    for path in (model, tmp_path / "results" / "models_of_mine", tmp_path / "nowhere"):
        assert misplaced(path, models) is None
    assert misplaced(model, tmp_path / "not" / "yet") is None


def test_a_tilde_is_the_home_of_the_user(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert local_folder("~/llama") == tmp_path / "llama"
    assert local_folder("data/~/llama") == Path("data/~/llama")
