"""Text encoders opened for fine-tuning: vectors with gradients, pooled as at encoding, and saved as folders.

Weights are held in single precision; where encoders run in bfloat16 the passes do so too, by autocast. A folder that is
saved is opened by ``sentence:FOLDER`` or ``transformer:FOLDER``.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import nn

from reeltag.encoders.pretrained import device_and_precision
from reeltag.encoders.sentence import SentenceEncoder
from reeltag.encoders.transformer import TransformerEncoder, text_vectors, token_limit
from reeltag.errors import ConfigError, EncoderError

_KINDS = "minilm, sentence:MODEL, transformer:MODEL"


class TunableEncoder(Protocol):
    """A text encoder whose weights can be trained.

    Attributes:
        spec: What it was opened by.
        kind: What a saved folder is opened by: ``sentence`` or ``transformer``.
        network: Everything that is trained, in evaluation mode at first.
        limit: Tokens of a text that are read.
    """

    spec: str
    kind: str
    network: nn.Module
    limit: int

    @property
    def fingerprint(self) -> str:
        """That of the encoder as it was opened."""

    def titles_seen(self) -> list[str]:
        """Return the ids of the titles that it was fine-tuned on before."""

    def vectors(self, texts: Sequence[str]) -> torch.Tensor:
        """Return the unit vectors of texts that are not blank, float32 (n, dim), as the encoder makes them."""

    def save(self, folder: Path) -> None:
        """Write the encoder into a folder."""


class TunableSentence:
    """A sentence-transformers model, pooled by its own modules.

    Args:
        spec: ``minilm`` or ``sentence:MODEL``.
        model: ``minilm``, a local folder or a name on the hub.
        max_tokens: Tokens of a text at most; 0 reads as many as the encoder does. It is saved with the encoder.
    """

    kind = "sentence"

    def __init__(self, spec: str, model: str, max_tokens: int) -> None:
        self.spec = spec
        self._encoder = SentenceEncoder(model)
        self._device, self._dtype = device_and_precision()
        self._model: Any = self._encoder.load(self._device, torch.float32).eval()
        self.network: nn.Module = self._model
        places = self._model.max_seq_length or self._model[0].auto_model.config.max_position_embeddings
        self.limit = min(int(places), max_tokens or int(places))
        self._model.max_seq_length = self.limit

    @property
    def fingerprint(self) -> str:
        """That of the encoder as it was opened."""
        return self._encoder.fingerprint

    def titles_seen(self) -> list[str]:
        """Return the ids of the titles that it was fine-tuned on before."""
        return self._encoder.titles_seen()

    def vectors(self, texts: Sequence[str]) -> torch.Tensor:
        """Return the unit vectors of texts that are not blank, float32 (n, dim), as the encoder makes them."""
        prompt = self._model.prompts.get(self._model.default_prompt_name) or ""
        if hasattr(self._model, "preprocess"):
            tokens = self._model.preprocess(list(texts), prompt=prompt or None)
        else:  # older, within the supported versions
            tokens = self._model.tokenize([prompt + text for text in texts])
        tokens = {name: part.to(self._device) if torch.is_tensor(part) else part for name, part in tokens.items()}
        with _precision(self._device, self._dtype):
            pooled = self._model(tokens)["sentence_embedding"]
        return torch.nn.functional.normalize(pooled.float(), dim=1)

    def save(self, folder: Path) -> None:
        """Write the encoder into a folder."""
        self._model.save_pretrained(str(folder), create_model_card=False)


class TunableTransformer:
    """Any text model of transformers, pooled as ``TransformerEncoder`` pools.

    Args:
        spec: ``transformer:MODEL``.
        model: A local folder or a name on the hub.
        max_tokens: Tokens of a text at most; 0 reads as many as the encoder does. It is saved with the encoder.
    """

    kind = "transformer"

    def __init__(self, spec: str, model: str, max_tokens: int) -> None:
        self.spec = spec
        self._encoder = TransformerEncoder(model)
        self._device, self._dtype = device_and_precision()
        self._tokenizer, network = self._encoder.load(self._device, torch.float32)
        self.network: nn.Module = network
        places = token_limit(self._tokenizer, network)
        self.limit = min(places, max_tokens or places)
        self._tokenizer.model_max_length = self.limit

    @property
    def fingerprint(self) -> str:
        """That of the encoder as it was opened."""
        return self._encoder.fingerprint

    def titles_seen(self) -> list[str]:
        """Return the ids of the titles that it was fine-tuned on before."""
        return self._encoder.titles_seen()

    def vectors(self, texts: Sequence[str]) -> torch.Tensor:
        """Return the unit vectors of texts that are not blank, float32 (n, dim), as the encoder makes them."""
        tokens = self._tokenizer(
            list(texts), padding=True, truncation=True, max_length=self.limit, return_tensors="pt"
        ).to(self._device)
        with _precision(self._device, self._dtype):
            return text_vectors(self.network, tokens)

    def save(self, folder: Path) -> None:
        """Write the encoder into a folder."""
        self._tokenizer.save_pretrained(folder)
        network: Any = self.network
        network.save_pretrained(folder)


def open_tunable(spec: str, max_tokens: int = 0) -> TunableEncoder:
    """Open a text encoder for fine-tuning.

    Args:
        spec: ``minilm``, ``sentence:MODEL`` or ``transformer:MODEL``, where MODEL is a local folder or a name on the
            Hugging Face hub.
        max_tokens: Tokens of a text at most; 0 reads as many as the encoder does.

    Raises:
        EncoderError: The encoder has no weights to train, or its model cannot be loaded.
        MissingExtraError: The package that opens it is not installed.
    """
    kind, _, model = spec.partition(":")
    if spec == "minilm" or (kind == "sentence" and model):
        return TunableSentence(spec, model or spec, max_tokens)
    if kind == "transformer" and model:
        return TunableTransformer(spec, model, max_tokens)
    raise EncoderError(f"text encoder {spec!r} cannot be fine-tuned; those that can: {_KINDS}")


def train_last_layers(network: nn.Module, n_layers: int) -> None:
    """Leave only the last layers of a network to be trained, with all that comes behind them; 0 leaves all.

    Raises:
        EncoderError: Its layers cannot be told apart.
        ConfigError: It has fewer.
    """
    if n_layers == 0:
        network.requires_grad_(True)
        return
    prefix, layers = _layers(network)
    if n_layers > len(layers):
        raise ConfigError(f"layers must be at most {len(layers)}, which the encoder has; got {n_layers}")
    first = f"{prefix}.{len(layers) - n_layers}."
    reached = False
    for name, parameter in network.named_parameters():
        reached = reached or name.startswith(first)
        parameter.requires_grad_(reached)


def _layers(network: nn.Module) -> tuple[str, nn.ModuleList]:
    """Return the list of layers of a network and its name."""
    for module in network.modules():
        n_layers = getattr(getattr(module, "config", None), "num_hidden_layers", None)
        if n_layers is None:
            continue
        for name, part in network.named_modules():
            if isinstance(part, nn.ModuleList) and len(part) == n_layers:
                return name, part
    raise EncoderError("the layers of this encoder cannot be told apart; train all of them (layers=0)")


def _precision(device: str, dtype: torch.dtype) -> torch.autocast:
    """Return the context of a pass in a precision; single precision is left alone."""
    return torch.autocast(device, dtype=torch.bfloat16, enabled=dtype == torch.bfloat16)
