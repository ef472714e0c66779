"""Where artefacts come from: folders, the Hugging Face hub and tracked runs."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from reward.scoring.open_folder import ArtifactError, shown_error


@contextmanager
def fetched(source: str) -> Iterator[tuple[Path, Path | None]]:
    """The local folder of ``source``, and where its files may be links to.

    Raises:
        ArtifactError: it cannot be downloaded, for whatever reason.
    """
    if source.startswith("hf://"):
        yield _from_hub(source)
    elif source.startswith("wandb://"):
        with tempfile.TemporaryDirectory(prefix="reward-") as scratch:
            yield _from_wandb(source, scratch), None
    elif not source:
        raise ArtifactError("an artefact expected a folder, hf://org/name or wandb://entity/project/name:alias, got ''")
    else:
        yield Path(source), None


def _from_hub(source: str) -> tuple[Path, Path | None]:
    try:
        from huggingface_hub import snapshot_download
    except ImportError as error:
        raise ArtifactError(f"{source} needs the extra reward[hub]: pip install 'reward[hub]'") from error
    name, _, revision = source.removeprefix("hf://").partition("@")
    try:
        folder = Path(snapshot_download(name, revision=revision or None))
    except Exception as error:  # of its network, its server or its cache
        raise _not_downloaded(source, error) from error
    kept = folder.parent.parent / "blobs"  # files of its cache are links to these
    return folder, kept if kept.is_dir() else None


def _from_wandb(source: str, scratch: str) -> Path:
    try:
        import wandb

        return Path(wandb.Api().artifact(source.removeprefix("wandb://")).download(root=scratch))
    except Exception as error:  # of its network, its server or its login
        raise _not_downloaded(source, error) from error


def _not_downloaded(source: str, error: Exception) -> ArtifactError:
    return ArtifactError(
        f"{source} could not be downloaded: {type(error).__name__}: {shown_error(error)}: see that the name is right, "
        "that you may read it and that the network is there, or give a folder"
    )
