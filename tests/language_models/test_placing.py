"""Putting a model into its folder: complete or not at all, and nothing of others is touched."""

import contextlib
import itertools
import json
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from mechflow.language_models import placing as module
from mechflow.language_models.errors import ModelSourceError
from mechflow.language_models.folder import check_folder
from mechflow.language_models.placing import place, staging

SHARDS = ("model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors")


@pytest.fixture
def index(tmp_path: Path) -> Path:
    """The table that is to list the files; it is there already, as after an earlier run."""
    return tmp_path / "models" / "mine" / "files.parquet"


@pytest.fixture
def single(tiny_llama_folder: Path, tmp_path: Path) -> Path:
    """A model in a staging folder, its weights in one file."""
    return Path(shutil.copytree(tiny_llama_folder, tmp_path / "single"))


@pytest.fixture
def sharded(tiny_llama_folder: Path, tmp_path: Path) -> Path:
    """Another one, with two shards and a chat template."""
    folder = Path(shutil.copytree(tiny_llama_folder, tmp_path / "sharded"))
    content = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").unlink()
    for name in SHARDS:
        (folder / name).write_bytes(content)
    weight_map = {str(number): name for number, name in enumerate(SHARDS)}
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))
    (folder / "chat_template.jinja").write_text("template")
    return folder


@pytest.fixture
def linked(tiny_llama_numbers_folder: Path, tmp_path: Path) -> Path:
    """A third, of links to its files."""
    folder = tmp_path / "linked"
    folder.mkdir()
    for path in tiny_llama_numbers_folder.iterdir():
        (folder / path.name).symlink_to(path)
    return folder


def content(folder: Path) -> dict[str, bytes]:
    """What lies in a folder for all to see, but for the table."""
    return {
        path.name: path.read_bytes()
        for path in folder.iterdir()
        if path.name != "files.parquet" and not path.name.startswith(".")
    }


def placed(source: Path, index: Path) -> dict[str, bytes]:
    """Places a model as a run does, and gives what should lie there then."""
    expected = content(source)
    assert place(source, index) == sorted(expected)
    index.write_text("the table")
    return expected


def test_placing_moves_every_file_of_the_model_and_nothing_else(single: Path, index: Path) -> None:
    before = content(single)
    (single / "requirements.txt").write_text("")
    index.parent.parent.mkdir()
    assert place(single, index) == sorted(before)
    assert content(index.parent) == before


