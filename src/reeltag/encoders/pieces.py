"""Word pieces of texts: which of a tokenizer's tokens are kept, their states, and where they stand in the text."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from reeltag.encoders.contract import has_content


@dataclass(frozen=True, kw_only=True)
class PieceReader:
    """Reads texts piece by piece.

    Attributes:
        tokenizer: Of transformers, a fast one: it knows where its tokens stand in a text.
        network: The network over its tokens, whose output has ``last_hidden_state``.
        limit: Tokens of a text that the network reads.
        batch_size: Texts per forward pass.
        ending: Keep the last token too, in which some models gather the whole text; it is put first, so that a limit on
            tokens never cuts it off.
    """

    tokenizer: Any
    network: Callable[..., Any]
    limit: int
    batch_size: int
    ending: bool = False

    @torch.inference_mode()
    def encode(self, texts: Sequence[str], width: int, device: Any) -> list[npt.NDArray[np.float16]]:
        """Return the last hidden state of every word piece, (n_pieces, width) each; none for a blank text.

        Args:
            texts: The texts.
            width: Of the states.
            device: Where the network is.
        """
        found = [np.zeros((0, width), np.float16)] * len(texts)
        for chosen in like_lengths(texts, self.batch_size):
            tokens = self.tokenizer(
                [texts[row] for row in chosen],
                padding=True, truncation=True, max_length=self.limit, return_tensors="pt",
                return_special_tokens_mask=True,
            )  # fmt: skip
            given = {name: value.to(device) for name, value in tokens.items() if name != "special_tokens_mask"}
            states = self.network(**given).last_hidden_state.float().cpu().numpy().astype(np.float16)
            for row, own, mask in zip(chosen, states, self._kept(tokens), strict=True):
                found[row] = np.roll(own[mask], int(self.ending), axis=0)
        return found

    def spans(self, text: str) -> list[tuple[int, int]]:
        """Return where every kept token of a text begins and ends in it; equal ends for a token of the whole text."""
        tokens = self.tokenizer(
            [text], truncation=True, max_length=self.limit, return_offsets_mapping=True, return_special_tokens_mask=True
        )
        kept = self._kept(tokens)[0]
        found = [(int(a), int(b)) for (a, b), is_kept in zip(tokens["offset_mapping"][0], kept, strict=True) if is_kept]
        return [*found[-1:], *found[:-1]] if self.ending else found

    def _kept(self, tokens: Any) -> npt.NDArray[np.bool_]:
        """Return which tokens stand for word pieces, (n, n_tokens)."""
        real = np.asarray(tokens["attention_mask"]) > 0
        kept = real & (np.asarray(tokens["special_tokens_mask"]) == 0)
        if self.ending:
            last = real.shape[1] - 1 - np.argmax(real[:, ::-1], axis=1)
            kept[np.arange(len(kept)), last] = True
        return np.asarray(kept)


def like_lengths(texts: Sequence[str], batch_size: int) -> Iterator[list[int]]:
    """Yield the rows of the texts that are not blank, texts of like lengths together: less padding."""
    rows = np.flatnonzero(has_content(texts)).tolist()
    rows.sort(key=lambda row: len(texts[row]))
    for start in range(0, len(rows), batch_size):
        yield rows[start : start + batch_size]
