"""Names of clusters: the words that set each apart from the rest of its genre, or the plain word that nothing does.

The log-odds of a word in the cluster are compared with those in the rest of the genre under an informative prior, and
divided by their standard deviation (Monroe, Colaresi and Quinn 2008, "Fightin' Words", equations 15, 20 and 22). What
differs: a title has a word or has not, so that odds are those of titles with it against titles without, where theirs
are of a word against all others; the Dirichlet prior becomes a Beta one, at the genre's own frequency with the weight
of ``prior`` titles; and the variance keeps the terms of titles without, since words of a genre need not be rare. A word
sets a cluster apart when this z passes the one-sided normal quantile at ``alpha``, divided by the number of words and
clusters that are tried (Bonferroni), and enough titles of the cluster have it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp
from scipy.stats import norm

from reeltag.config import check_range
from reeltag.retrieval.space import Space

MIXED = "mixed"
SOURCES = ("words", "plots", "labels and decades")
_WORDED = 0.1  # share of a genre's titles that must have words, or plots, before names are made of them
_RARE = 3  # words of fewer titles of the genre are not tried
_NONE = 1e-12  # keeps the logarithm of a word that all titles have, which tells nothing, finite
_STEM = 4  # letters from which a word that begins like a chosen one repeats it
_TOKEN = re.compile(r"[^\W\d_]{3,}")


@dataclass(frozen=True, kw_only=True)
class Word:
    """A word that sets a cluster apart.

    Attributes:
        word: The word.
        z: Its log-odds ratio in standard deviations.
        share: Share of the cluster's titles that have it.
        elsewhere: Share of the genre's other titles that have it.
    """

    word: str
    z: float
    share: float
    elsewhere: float


@dataclass(frozen=True, kw_only=True)
class Name:
    """What a cluster is called.

    Attributes:
        words: Its words, most telling first; () when nothing sets the cluster apart.
        source: Where they come from, one of ``SOURCES``; "" without words.
    """

    words: tuple[Word, ...] = ()
    source: str = ""


@dataclass(frozen=True)
class WordTable:
    """Which words the titles of a genre have.

    Attributes:
        source: One of ``SOURCES``.
        words: The words.
        present: 0 and 1, CSR (n_titles, n_words).
    """

    source: str
    words: tuple[str, ...]
    present: sp.csr_matrix

    @classmethod
    def all_of(cls, space: Space, rows: npt.NDArray[np.int64], genre: str) -> list[WordTable]:
        """Return what may name the sub-genres of a genre, the best first.

        Words of list fields (tags, keywords), content words of plots, then the titles' other labels and their decades;
        words and plots only where at least ``_WORDED`` of the titles have any.

        Args:
            space: The titles.
            rows: Those of the genre.
            genre: The genre.
        """
        titles = space.titles[rows]
        words = [set(title) for title in titles["words"].to_list()]
        plots = [content_words(plot) for plot in titles["plot"].to_list()]
        facts = [
            {*labels} - {genre} | ({f"{year // 10}0s"} if year is not None else set())
            for labels, year in titles.select("labels", "year").iter_rows()
        ]
        told = [(source, of) for source, of in zip(SOURCES, (words, plots), strict=False) if _enough(of)]
        return [_table(source, of) for source, of in [*told, (SOURCES[-1], facts)] if any(of)]


def content_words(text: str) -> set[str]:
    """Return the words of a text in lower case, so no names and no beginnings of sentences; no English stop words."""
    from sklearn.feature_extraction.text import ENGLISH_STOP_WORDS

    found: set[str] = {word for word in _TOKEN.findall(text) if word == word.lower()}
    return found.difference(ENGLISH_STOP_WORDS)


def log_odds_z(counts: npt.NDArray[Any], sizes: npt.NDArray[Any], prior: float) -> npt.NDArray[np.float64]:
    """Return how far the log-odds of words in each group are from those in all others, in standard deviations.

    Args:
        counts: How many titles of each group have each word, (n_groups, n_words).
        sizes: How many titles each group has, (n_groups,).
        prior: Weight of the prior, in titles that have the word as often as those of all groups together.

    Returns:
        z, (n_groups, n_words); positive where more titles of the group have a word, 0 where all or none have it.
    """
    inside, n_inside = np.asarray(counts, np.float64), np.asarray(sizes, np.float64)[:, None]
    with_word = inside.sum(axis=0)
    alpha = prior * with_word / n_inside.sum()
    beta = prior - alpha
    odds, variance = np.zeros(inside.shape), np.zeros(inside.shape)
    for sign, found, n in ((1, inside, n_inside), (-1, with_word - inside, n_inside.sum() - n_inside)):
        has, lacks = (found + alpha).clip(_NONE), (n - found + beta).clip(_NONE)
        odds += sign * np.log(has / lacks)
        variance += 1 / has + 1 / lacks
    told = (alpha > 0) & (beta > 0)
    return np.where(told, odds / np.sqrt(variance), 0.0)


@dataclass(frozen=True, kw_only=True)
class Naming:
    """How clusters are named.

    Attributes:
        n_words: Words of a name at most.
        alpha: Chance that any word passes where none sets any cluster apart.
        min_share: Share of a cluster's titles that must have a word.
        prior: Weight of the prior, in titles.
    """

    n_words: int = 3
    alpha: float = 0.01
    min_share: float = 0.05
    prior: float = 10.0

    def __post_init__(self) -> None:
        owner = type(self).__name__
        check_range(owner, "n_words", self.n_words, 1, 20)
        check_range(owner, "alpha", self.alpha, 1e-12, 0.5)
        check_range(owner, "min_share", self.min_share, 0, 1)
        check_range(owner, "prior", self.prior, 1e-6, 1e9)


def names_of(
    tables: Sequence[WordTable],
    clusters: npt.NDArray[np.int64],
    n_clusters: int,
    naming: Naming,
    earlier: Sequence[Name] = (),
) -> list[Name]:
    """Return the name of each cluster; one without words where nothing sets it apart.

    A word is in one name only, that of the cluster it speaks for most, so that names differ. What the first source of
    words leaves without a name is named by the next.

    Args:
        tables: The words of the titles, by source.
        clusters: The cluster of every title, (n_titles,); -1 for a title in none.
        n_clusters: How many clusters there are.
        naming: Settings.
        earlier: The names that clusters had before, without words for a new one. A name is kept while at least half of
            its words still set the cluster apart.
    """
    names = [Name()] * n_clusters
    if n_clusters < 2:
        return names
    found = [_Telling.of(table, clusters, n_clusters, naming) for table in tables]
    for cluster, name in enumerate(earlier):
        names[cluster] = next((told.kept(cluster, name) for told in found if told.source == name.source), Name())
    for told in found:
        for cluster in range(n_clusters):
            if not names[cluster].words:
                names[cluster] = told.best(cluster, naming.n_words, {w.word for name in names for w in name.words})
    return names


@dataclass(frozen=True)
class _Telling:
    """How far each word of a source sets each cluster apart; all but the words (n_clusters, n_words)."""

    source: str
    words: tuple[str, ...]
    z: npt.NDArray[np.float64]
    shares: npt.NDArray[np.float64]
    elsewhere: npt.NDArray[np.float64]
    telling: npt.NDArray[np.bool_]

    @classmethod
    def of(cls, table: WordTable, clusters: npt.NDArray[np.int64], n_clusters: int, naming: Naming) -> _Telling:
        inside = np.flatnonzero(clusters >= 0)
        ones = np.ones(len(inside))
        places = sp.csr_matrix((ones, (clusters[inside], inside)), shape=(n_clusters, len(clusters)))
        counts = (places @ table.present).toarray()
        sizes = np.bincount(clusters[inside], minlength=n_clusters).astype(np.float64)[:, None]
        tried = counts.sum(axis=0) >= max(_RARE, naming.min_share * sizes.min())  # others cannot have the share
        counts, words = counts[:, tried], tuple(w for w, used in zip(table.words, tried, strict=True) if used)
        z = log_odds_z(counts, sizes[:, 0], naming.prior)
        shares = counts / sizes.clip(1)
        return cls(
            source=table.source,
            words=words,
            z=z,
            shares=shares,
            elsewhere=(counts.sum(axis=0) - counts) / (sizes.sum() - sizes).clip(1),
            telling=(z >= norm.isf(naming.alpha / max(z.size, 1))) & (shares >= naming.min_share),
        )

    def kept(self, cluster: int, name: Name) -> Name:
        """Return an earlier name with the evidence of now, or one without words when it no longer holds."""
        places = {word: column for column, word in enumerate(self.words)}
        columns = [places[word.word] for word in name.words if word.word in places]
        if len(columns) < len(name.words) or 2 * self.telling[cluster, columns].sum() < len(columns):
            return Name()
        return self._name(cluster, columns)

    def best(self, cluster: int, n_words: int, taken: set[str]) -> Name:
        """Return the most telling words of a cluster that speak for no other more, but those that are taken."""
        if not self.words:
            return Name()
        own = np.flatnonzero(self.telling[cluster] & (self.z.argmax(axis=0) == cluster)).tolist()
        own = [column for column in own if self.words[column] not in taken]
        own.sort(key=lambda column: (-self.z[cluster, column], self.words[column]))
        return self._name(cluster, _distinct(own, self.words, n_words))

    def _name(self, cluster: int, columns: Sequence[int]) -> Name:
        told = tuple(
            Word(
                word=self.words[column],
                z=float(self.z[cluster, column]),
                share=float(self.shares[cluster, column]),
                elsewhere=float(self.elsewhere[cluster, column]),
            )
            for column in columns
        )
        return Name(words=told, source=self.source) if told else Name()


def written(names: Sequence[Name], earlier: Sequence[str] = ()) -> list[str]:
    """Return the names as texts, all different: ``vampire, castle``; ``mixed``, ``mixed 2`` where there is none.

    Args:
        names: The names.
        earlier: The texts that clusters had before, "" for a new one; a cluster that was mixed keeps its number.
    """
    texts = [", ".join(word.word for word in name.words) for name in names]
    numbered = {f"{MIXED} {n}" if n > 1 else MIXED: None for n in range(1, len(names) + 1)}
    for cluster, text in enumerate(earlier):
        if not texts[cluster] and text in numbered:
            texts[cluster] = text
            del numbered[text]
    free = iter(numbered)
    return [text or next(free) for text in texts]


def _distinct(columns: list[int], words: Sequence[str], n: int) -> list[int]:
    """Return the first ``n`` columns but those whose word begins like a chosen one, or the other way round."""
    chosen: list[int] = []
    for column in columns:
        word = words[column].lower()
        others = [words[c].lower() for c in chosen]
        if not any(min(len(word), len(o)) >= _STEM and (word.startswith(o) or o.startswith(word)) for o in others):
            chosen.append(column)
    return chosen[:n]


def _enough(told: Sequence[set[str]]) -> bool:
    return sum(map(bool, told)) > _WORDED * len(told)


def _table(source: str, told: Sequence[set[str]]) -> WordTable:
    from sklearn.feature_extraction.text import CountVectorizer

    vectorizer = CountVectorizer(analyzer=list, binary=True, dtype=np.float64)
    present = sp.csr_matrix(vectorizer.fit_transform(told))
    frequent = np.flatnonzero(np.asarray(present.sum(axis=0)).ravel() >= _RARE)
    words = vectorizer.get_feature_names_out()
    return WordTable(source, tuple(str(words[column]) for column in frequent), present[:, frequent].tocsr())
