"""Any text model of transformers: BERT with the mean of its last four layers, or the text tower of CLIP."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from reeltag.encoders.contract import has_content
from reeltag.encoders.pieces import PieceReader, like_lengths
from reeltag.encoders.pretrained import (
    LOAD_ERRORS,
    check_complete,
    device_and_precision,
    folder_fingerprint,
    model_folder,
    quiet_loading,
    titles_seen,
)
from reeltag.errors import EncoderError, MissingExtraError
from reeltag.features import Values

_DEFAULT_MAX_TOKENS = 512


class TransformerEncoder:
    """Mean of the last four hidden layers over the tokens of a text (seed 003: BERT, mean of the last four layers).

    For CLIP models, whose text tower is trained to be read at one place, the projected text embedding is taken.

    Args:
        model: A local folder or a name on the hub.
        batch_size: Texts per forward pass.
    """

    def __init__(self, model: str, batch_size: int = 32) -> None:
        self.model = model
        self.batch_size = batch_size
        self.name = Path(model).name.replace(".", "-")

    @cached_property
    def _folder(self) -> Path:
        return model_folder(self.model)

    @cached_property
    def _loaded(self) -> tuple[Any, Any]:
        return self.load(*device_and_precision())

    def load(self, device: str, dtype: torch.dtype) -> tuple[Any, Any]:
        """Return the tokenizer and the network, in evaluation mode, read anew from their folder.

        Raises:
            MissingExtraError: transformers is not installed.
            EncoderError: There is no such model, or its folder is incomplete or damaged.
        """
        try:
            from transformers import AutoConfig, AutoModel, AutoTokenizer, CLIPTextModelWithProjection
        except ImportError:
            raise MissingExtraError("transformers", "text", f"the text encoder {self.model!r}") from None
        quiet_loading()
        try:
            tokenizer = AutoTokenizer.from_pretrained(self._folder, local_files_only=True)
            kind = AutoConfig.from_pretrained(self._folder, local_files_only=True).model_type
            loader: Any = CLIPTextModelWithProjection if kind in ("clip", "clip_text_model") else AutoModel
            network, found = loader.from_pretrained(
                self._folder, local_files_only=True, dtype=dtype, output_loading_info=True
            )
        except LOAD_ERRORS as error:
            raise EncoderError(f"text encoder {self.model!r}: cannot be loaded from {self._folder} ({error})") from None
        missing = [name for name in found["missing_keys"] if not name.startswith("pooler.")]  # not read here
        check_complete(f"text encoder {self.model!r}", self._folder, missing)
        return tokenizer, network.to(device).eval()

    @property
    def dim(self) -> int:
        """Width of the vectors."""
        config = self._loaded[1].config
        return int(config.projection_dim if self._is_clip else config.hidden_size)

    @cached_property
    def fingerprint(self) -> str:
        """A hash of the model's files and the precision it runs in."""
        return f"transformer-{folder_fingerprint(self._folder)}-{device_and_precision()[1]}"

    def titles_seen(self) -> list[str]:
        """Return the ids of the titles that the model was fine-tuned on, if it was."""
        return titles_seen(self._folder)

    @property
    def _is_clip(self) -> bool:
        return _is_clip(self._loaded[1])

    @torch.inference_mode()
    def encode(self, batch: Sequence[str]) -> tuple[Values, npt.NDArray[np.bool_]]:
        """Return unit vectors (n, dim) and which texts are not blank; long texts are cut at the model's limit."""
        present = has_content(batch)
        values = np.zeros((len(batch), self.dim), np.float32)
        for chosen in like_lengths(batch, self.batch_size):
            values[chosen] = self._forward([batch[row] for row in chosen])
        return values, present

    @property
    def token_dim(self) -> int:
        """Width of the word-piece tokens: the hidden states of the network."""
        config = self._loaded[1].config
        return int(getattr(config, "text_config", config).hidden_size)

    def encode_pieces(self, batch: Sequence[str]) -> list[npt.NDArray[np.float16]]:
        """Return the last hidden state of every word piece of texts, (n_pieces, token_dim) each; none for a blank text.

        CLIP's texts have one token more, put first: the tower gathers the whole text there.
        """
        return self._reader.encode(batch, self.token_dim, self._loaded[1].device)

    def pieces(self, text: str) -> list[tuple[int, int]]:
        """Return where every token of a text begins and ends in it; equal ends for a token of the whole text."""
        return self._reader.spans(text)

    @property
    def _reader(self) -> PieceReader:
        tokenizer, network = self._loaded
        if not tokenizer.is_fast:
            raise EncoderError(f"text encoder {self.model!r}: its tokenizer does not tell where its tokens stand")
        tower = network.text_model if self._is_clip else network
        return PieceReader(
            tokenizer=tokenizer, network=tower, limit=self._limit, batch_size=self.batch_size, ending=self._is_clip
        )

    @property
    def _limit(self) -> int:
        return token_limit(*self._loaded)

    def _forward(self, texts: list[str]) -> npt.NDArray[np.float32]:
        tokenizer, network = self._loaded
        tokens = tokenizer(texts, padding=True, truncation=True, max_length=self._limit, return_tensors="pt").to(
            network.device
        )
        result: npt.NDArray[np.float32] = text_vectors(network, tokens).cpu().numpy()
        return result


def text_vectors(network: Any, tokens: Any) -> torch.Tensor:
    """Return the unit vectors of tokenized texts, float32 (n, dim).

    Args:
        network: As ``TransformerEncoder.load`` returns it.
        tokens: Of a batch of texts, on the network's device.
    """
    if _is_clip(network):
        vectors = network(**tokens).text_embeds
    else:
        layers = network(**tokens, output_hidden_states=True).hidden_states[-4:]
        states = torch.stack(layers).float().mean(dim=0)  # (n, n_tokens, dim)
        mask = tokens["attention_mask"].unsqueeze(-1)
        vectors = (states * mask).sum(dim=1) / mask.sum(dim=1)
    return torch.nn.functional.normalize(vectors.float(), dim=1)


def token_limit(tokenizer: Any, network: Any) -> int:
    """Return how many tokens of a text a network reads."""
    return int(min(tokenizer.model_max_length, _n_positions(network)))


def _is_clip(network: Any) -> bool:
    return bool(network.config.model_type in ("clip", "clip_text_model"))


def _n_positions(network: Any) -> int:
    """Return how many tokens a network has places for; the RoBERTa family counts from behind its padding token."""
    places = int(getattr(network.config, "max_position_embeddings", _DEFAULT_MAX_TOKENS))
    table = getattr(getattr(network, "embeddings", None), "position_embeddings", None)
    padding = getattr(table, "padding_idx", None)
    return places if padding is None else places - padding - 1
