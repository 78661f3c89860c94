"""How alike two titles must be to count as one, and what a search found."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import numpy.typing as npt

from reeltag.config import check_range
from reeltag.errors import ConfigError

Kind = Literal["same_id", "same_film", "same_title", "same_plot", "quoted_plot", "same_poster", "same_trailer"]
KINDS: tuple[Kind, ...] = (
    "same_id", "same_film", "same_title", "same_plot", "quoted_plot", "same_poster", "same_trailer",
)  # fmt: skip
# the kinds that keep two titles in one group; two films may share title and year by chance
GROUPING_KINDS: tuple[Kind, ...] = tuple(kind for kind in KINDS if kind != "same_title")
POSTER_BITS = 256


@dataclass(frozen=True, kw_only=True)
class DuplicateConfig:
    """When two titles are near-same.

    The defaults were chosen by reading pairs of a catalogue of 113,058 films with 17,672 posters: plots from 0.5
    Jaccard similarity on are one text revised, between 0.4 and 0.5 half of them share a phrase only; posters up to
    a distance of 50 bits are one picture, the first strangers meet at 70, a recompressed or resized copy stays
    within 28 and one trimmed by 2 % within 44 (99 % of the cases).

    Attributes:
        plot_similarity: Least Jaccard similarity of the shingles of two texts, in (0, 1].
        plot_containment: Least share of the shorter text's shingles that the longer text quotes, in (0, 1].
        min_words: Shorter texts are not compared: "The life and times of …" is no plot.
        shingle_words: Words per shingle.
        year_tolerance: Two titles with one name and one director are one film up to this difference in years.
        poster_distance: Greatest Hamming distance of two 256-bit perceptual hashes.
        posters: Compare the posters.
        trailers: Compare the trailers: copies of one file.
        max_copies: A title, text, poster or trailer on more titles than this is a placeholder ("Plot unknown"): it is
            reported, not compared.
        max_shingle_titles: Shingles in more texts than this do not make two texts candidates. Two texts whose rarest
            shared shingles are all that common go unseen; in exchange templated texts cannot take forever.
        n_threads: Threads that decode and hash posters.
    """

    plot_similarity: float = 0.5
    plot_containment: float = 0.9
    min_words: int = 10
    shingle_words: int = 3
    year_tolerance: int = 1
    poster_distance: int = 48
    posters: bool = True
    trailers: bool = True
    max_copies: int = 50
    max_shingle_titles: int = 1_000
    n_threads: int = 2

    def __post_init__(self) -> None:
        owner = "DuplicateConfig"
        check_range(owner, "plot_similarity", self.plot_similarity, 0.05, 1)
        check_range(owner, "plot_containment", self.plot_containment, 0.05, 1)
        check_range(owner, "shingle_words", self.shingle_words, 1, 20)
        check_range(owner, "year_tolerance", self.year_tolerance, 0, 100)
        check_range(owner, "poster_distance", self.poster_distance, 0, POSTER_BITS // 2)
        check_range(owner, "n_threads", self.n_threads, 1, 256)
        if self.min_words < self.shingle_words:
            raise ConfigError(
                f"{owner}.min_words must be at least shingle_words ({self.shingle_words}); got {self.min_words}"
            )
        for name in ("max_copies", "max_shingle_titles"):
            if getattr(self, name) < 2:
                raise ConfigError(f"{owner}.{name} must be at least 2; got {getattr(self, name)}")


@dataclass(frozen=True, kw_only=True)
class Pairs:
    """Pairs of rows, each once, ``left < right``.

    Attributes:
        left: Row numbers, shape (n_pairs,).
        right: Row numbers, shape (n_pairs,).
        similarity: From 0 to 1 (the same), shape (n_pairs,).
    """

    left: npt.NDArray[np.int64]
    right: npt.NDArray[np.int64]
    similarity: npt.NDArray[np.float32]

    @classmethod
    def best(
        cls, left: npt.NDArray[np.integer], right: npt.NDArray[np.integer], similarity: npt.NDArray[np.floating]
    ) -> Pairs:
        """Order each pair, drop pairs of a row with itself, keep the greatest similarity of a repeated pair."""
        low, high = np.minimum(left, right).astype(np.int64), np.maximum(left, right).astype(np.int64)
        apart = low < high
        low, high, values = low[apart], high[apart], similarity[apart].astype(np.float32)
        order = np.lexsort((-values, high, low))
        low, high, values = low[order], high[order], values[order]
        first = np.ones(len(low), np.bool_)
        first[1:] = (low[1:] != low[:-1]) | (high[1:] != high[:-1])
        return cls(left=low[first], right=high[first], similarity=values[first])

    @classmethod
    def none(cls) -> Pairs:
        """Return no pairs."""
        return cls(left=np.zeros(0, np.int64), right=np.zeros(0, np.int64), similarity=np.zeros(0, np.float32))

    def keep(self, mask: npt.NDArray[np.bool_]) -> Pairs:
        """Return the pairs where ``mask`` (n_pairs,) is True."""
        return Pairs(left=self.left[mask], right=self.right[mask], similarity=self.similarity[mask])

    def __len__(self) -> int:
        return len(self.left)


@dataclass(frozen=True, kw_only=True)
class Placeholder:
    """A title, text, poster or trailer that stands on too many titles to mean one film.

    Attributes:
        field: ``title``, ``plot``, ``outline``, ``poster`` or ``trailer``.
        example: The text, cut to a readable length, or the row number of one title with that poster or trailer.
        n_titles: On how many titles it stands.
    """

    field: str
    example: str
    n_titles: int


@dataclass(frozen=True, kw_only=True)
class Duplicates:
    """Near-same titles of one catalogue or several.

    Attributes:
        n_titles: Number of titles; the rows of several catalogues are counted through.
        pairs: Pairs by kind; every kind of ``KINDS`` is there. ``same_title`` holds titles of one name and year that
            do not share a director (else they are ``same_film``); ``quoted_plot`` holds plots that one text of the
            other title contains, without being ``same_plot``.
        placeholders: What was left out because too many titles have it.
        n_posters: Posters compared.
        n_broken_posters: Posters that cannot be decoded.
        n_plain_posters: Posters of one even colour, which are not compared.
        n_short_texts: Texts under ``min_words``, which are not compared.
    """

    n_titles: int
    pairs: Mapping[Kind, Pairs]
    placeholders: tuple[Placeholder, ...] = field(default=())
    n_posters: int = 0
    n_broken_posters: int = 0
    n_plain_posters: int = 0
    n_short_texts: int = 0

    def groups(self, kinds: tuple[Kind, ...] = GROUPING_KINDS) -> npt.NDArray[np.int64]:
        """Return a group number per title, shape (n_titles,): titles linked by pairs, however far, share one."""
        from scipy.sparse import coo_matrix
        from scipy.sparse.csgraph import connected_components

        left = np.concatenate([self.pairs[kind].left for kind in kinds])
        right = np.concatenate([self.pairs[kind].right for kind in kinds])
        links = coo_matrix((np.ones(len(left), np.int8), (left, right)), shape=(self.n_titles, self.n_titles))
        numbers: npt.NDArray[np.int64] = connected_components(links, directed=False)[1].astype(np.int64)
        return numbers