@pytest.mark.parametrize("second", ["single", "sharded", "linked"])
@pytest.mark.parametrize("first", ["single", "sharded", "linked"])
def test_a_model_takes_the_place_of_another(
    first: str, second: str, index: Path, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    """Bug: weights of the first model stayed, and were loaded."""
    index.parent.mkdir(parents=True)
    originals = request.getfixturevalue("tiny_llama_numbers_folder")
    before = content(originals)
    placed(request.getfixturevalue(first), index)
    source = request.getfixturevalue(second)
    if first == second:  # it was moved away
        source = tmp_path / "again"
        shutil.copytree(index.parent, source, symlinks=True)
        (source / "files.parquet").unlink()
    expected = placed(source, index)
    assert content(index.parent) == expected
    assert sorted(expected) == check_folder(index.parent)
    # What links led to is as it was.
    assert content(originals) == before


@pytest.mark.parametrize("name", ["notes.txt", "added_tokens.json", "chat_template.jinja", "sub"])
def test_what_was_not_placed_is_never_removed(
    single: Path, sharded: Path, index: Path, name: str
) -> None:
    index.parent.mkdir(parents=True)
    before = placed(single, index)
    if name == "sub":
        (index.parent / name).mkdir()
    else:
        (index.parent / name).write_text("mine")
        before[name] = b"mine"
    said = rf"holds what mechflow did not put there.*: {name}\. Nothing was removed"
    with pytest.raises(ModelSourceError, match=said):
        place(sharded, index)
    found = {path.name for path in index.parent.iterdir() if not path.name.startswith(".")}
    assert found == {*before, name, "files.parquet"}
    assert all((index.parent / known).read_bytes() == data for known, data in before.items())


@pytest.mark.parametrize("how", ["changed", "replaced by a link", "without a record"])
def test_a_file_that_is_no_longer_the_placed_one_is_never_removed(
    single: Path, sharded: Path, index: Path, how: str, tmp_path: Path
) -> None:
    index.parent.mkdir(parents=True)
    before = placed(single, index)
    weights = index.parent / "model.safetensors"
    if how == "changed":
        weights.write_bytes(b"fine-tuned")
    elif how == "replaced by a link":
        (tmp_path / "own").write_bytes(weights.read_bytes())
        weights.unlink()
        weights.symlink_to(tmp_path / "own")
    else:
        (index.parent / module.RECORD).unlink()
    after = content(index.parent)
    with pytest.raises(ModelSourceError, match=r"changed since: .*model\.safetensors"):
        place(sharded, index)
    assert content(index.parent) == after
    assert after.keys() == before.keys()


def test_a_link_to_itself_that_an_earlier_version_left_is_not_removed(
    single: Path, index: Path
) -> None:
    index.parent.mkdir(parents=True)
    (index.parent / "config.json").symlink_to(index.parent / "config.json")
    with pytest.raises(ModelSourceError, match=r"changed since: config\.json\."):
        place(single, index)
    assert (index.parent / "config.json").is_symlink()


def test_an_incomplete_model_is_not_placed(single: Path, index: Path) -> None:
    index.parent.parent.mkdir()
    (single / "tokenizer.json").unlink()
    with pytest.raises(ModelSourceError, match=r"no tokenizer\.json"):
        place(single, index)
    assert not index.parent.exists()


@pytest.mark.parametrize("failing", range(5))
def test_a_move_that_fails_leaves_nothing_under_the_final_name(
    single: Path, index: Path, monkeypatch: pytest.MonkeyPatch, failing: int
) -> None:
    index.parent.parent.mkdir()
    moved = moving(monkeypatch, failing, OSError(28, "No space left on device"))
    with pytest.raises(OSError, match="No space"):
        place(single, index)
    assert len(moved) == failing
    assert not index.parent.exists()


def test_a_record_that_cannot_be_written_leaves_nothing(
    single: Path, index: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    index.parent.parent.mkdir()
    monkeypatch.setattr(module, "write_text", full)
    with pytest.raises(OSError, match="No space"):
        place(single, index)
    assert not index.parent.exists()


class Killed(BaseException):
    """Nothing more of the process runs."""


@pytest.mark.parametrize("ending", [SystemExit, KeyboardInterrupt, Killed])
def test_wherever_it_ends_there_is_no_mixture_and_the_model_can_be_placed_again(
    single: Path, sharded: Path, tmp_path: Path, ending: type[BaseException]
) -> None:
    """At every change of a file; when killed, nothing is cleaned up either."""
    before, after = content(single), content(sharded)
    for step in itertools.count():
        index = tmp_path / str(step) / "mine" / "files.parquet"
        index.parent.mkdir(parents=True)
        placed(Path(shutil.copytree(single, tmp_path / str(step) / "first")), index)
        second = Path(shutil.copytree(sharded, tmp_path / str(step) / "second"))
        with pytest.MonkeyPatch.context() as patched:
            ended = ending_at(patched, step, ending)
            with contextlib.suppress(ending):
                place(second, index)
        found = content(index.parent)
        assert all(data in (before.get(name), after.get(name)) for name, data in found.items())
        assert "config.json" not in found or found in (before, after)
        again = Path(shutil.copytree(sharded, tmp_path / str(step) / "again"))
        assert placed(again, index) == content(index.parent) == after
        if not ended:
            break
    # Every removal, every move, and the record.
    assert step > len(before) + len(after)


def ending_at(
    patched: pytest.MonkeyPatch, step: int, ending: type[BaseException]
) -> list[BaseException]:
    """Ends the process before a change of a file; if it is killed, no later one happens either.

    Gives what it was ended by, nothing if there are fewer changes.
    """
    left = iter(range(step))
    ended: list[BaseException] = []

    def counting(change: Callable[..., object]) -> Callable[..., object]:
        def changed(*arguments: object, **options: object) -> object:
            if next(left, None) is None and (not ended or ending is Killed):
                ended.append(ending())
                raise ended[-1]
            return change(*arguments, **options)

        return changed

    for owner, name in ((os, "replace"), (Path, "unlink"), (Path, "rmdir")):
        patched.setattr(owner, name, counting(getattr(owner, name)))
    return ended


def moving(patched: pytest.MonkeyPatch, failing: int, error: BaseException) -> list[str]:
    """Ends all moves from one of them on; gives the names that were moved."""
    moved: list[str] = []
    real = os.replace

    def replace(source: Path, target: Path) -> None:
        if Path(target).name != module.RECORD:
            if len(moved) == failing:
                raise error
            moved.append(Path(target).name)
        real(source, target)

    patched.setattr(os, "replace", replace)
    return moved


def test_the_description_arrives_last(
    single: Path, index: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    index.parent.parent.mkdir()
    moved = moving(monkeypatch, 99, Killed())
    place(single, index)
    assert moved[-1] == "config.json"


@pytest.fixture
def open_umask() -> Iterator[None]:
    before = os.umask(0o002)
    yield
    os.umask(before)


def test_the_umask_decides_who_may_read_a_model(
    single: Path, index: Path, open_umask: None
) -> None:
    """Bug: the library that writes safetensors gives them to their owner alone."""
    (single / "model.safetensors").chmod(0o600)
    index.parent.parent.mkdir()
    place(single, index)
    modes = {path.name: path.stat().st_mode & 0o777 for path in index.parent.iterdir()}
    assert set(modes.values()) == {0o664}
    assert module.RECORD in modes


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
