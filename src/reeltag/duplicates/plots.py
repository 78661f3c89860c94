"""Near-same texts by a set-similarity join: exact Jaccard similarity without comparing all pairs.

Prefix filtering (Chaudhuri, Ganti and Kaushik 2006; Bayardo, Ma and Srikant 2007, "Scaling up all pairs similarity
search"): with the shingles of every text ordered from rare to common, a text of which a share ``c`` must recur in a
longer one has at least one of its ``n - ceil(c n) + 1`` rarest shingles there. Texts that share such a shingle are
found by one sparse product and then compared in full. Differs from the papers in one point: shingles in more than
``max_shingle_titles`` texts are not used to find candidates.

The plot and the outline of a title are two texts, and each is compared with both of every other title: catalogues
are merged from sources, and what one calls the plot of a film another calls the outline.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import polars as pl
from scipy import sparse

from reeltag.duplicates.config import DuplicateConfig, Pairs, Placeholder
from reeltag.duplicates.words import comparable_words
from reeltag.progress import Progress

TEXT_FIELDS = ("plot", "outline")
_CHUNK_ROWS = 20_000
_BLOCK_PRODUCTS = 4_000_000  # of a sparse product at a time
_BLOCK_PAIRS = 65_536
_EXAMPLE_CHARACTERS = 80


@dataclass(frozen=True, kw_only=True)
class _Texts:
    """All texts long enough, words as 64-bit hashes laid end to end."""

    row: npt.NDArray[np.int64]  # (n_texts,) title
    field: npt.NDArray[np.int64]  # (n_texts,) place in TEXT_FIELDS
    key: npt.NDArray[np.uint64]  # (n_texts,) hash of the whole text
    n_words: npt.NDArray[np.int64]  # (n_texts,)
    words: npt.NDArray[np.uint64]  # (sum of n_words,)
    n_short: int

    def keep(self, mask: npt.NDArray[np.bool_]) -> _Texts:
        return replace(
            self,
            row=self.row[mask],
            field=self.field[mask],
            key=self.key[mask],
            n_words=self.n_words[mask],
            words=self.words[np.repeat(mask, self.n_words)],
        )


@dataclass(frozen=True, kw_only=True)
class _Shingles:
    """The shingles of every text, numbered from rare to common, those of one text only left out of ``shared``."""

    shared: sparse.csr_matrix  # (n_texts, n_shared_shingles) of ones
    place: npt.NDArray[np.int64]  # (nnz,) place of each entry among all shingles of its text, rare first
    size: npt.NDArray[np.int64]  # (n_texts,) number of distinct shingles
    n_texts: npt.NDArray[np.int64]  # (n_shared_shingles,) in how many texts each is


@dataclass(frozen=True, kw_only=True)
class _Near:
    """Pairs of texts above a threshold, each array of shape (n_pairs,)."""

    short: npt.NDArray[np.int64]
    long: npt.NDArray[np.int64]
    jaccard: npt.NDArray[np.float64]
    containment: npt.NDArray[np.float64]  # share of the shorter text's shingles that the longer has


_NOTHING = _Near(short=np.zeros(0, np.int64), long=np.zeros(0, np.int64), jaccard=np.zeros(0), containment=np.zeros(0))


def near_same_plots(
    frame: pl.DataFrame, config: DuplicateConfig, progress: Progress | None = None
) -> tuple[Pairs, Pairs, list[Placeholder], int]:
    """Find titles whose plots or outlines are near-same, or one of which quotes the other's.

    Args:
        frame: Columns ``plot`` and ``outline``, either of which may be absent.
        config: The thresholds.
        progress: Told how many texts are done.

    Returns:
        Pairs of at least ``plot_similarity`` with their Jaccard similarity; further pairs of at least
        ``plot_containment`` with the share of the shorter text that the longer holds; texts on too many titles;
        number of texts too short to compare.
    """
    texts = _read(frame, config)
    texts, placeholders = _without_placeholders(texts, frame, config.max_copies)
    blocks = [_NOTHING]
    if len(texts.row):
        blocks += _join(_shingles(texts, config.shingle_words), config, progress)
    left = texts.row[np.concatenate([block.short for block in blocks])]
    right = texts.row[np.concatenate([block.long for block in blocks])]
    jaccard = np.concatenate([block.jaccard for block in blocks])
    containment = np.concatenate([block.containment for block in blocks])
    is_same = jaccard >= config.plot_similarity
    same = Pairs.best(left[is_same], right[is_same], jaccard[is_same])
    rest = Pairs.best(left[~is_same], right[~is_same], containment[~is_same])
    return same, rest.keep(~_among(rest, same)), placeholders, texts.n_short


def _read(frame: pl.DataFrame, config: DuplicateConfig) -> _Texts:
    parts: list[pl.DataFrame] = []
    words, n_short = [np.zeros(0, np.uint64)], 0
    for number, name in enumerate(TEXT_FIELDS):
        if name not in frame.columns:
            continue
        for first in range(0, len(frame), _CHUNK_ROWS):
            chunk = frame.slice(first, _CHUNK_ROWS).select(
                row=pl.int_range(first, first + pl.len(), dtype=pl.Int64),
                field=pl.lit(number, pl.Int64),
                words=comparable_words(pl.col(name)),
            )
            chunk = chunk.drop_nulls("words").with_columns(n_words=pl.col("words").list.len().cast(pl.Int64))
            long_enough = chunk.filter(pl.col("n_words") >= config.min_words)
            n_short += len(chunk) - len(long_enough)
            words.append(long_enough["words"].explode().drop_nulls().hash().to_numpy())
            key = long_enough["words"].list.join(" ").hash().alias("key")
            parts.append(long_enough.select("row", "field", "n_words").with_columns(key))
    if not parts:
        parts.append(pl.DataFrame(schema={"row": pl.Int64, "field": pl.Int64, "n_words": pl.Int64, "key": pl.UInt64}))
    table = pl.concat(parts)
    return _Texts(
        row=table["row"].to_numpy(),
        field=table["field"].to_numpy(),
        key=table["key"].to_numpy(),
        n_words=table["n_words"].to_numpy(),
        words=np.concatenate(words),
        n_short=n_short,
    )


def _without_placeholders(texts: _Texts, frame: pl.DataFrame, max_copies: int) -> tuple[_Texts, list[Placeholder]]:
    table = pl.DataFrame({"key": texts.key, "row": texts.row, "field": texts.field})
    counts = table.select(n=pl.col("row").n_unique().over("key"))["n"].to_numpy()
    crowded = table.with_columns(n=counts).filter(pl.col("n") > max_copies).unique("key", keep="first")
    placeholders = [
        Placeholder(field=TEXT_FIELDS[field], example=frame[TEXT_FIELDS[field]][row][:_EXAMPLE_CHARACTERS], n_titles=n)
        for row, field, n in crowded.sort("n", descending=True).select("row", "field", "n").iter_rows()
    ]
    return (texts.keep(counts <= max_copies) if placeholders else texts), placeholders


def _shingles(texts: _Texts, length: int) -> _Shingles:
    owner = np.repeat(np.arange(len(texts.row)), texts.n_words)
    n_starts = len(owner) - length + 1
    hashed = np.zeros(n_starts, np.uint64)
    for offset in range(length):
        hashed = _mixed(hashed ^ texts.words[offset : offset + n_starts])
    whole = owner[:n_starts] == owner[length - 1 :]
    hashed, owner = hashed[whole], owner[:n_starts][whole]
    _, token = np.unique(hashed, return_inverse=True)
    del hashed
    key = np.unique(owner * np.int64(token.max() + 1) + token)  # a shingle counts once per text
    owner, token = np.divmod(key, np.int64(token.max() + 1))
    n_texts = np.bincount(token)
    order = np.argsort(n_texts, kind="stable")
    rank = np.empty(len(order), np.int64)
    rank[order] = np.arange(len(order))
    by_rarity = np.lexsort((rank[token], owner))
    token = rank[token[by_rarity]]
    size = np.bincount(owner, minlength=len(texts.row))
    place = np.arange(len(token)) - np.repeat(np.cumsum(size) - size, size)
    n_single = int((n_texts == 1).sum())
    shared = token >= n_single
    owner, token, place = owner[shared], token[shared] - n_single, place[shared]
    shape = (len(texts.row), len(n_texts) - n_single)
    indptr = np.concatenate([[0], np.cumsum(np.bincount(owner, minlength=shape[0]))])
    matrix = sparse.csr_matrix((np.ones(len(token), np.int32), token.astype(np.int32), indptr), shape=shape)
    return _Shingles(shared=matrix, place=place, size=size, n_texts=np.sort(n_texts)[n_single:])


def _mixed(values: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    """Scatter 64-bit values (the finaliser of splitmix64)."""
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))


def _join(shingles: _Shingles, config: DuplicateConfig, progress: Progress | None) -> Iterator[_Near]:
    matrix, size = shingles.shared, shingles.size
    usable = shingles.n_texts[matrix.indices] <= config.max_shingle_titles
    # overlap >= t / (1 + t) * (n + m) >= 2t / (1 + t) * n for a Jaccard similarity of t between n <= m shingles
    share = min(config.plot_containment, 2 * config.plot_similarity / (1 + config.plot_similarity))
    prefix_length = size - np.ceil(share * size - 1e-9).astype(np.int64) + 1
    in_prefix = usable & (shingles.place < np.repeat(prefix_length, np.diff(matrix.indptr)))
    prefixes, index = _filtered(matrix, in_prefix), _filtered(matrix, usable).T.tocsr()
    work = np.cumsum(prefixes @ np.diff(index.indptr).astype(np.int64))
    first = 0
    while first < len(size):
        done = work[first - 1] if first else 0
        last = max(first + 1, int(np.searchsorted(work, done + _BLOCK_PRODUCTS, side="right")))
        product = (prefixes[first:last] @ index).tocoo()
        short, long = product.row.astype(np.int64) + first, product.col.astype(np.int64)
        once = (size[short] < size[long]) | ((size[short] == size[long]) & (short < long))
        yield from _compared(short[once], long[once], shingles, config)
        if progress is not None:
            progress("comparing plots", last, len(size))
        first = last


def _compared(
    short: npt.NDArray[np.int64], long: npt.NDArray[np.int64], shingles: _Shingles, config: DuplicateConfig
) -> Iterator[_Near]:
    for first in range(0, len(short), _BLOCK_PAIRS):
        a, b = short[first : first + _BLOCK_PAIRS], long[first : first + _BLOCK_PAIRS]
        overlap = np.asarray(shingles.shared[a].multiply(shingles.shared[b]).sum(axis=1)).ravel()
        jaccard = overlap / (shingles.size[a] + shingles.size[b] - overlap)
        containment = overlap / shingles.size[a]
        near = (jaccard >= config.plot_similarity) | (containment >= config.plot_containment)
        yield _Near(short=a[near], long=b[near], jaccard=jaccard[near], containment=containment[near])


def _filtered(matrix: sparse.csr_matrix, mask: npt.NDArray[np.bool_]) -> sparse.csr_matrix:
    counts = np.concatenate([[0], np.cumsum(mask)])
    data, indices = matrix.data[mask], matrix.indices[mask]
    return sparse.csr_matrix((data, indices, counts[matrix.indptr]), shape=matrix.shape)


def _among(pairs: Pairs, others: Pairs) -> npt.NDArray[np.bool_]:
    """Return which pairs are among others, shape (n_pairs,)."""
    span = np.int64(max(pairs.right.max(initial=0), others.right.max(initial=0)) + 1)
    return np.isin(pairs.left * span + pairs.right, others.left * span + others.right)
