"""Sentence embeddings through sentence-transformers; all-MiniLM-L6-v2 is embedded and needs no download."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from reeltag.encoders.contract import has_content
from reeltag.encoders.pieces import PieceReader
from reeltag.encoders.pretrained import (
    LOAD_ERRORS,
    device_and_precision,
    embedded_minilm,
    folder_fingerprint,
    model_folder,
    quiet_loading,
    titles_seen,
)
from reeltag.errors import EncoderError, MissingExtraError
from reeltag.features import Values


class SentenceEncoder:
    """A sentence-transformers model with its own pooling.

    Args:
        model: ``minilm`` for the embedded model, else a local folder or a name on the hub.
        batch_size: Texts per forward pass.
    """

    def __init__(self, model: str = "minilm", batch_size: int = 64) -> None:
        self.model = model
        self.batch_size = batch_size
        self.name = Path(model).name.replace(".", "-")

    @cached_property
    def _folder(self) -> Path:
        return embedded_minilm() if self.model == "minilm" else model_folder(self.model)

    @cached_property
    def _loaded(self) -> Any:
        return self.load(*device_and_precision())

    def load(self, device: str, dtype: torch.dtype) -> Any:
        """Return the model, read anew from its folder.

        Raises:
            MissingExtraError: sentence-transformers is not installed.
            EncoderError: There is no such model, or its folder is incomplete or damaged.
        """
        try:
            from sentence_transformers import SentenceTransformer
        except ImportError:
            raise MissingExtraError("sentence-transformers", "text", f"the text encoder {self.model!r}") from None
        quiet_loading()
        try:
            return SentenceTransformer(str(self._folder), device=device, local_files_only=True).to(dtype)
        except LOAD_ERRORS as error:
            raise EncoderError(f"text encoder {self.model!r}: cannot be loaded from {self._folder} ({error})") from None

    @property
    def dim(self) -> int:
        """Width of the vectors."""
        model = self._loaded  # the method was renamed within the supported versions
        width = getattr(model, "get_embedding_dimension", None) or model.get_sentence_embedding_dimension
        return int(width())

    @cached_property
    def fingerprint(self) -> str:
        """A hash of the model's files and the precision it runs in."""
        return f"sentence-{folder_fingerprint(self._folder)}-{device_and_precision()[1]}"

    def titles_seen(self) -> list[str]:
        """Return the ids of the titles that the model was fine-tuned on, if it was."""
        return titles_seen(self._folder)

    def encode(self, batch: Sequence[str]) -> tuple[Values, npt.NDArray[np.bool_]]:
        """Return unit vectors (n, dim) and which texts are not blank."""
        present = has_content(batch)
        values = np.zeros((len(batch), self.dim), np.float32)
        if present.any():
            texts = [text for text, filled in zip(batch, present, strict=True) if filled]
            vectors = self._loaded.encode(
                texts, batch_size=self.batch_size, convert_to_tensor=True, normalize_embeddings=True,
                show_progress_bar=False,
            )  # fmt: skip
            values[present] = vectors.float().cpu().numpy()
        return values, present

    @property
    def token_dim(self) -> int:
        """Width of the word-piece tokens: the hidden states of the network."""
        return int(self._network.config.hidden_size)

    def encode_pieces(self, batch: Sequence[str]) -> list[npt.NDArray[np.float16]]:
        """Return the last hidden state of every word piece of texts, (n_pieces, token_dim) each; none for a blank text.

        Raises:
            EncoderError: The model has no network over word pieces.
        """
        return self._reader.encode(batch, self.token_dim, self._network.device)

    def pieces(self, text: str) -> list[tuple[int, int]]:
        """Return where every token of a text begins and ends in it."""
        return self._reader.spans(text)

    @property
    def _reader(self) -> PieceReader:
        limit = self._loaded.max_seq_length or self._network.config.max_position_embeddings
        return PieceReader(
            tokenizer=self._loaded.tokenizer, network=self._network, limit=int(limit), batch_size=self.batch_size
        )

    @cached_property
    def _network(self) -> Any:
        """The network behind the pooling."""
        first = self._loaded[0]
        network = getattr(first, "auto_model", None)
        if network is None or not getattr(self._loaded.tokenizer, "is_fast", False):
            raise EncoderError(f"text encoder {self.model!r}: has no network over word pieces, so no tokens")
        return network
