"""Which titles of a catalogue an editor should label next, and why, in words."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import polars as pl

from reeltag.catalogue import Catalogue
from reeltag.config import check_choice, check_range
from reeltag.errors import CatalogueError, SplitError
from reeltag.predictions import write_frame
from reeltag.progress import Progress, silent
from reeltag.suggest.strategies import STRATEGIES, Candidates, doubts, novelty
from reeltag.tagger import Tagger

_TOLD_LABELS = 3
_IN_DOUBT = 1 / 3  # a label is told when its odds are within a factor of three of those at its threshold
_FEW = 0.5  # a label is rare when it has fewer titles than this share of the mean
_HALF_WAY = 0.5  # a rare label is told when its probability is at least this share of its threshold
_NOVEL = 0.9  # titles beyond this quantile of all candidates are unlike the labelled ones


@dataclass(frozen=True, kw_only=True)
class Suggestions:
    """Titles worth an editor's time, in the order in which they should be asked about.

    Attributes:
        ids: Their ids.
        titles: Their titles, "" where unknown.
        scores: What each was worth when it was chosen; comparable within one list only.
        reasons: Why each was chosen, in words.
        strategy: How they were chosen.
        n_candidates: How many titles there were to choose from.
    """

    ids: tuple[str, ...]
    titles: tuple[str, ...]
    scores: tuple[float, ...]
    reasons: tuple[str, ...]
    strategy: str
    n_candidates: int

    def __len__(self) -> int:
        return len(self.ids)

    def to_frame(self) -> pl.DataFrame:
        """Return one row per title: id, title, score, why."""
        return pl.DataFrame(
            {"id": self.ids, "title": self.titles, "score": self.scores, "why": self.reasons},
            schema={"id": pl.String, "title": pl.String, "score": pl.Float64, "why": pl.String},
        )

    def write(self, path: str | Path) -> Path:
        """Write the titles as ``.parquet``, ``.csv`` or ``.jsonl``, atomically.

        Raises:
            ReeltagError: The suffix is none of the three.
        """
        return write_frame(self.to_frame(), Path(path))


def suggest(
    tagger: Tagger,
    catalogue: Catalogue,
    n: int,
    *,
    strategy: str = "mixed",
    seed: int = 0,
    done: Collection[str] = (),
    progress: Progress = silent,
) -> Suggestions:
    """Choose titles whose labels are unknown.

    Args:
        tagger: What has been learned so far.
        catalogue: The titles. Those with labels are left out; an empty list says that nothing is known.
        n: How many; all there are when fewer.
        strategy: Name of a strategy.
        seed: Of choices at random.
        done: Ids of titles that have been labelled since: left out, and titles like them count as less new. Ids that
            the catalogue lacks are passed over.
        progress: Called as the work advances.

    Raises:
        SplitError: Every title has labels or is done.
        ConfigError: There is no such strategy, or ``n`` is not positive.
    """
    check_range("suggest", "n", n, 1, 100_000_000)
    check_choice("suggest", "strategy", strategy, STRATEGIES)
    field = tagger.labels.config.field
    known = np.array([bool(words) for words in catalogue.lists(field)], np.bool_)
    finished = np.isin(np.array(catalogue.ids, dtype=object), list(done))
    rows, labelled = np.flatnonzero(~known & ~finished), np.flatnonzero(~known & finished)
    if len(rows) == 0:
        more = f" or are done ({int(finished.sum()):,})" if finished.any() else ""
        raise SplitError(f"{catalogue.source}: all {len(catalogue):,} titles have labels in '{field}'{more}")
    asked = catalogue.take(np.concatenate([rows, labelled]))
    features = tagger.features(asked, progress=progress)
    vectors = tagger.embed(features)
    learned = tagger.fitted.neighbours.vectors.astype(np.float32)
    candidates = Candidates(
        probabilities=tagger.predict_proba(features.take(range(len(rows)))),
        thresholds=tagger.fitted.thresholds(),
        embeddings=vectors[: len(rows)],
        counts=np.array(tagger.labels.counts, np.float64),
        labelled=np.concatenate([learned, vectors[len(rows) :]]) if len(learned) else vectors[len(rows) :],
    )
    choice = STRATEGIES[strategy](candidates, n, np.random.default_rng(seed))
    chosen = catalogue.take(rows[choice.rows])
    return Suggestions(
        ids=tuple(chosen.ids),
        titles=tuple(chosen.texts("title")),
        scores=tuple(map(float, choice.scores)),
        reasons=reasons(candidates, choice.rows, tagger.labels.labels),
        strategy=strategy,
        n_candidates=len(rows),
    )


def reasons(candidates: Candidates, rows: npt.NDArray[np.int64], labels: tuple[str, ...]) -> tuple[str, ...]:
    """Return what makes each chosen title worth asking about, such as ``unsure about Heist (.48); …``.

    Told are labels near their thresholds, rare labels that may apply, and that a title is far from the labelled ones;
    the likeliest label where nothing of the kind holds.

    Args:
        candidates: All titles to choose from.
        rows: The chosen ones.
        labels: Names of the labels.
    """
    distances = novelty(candidates.embeddings, candidates.labelled)
    far = float(np.quantile(distances, _NOVEL))
    counts, thresholds = candidates.counts, candidates.thresholds
    rare = counts < _FEW * counts.mean()
    told = []
    for row in rows:
        p = candidates.probabilities[row]
        doubt = doubts(p[None], thresholds)[0]
        unsure = _most(doubt, (doubt >= _IN_DOUBT) & ~rare)
        few = _most(p / counts.clip(1), rare & (p >= _HALF_WAY * thresholds))
        words = []
        if unsure:
            words.append("unsure about " + ", ".join(f"{labels[c]} ({_short(p[c])})" for c in unsure))
        if few:
            words.append("may be one of few: " + ", ".join(f"{labels[c]} ({_films(counts[c])})" for c in few))
        if distances[row] > far:
            words.append("unlike anything labelled")
        likeliest = int(p.argmax())
        told.append("; ".join(words) or f"likely {labels[likeliest]} ({_short(p[likeliest])})")
    return tuple(told)


def read_ids(path: Path) -> list[str]:
    """Read ids: one per line of a text file, or the column ``id`` of ``.csv``, ``.jsonl`` or ``.parquet``.

    Raises:
        CatalogueError: The file does not exist, cannot be read, or has no column ``id``.
    """
    readers = {
        ".csv": lambda: pl.read_csv(path, infer_schema=False),
        ".jsonl": lambda: pl.read_ndjson(path),
        ".parquet": lambda: pl.read_parquet(path),
    }
    if not path.is_file():
        raise CatalogueError(f"{path}: no such file")
    read = readers.get(path.suffix.lower())
    try:
        if read is None:
            return [line.strip() for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
        frame = read()
    except (pl.exceptions.PolarsError, ValueError) as error:
        raise CatalogueError(f"{path}: ids cannot be read ({error})") from None
    if "id" not in frame.columns:
        raise CatalogueError(f"{path}: needs a column 'id'; got {', '.join(frame.columns)}")
    return [str(value) for value in frame["id"].drop_nulls()]


def _most(scores: npt.NDArray[np.floating], among: npt.NDArray[np.bool_]) -> list[int]:
    """Return the columns with the highest scores, highest first."""
    columns = np.flatnonzero(among)
    return [int(c) for c in columns[np.argsort(-scores[columns], kind="stable")][:_TOLD_LABELS]]


def _short(probability: float) -> str:
    """Return a probability as ``.48``."""
    return f"{probability:.2f}".removeprefix("0")


def _films(count: float) -> str:
    return f"{count:,.0f} film{'' if count == 1 else 's'}"
