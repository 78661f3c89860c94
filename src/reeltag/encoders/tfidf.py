"""TF-IDF of words and word pairs: fitted on the training fold, needs nothing but the texts."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp
from safetensors.numpy import load_file, save_file
from sklearn.feature_extraction.text import TfidfVectorizer

from reeltag.config import check_range, from_json, to_json
from reeltag.encoders.contract import has_content
from reeltag.errors import EncoderError, NotFittedError
from reeltag.features import Values


@dataclass(frozen=True, kw_only=True)
class TfidfConfig:
    """Settings of the TF-IDF encoder.

    Attributes:
        max_words: Longest phrase: 1 takes words, 2 words and pairs of neighbours.
        min_titles: Phrases in fewer training texts are left out.
        max_features: At most so many phrases, the most frequent.
        stop_words: ``english`` leaves out function words; empty keeps all (choose it for other languages).
    """

    max_words: int = 2
    min_titles: int = 2
    max_features: int = 100_000
    stop_words: str = "english"

    def __post_init__(self) -> None:
        check_range("TfidfConfig", "max_words", self.max_words, 1, 5)
        check_range("TfidfConfig", "min_titles", self.min_titles, 1, 1_000_000)
        check_range("TfidfConfig", "max_features", self.max_features, 1, 10_000_000)
        if self.stop_words not in ("", "english"):
            raise EncoderError(f"TfidfConfig.stop_words must be 'english' or empty; got {self.stop_words!r}")


class TfidfEncoder:
    """Sublinear TF-IDF with unit rows, as a sparse block.

    Args:
        config: Settings.
    """

    name = "tfidf"

    def __init__(self, config: TfidfConfig | None = None) -> None:
        self.config = config or TfidfConfig()
        self._vectorizer: TfidfVectorizer | None = None

    def fit(self, texts: Sequence[str]) -> TfidfEncoder:
        """Learn the vocabulary and the inverse document frequencies from the training texts.

        Raises:
            EncoderError: No phrase is in enough texts.
        """
        filled = [text for text in texts if text.strip()]
        vectorizer = self._fresh(min(self.config.min_titles, max(len(filled), 1)))
        try:
            self._vectorizer = vectorizer.fit(filled)
        except ValueError:
            raise EncoderError(
                f"TF-IDF: no phrase is in {self.config.min_titles} of the {len(filled):,} training texts; "
                "lower min_titles or give more texts"
            ) from None
        return self

    @property
    def dim(self) -> int:
        """Number of phrases."""
        return len(self._fitted().vocabulary_)

    @property
    def fingerprint(self) -> str:
        """A hash of the settings, the vocabulary and the frequencies."""
        vectorizer = self._fitted()
        digest = hashlib.sha256(json.dumps(to_json(self.config), sort_keys=True).encode())
        digest.update("\x1f".join(self._phrases()).encode())
        digest.update(vectorizer.idf_.astype(np.float32).tobytes())
        return digest.hexdigest()[:32]

    def encode(self, batch: Sequence[str]) -> tuple[Values, npt.NDArray[np.bool_]]:
        """Return CSR rows (n, dim) of unit length, and which texts hold a known phrase."""
        vectorizer = self._fitted()
        if len(batch) == 0:
            return sp.csr_matrix((0, self.dim), dtype=np.float32), np.zeros(0, np.bool_)
        rows = sp.csr_matrix(vectorizer.transform(batch), dtype=np.float32)
        return rows, has_content(batch) & (np.diff(rows.indptr) > 0)

    def save(self, folder: Path) -> None:
        """Write the vocabulary as JSON and the frequencies as safetensors."""
        folder.mkdir(parents=True, exist_ok=True)
        data = {"config": to_json(self.config), "phrases": self._phrases()}
        (folder / "tfidf.json").write_text(json.dumps(data, ensure_ascii=False), encoding="utf-8")
        save_file({"idf": self._fitted().idf_.astype(np.float64)}, folder / "tfidf.safetensors")

    @classmethod
    def load(cls, folder: Path) -> TfidfEncoder:
        """Read what ``save`` wrote."""
        data = json.loads((folder / "tfidf.json").read_text(encoding="utf-8"))
        encoder = cls(from_json(TfidfConfig, data["config"], "tfidf.json: config"))
        vectorizer = encoder._fresh(1, {phrase: column for column, phrase in enumerate(data["phrases"])})
        vectorizer.fit([""])  # takes over the given vocabulary
        vectorizer.idf_ = load_file(folder / "tfidf.safetensors")["idf"].astype(np.float64)
        encoder._vectorizer = vectorizer
        return encoder

    def _fresh(self, min_titles: int, vocabulary: dict[str, int] | None = None) -> TfidfVectorizer:
        return TfidfVectorizer(
            sublinear_tf=True,
            ngram_range=(1, self.config.max_words),
            min_df=min_titles,
            max_features=self.config.max_features,
            stop_words=self.config.stop_words or None,
            vocabulary=vocabulary,
        )

    def _phrases(self) -> list[str]:
        vocabulary = self._fitted().vocabulary_
        return sorted(vocabulary, key=vocabulary.__getitem__)

    def _fitted(self) -> TfidfVectorizer:
        if self._vectorizer is None:
            raise NotFittedError("TfidfEncoder is used before fit")
        return self._vectorizer
