"""Sub-genres: clusters inside each genre, named by what sets them apart, that keep their names when titles come and go.

A run that follows an earlier one starts from its clusters, as the titles that are still there place them, so that it
also follows a tagger that was trained anew. It keeps to them unless other clusters fit clearly better (silhouette).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import polars as pl

from reeltag.errors import ConfigError
from reeltag.progress import Progress, silent
from reeltag.retrieval.changes import changes_of, matched, overlap
from reeltag.retrieval.clustering import Clusters, cluster, continued, stability
from reeltag.retrieval.naming import Name, Naming, WordTable, names_of, written
from reeltag.retrieval.similar import labels_in
from reeltag.retrieval.space import Matrix, Space
from reeltag.retrieval.subgenre_results import (
    MEMBERS,
    Central,
    Genre,
    LabelShare,
    Subgenre,
    SubgenreConfig,
    Subgenres,
)

_CENTRAL = 5
_TOLD_LABELS = 5


def subgenres(
    space: Space,
    genres: str | Sequence[str] | None = None,
    config: SubgenreConfig | None = None,
    *,
    since: Subgenres | None = None,
    progress: Progress = silent,
) -> Subgenres:
    """Find the sub-genres of genres.

    Args:
        space: The titles.
        genres: Which; when None, those with titles enough for two sub-genres and those of the earlier run.
        config: Settings; those of the earlier run, or the defaults, when None.
        since: An earlier run, whose sub-genres are gone on with. Its genres that are not asked for stay as they were.
        progress: Called with the number of genres done.

    Raises:
        LabelError: No title has a genre that is asked for.
        ConfigError: The earlier run was of another field of labels.
    """
    if since is not None and since.label_field != space.label_field:
        raise ConfigError(
            f"an earlier run must be of the labels '{space.label_field}'; got one of '{since.label_field}'"
        )
    config = config or (since.config if since else SubgenreConfig())
    asked = None if genres is None else labels_in(space, [genres] if isinstance(genres, str) else genres)
    told = space.titles.select("labels", "known").with_row_index("row").explode("labels").drop_nulls("labels")
    if config.known_only:
        told = told.filter("known")
    rows = {label: part["row"].to_numpy().astype(np.int64) for (label,), part in told.group_by("labels")}
    known = {genre.genre for genre in since.genres} if since else set()
    least = 2 * config.clusters.min_titles
    chosen = (
        [label for label in sorted(rows) if label in known or len(rows[label]) >= least] if asked is None else asked
    )
    found, members, centres = [], [], {}
    for number, name in enumerate(dict.fromkeys(chosen), 1):
        part = _Part.of(space, name, rows.get(name, np.zeros(0, np.int64)), since)
        genre, titles, centres[name] = _split(part, config)
        found.append(genre)
        members.append(titles)
        progress("genres", number, len(chosen))
    if since is not None and asked is not None:
        for genre in since.genres:
            if genre.genre not in centres:
                found.append(replace(genre, changes=None))
                members.append(since.members.filter(pl.col("genre") == genre.genre))
                centres[genre.genre] = since.centres[genre.genre]
    return Subgenres(
        genres=tuple(sorted(found, key=lambda genre: genre.genre)),
        members=pl.concat([pl.DataFrame(schema=MEMBERS), *members]).sort("genre", maintain_order=True),
        centres=centres,
        config=config,
        label_field=space.label_field,
        source=space.source,
        word_fields=space.word_fields,
        read=space.read,
    )


@dataclass(frozen=True, kw_only=True)
class _Part:
    """The titles of a genre, and what an earlier run made of them."""

    space: Space
    genre: str
    rows: npt.NDArray[np.int64]
    before: dict[str, str]  # from title to the id of its sub-genre
    earlier: Genre | None
    centres: Matrix | None

    @classmethod
    def of(cls, space: Space, name: str, rows: npt.NDArray[np.int64], since: Subgenres | None) -> _Part:
        earlier = since.genre(name) if since else None
        if since is None or earlier is None:
            return cls(space=space, genre=name, rows=rows, before={}, earlier=None, centres=None)
        members = since.members.filter(pl.col("genre") == name)
        before = dict(members.select("id", "subgenre").iter_rows())
        return cls(space=space, genre=name, rows=rows, before=before, earlier=earlier, centres=since.centres[name])

    @property
    def subgenres(self) -> tuple[Subgenre, ...]:
        """The earlier sub-genres."""
        return self.earlier.subgenres if self.earlier else ()

    def start(self, vectors: Matrix, ids: Sequence[str]) -> Matrix | None:
        """Return the earlier centres as the titles that are still there place them; None when there are none.

        Args:
            vectors: Of the genre's titles.
            ids: Of the same.
        """
        subs = np.array([self.before.get(title_id, "") for title_id in ids], dtype=object)
        out = []
        for row, sub in enumerate(self.subgenres):
            members = vectors[subs == sub.id]
            if len(members):
                out.append(members.mean(axis=0))
            elif self.centres is not None and self.centres.shape[1] == vectors.shape[1]:
                out.append(self.centres[row])
        return np.stack(out).astype(np.float32) if len(out) > 1 else None


def _split(part: _Part, config: SubgenreConfig) -> tuple[Genre, pl.DataFrame, Matrix]:
    """Return the genre, its members and its centres."""
    space, rows = part.space, part.rows
    rows = rows[space.vectors[rows].any(axis=1)]
    ids = [space.ids[row] for row in rows]
    vectors = space.vectors[rows]
    clusters = _clusters(part, vectors, ids, config).greatest_first()
    found, numbered = _subgenres(part, clusters, rows, config.naming)
    after = dict.fromkeys((space.ids[row] for row in part.rows), "")
    if found:
        subs = np.append(np.array([sub.id for sub in found], dtype=object), "")[clusters.places]
        after |= dict(zip(ids, subs.tolist(), strict=True))
    known = space.titles["known"].to_numpy()[part.rows]
    earlier = {sub.id: sub.name for sub in part.subgenres}
    genre = Genre(
        genre=part.genre,
        n_titles=len(part.rows),
        n_predicted=int((~known).sum()),
        n_outside=sum(not sub for sub in after.values()) if found else 0,
        subgenres=found,
        silhouette=clusters.silhouette,
        stability=stability(vectors, len(found), config.clusters),
        numbered=numbered,
        changes=changes_of(part.before, after, {s.id: s.name for s in found}, earlier) if part.earlier else None,
    )
    members = pl.DataFrame(
        {"id": list(after), "genre": [part.genre] * len(after), "subgenre": list(after.values())}, schema=MEMBERS
    )
    return genre, members, clusters.centres[: len(found)]


def _clusters(part: _Part, vectors: Matrix, ids: Sequence[str], config: SubgenreConfig) -> Clusters:
    """Return the clusters of a genre: those of the earlier run gone on with, unless others fit clearly better."""
    fresh = cluster(vectors, config.clusters)
    start = part.start(vectors, ids) if config.clusters.method == "kmeans" else None
    if start is None or config.clusters.clusters not in (None, len(start)):
        return fresh
    same = continued(vectors, start, config.clusters)
    if same.silhouette is None or (fresh.silhouette or -1.0) > same.silhouette + config.margin:
        return fresh
    return same


def _subgenres(
    part: _Part, clusters: Clusters, rows: npt.NDArray[np.int64], naming: Naming
) -> tuple[tuple[Subgenre, ...], int]:
    """Return the sub-genres in the order of the clusters, and how many ids were ever given."""
    space, numbered = part.space, part.earlier.numbered if part.earlier else 0
    if clusters.silhouette is None:
        return (), numbered
    places, centres, n_clusters = clusters.places, clusters.centres, len(clusters)
    was = {sub.id: row for row, sub in enumerate(part.subgenres)}
    ids = [space.ids[row] for row in rows]
    earlier = [was.get(part.before.get(title_id, ""), -1) for title_id in ids]
    same = matched(overlap(earlier, places.tolist(), (len(was), n_clusters)), part.centres, centres) if was else {}
    before = [part.subgenres[same[c]] if c in same else None for c in range(n_clusters)]
    were = [sub.named if sub else Name() for sub in before]
    names = names_of(WordTable.all_of(space, rows, part.genre), places, n_clusters, naming, were)
    out = []
    for c, name in enumerate(written(names, [sub.name if sub else "" for sub in before])):
        numbered += c not in same
        members = np.flatnonzero(places == c)
        near = members[np.argsort(np.linalg.norm(space.vectors[rows[members]] - centres[c], axis=1), kind="stable")]
        central = space.titles[rows[near[:_CENTRAL]]].select("id", "title", "year")
        out.append(
            Subgenre(
                id=part.subgenres[same[c]].id if c in same else f"{part.genre}/{numbered}",
                name=name,
                n_titles=len(members),
                words=names[c].words,
                named_by=names[c].source,
                central=tuple(Central(**told) for told in central.iter_rows(named=True)),
                labels=_label_shares(space, rows[members], rows, part.genre),
            )
        )
    return tuple(out), numbered


def _label_shares(
    space: Space, members: npt.NDArray[np.int64], rows: npt.NDArray[np.int64], genre: str
) -> tuple[LabelShare, ...]:
    inside, whole = (_shares(space, of, genre) for of in (members, rows))
    most = sorted(inside.items(), key=lambda item: (-item[1], item[0]))[:_TOLD_LABELS]
    return tuple(LabelShare(label=label, share=share, of_genre=whole[label]) for label, share in most)


def _shares(space: Space, rows: npt.NDArray[np.int64], genre: str) -> dict[str, float]:
    labels = space.titles["labels"][rows].explode().drop_nulls()
    counts = labels.filter(labels != genre).value_counts()
    return {label: n / len(rows) for label, n in counts.iter_rows()}
