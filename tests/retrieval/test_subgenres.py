"""Sub-genres: found, named, and kept when titles come and go."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from sklearn.metrics import adjusted_rand_score

from reeltag.errors import ArtefactError, ConfigError, LabelError
from reeltag.retrieval import ClusterConfig, Genre, Space, SubgenreConfig, Subgenres, subgenres
from samples import files_of, fitted, sample

from .points import GROUPS, clustered, shapeless, space_of

QUICK = SubgenreConfig(clusters=ClusterConfig(min_titles=20, max_clusters=6, runs=3))


def only(found: Subgenres) -> Genre:
    (genre,) = found.genres
    return genre


def members(found: Subgenres, genre: str = "Horror") -> dict[str, str]:
    return dict(found.members.filter(pl.col("genre") == genre).select("id", "subgenre").iter_rows())


def names(found: Subgenres) -> dict[str, str]:
    return {sub.id: sub.name for genre in found.genres for sub in genre.subgenres}


def relabelled(space: Space, prefix: str) -> Space:
    ids = tuple(prefix + title_id for title_id in space.ids)
    return replace(space, ids=ids, titles=space.titles.with_columns(id=pl.Series(ids)))


def test_groups_are_found_and_named_by_their_words() -> None:
    space, groups = clustered()
    genre = only(subgenres(space, config=QUICK))
    assert (genre.genre, genre.n_titles, genre.n_predicted, genre.n_outside) == ("Horror", 300, 0, 0)
    assert {frozenset(word.word for word in sub.words) for sub in genre.subgenres} == set(
        map(frozenset, GROUPS.values())
    )
    assert {sub.named_by for sub in genre.subgenres} == {"words"}
    assert genre.stability == 1
    assert genre.silhouette is not None
    assert genre.silhouette > 0.5
    assert adjusted_rand_score(groups, list(members(subgenres(space, config=QUICK)).values())) == 1


def test_ids_are_numbered_from_the_greatest() -> None:
    space, groups = clustered()
    kept = (groups != 1) | (np.arange(300) < 200)
    kept &= (groups != 2) | (np.arange(300) < 100)
    found = only(subgenres(space.take(kept), config=QUICK)).subgenres
    assert [(sub.id, sub.n_titles) for sub in found] == [("Horror/1", 100), ("Horror/2", 67), ("Horror/3", 33)]


def test_central_titles_are_the_nearest_to_the_centre() -> None:
    space, _ = clustered()
    found = subgenres(space, config=QUICK)
    placed = members(found)
    for sub, centre in zip(only(found).subgenres, found.centres["Horror"], strict=True):
        rows = [row for row, title_id in enumerate(space.ids) if placed[title_id] == sub.id]
        np.testing.assert_allclose(centre, space.vectors[rows].mean(axis=0), atol=1e-5)
        near = sorted(rows, key=lambda row, c=centre: float(np.linalg.norm(space.vectors[row] - c)))
        assert [title.id for title in sub.central] == [space.ids[row] for row in near[:5]]


def test_other_labels_are_told_with_their_share_in_the_genre() -> None:
    space, groups = clustered()
    labels = [["Horror", "Drama"] if group == 0 else ["Horror"] for group in groups]
    labels[1] = ["Horror", "War"]
    space = replace(space, titles=space.titles.with_columns(labels=pl.Series(labels, dtype=pl.List(pl.String))))
    genre = only(subgenres(space, "Horror", QUICK))
    told = {sub.words[0].word: {share.label: share for share in sub.labels} for sub in genre.subgenres}
    gothic = next(labels for word, labels in told.items() if word in GROUPS["gothic"])
    assert (gothic["Drama"].share, gothic["Drama"].of_genre) == (1.0, pytest.approx(1 / 3))
    slasher = next(labels for word, labels in told.items() if word in GROUPS["slasher"])
    assert slasher["War"].share == pytest.approx(0.01)


def test_a_title_may_be_in_several_genres_and_small_genres_are_passed_over() -> None:
    space, groups = clustered()
    labels = [
        ["Horror", "Thriller"] if row < 150 else ["Horror", "Rare"] if row < 180 else ["Horror"] for row in range(300)
    ]
    space = replace(space, titles=space.titles.with_columns(labels=pl.Series(labels, dtype=pl.List(pl.String))))
    told: list[tuple[str, int, int]] = []
    found = subgenres(space, config=QUICK, progress=lambda *step: told.append(step))
    assert [genre.genre for genre in found.genres] == ["Horror", "Thriller"]
    assert [genre.n_titles for genre in found.genres] == [300, 150]
    assert told == [("genres", 1, 2), ("genres", 2, 2)]
    assert {sub.split("/")[0] for sub in members(found, "Thriller").values()} == {"Thriller"}
    small = only(subgenres(space, ["rare"], QUICK))
    assert (small.genre, small.n_titles, small.subgenres, small.stability) == ("Rare", 30, (), None)
    assert groups.shape == (300,)


def test_titles_without_structure_are_said_to_be_loose_and_mixed() -> None:
    config = SubgenreConfig(clusters=ClusterConfig(min_titles=20, clusters=5, runs=4))
    genre = only(subgenres(shapeless(), config=config))
    assert genre.stability is not None
    assert genre.stability < 0.5
    assert [sub.name for sub in genre.subgenres] == ["mixed", "mixed 2", "mixed 3", "mixed 4", "mixed 5"]
    assert {sub.named_by for sub in genre.subgenres} == {""}


def test_titles_of_which_nothing_is_known_are_outside() -> None:
    space, _ = clustered()
    space = replace(space, vectors=np.where(np.arange(300)[:, None] < 10, np.float32(0), space.vectors))
    found = subgenres(space, config=QUICK)
    assert only(found).n_outside == 10
    assert [members(found)[title_id] for title_id in space.ids[:10]] == [""] * 10


def test_predicted_labels_are_counted_or_left_out() -> None:
    space, _ = clustered()
    known = pl.Series([row % 3 != 0 for row in range(300)])
    space = replace(space, titles=space.titles.with_columns(known=known))
    assert only(subgenres(space, config=QUICK)).n_predicted == 100
    genre = only(subgenres(space, config=replace(QUICK, known_only=True)))
    assert (genre.n_titles, genre.n_predicted) == (200, 0)


def test_dense_groups_are_named_too() -> None:
    config = SubgenreConfig(clusters=ClusterConfig(method="hdbscan", min_titles=20, runs=2))
    genre = only(subgenres(clustered(spread=0.03)[0], config=config))
    assert len(genre.subgenres) == 3
    assert {frozenset(word.word for word in sub.words) for sub in genre.subgenres} == set(
        map(frozenset, GROUPS.values())
    )


def test_training_titles_of_a_tagger_are_named_by_labels_and_decades() -> None:
    config = SubgenreConfig(clusters=ClusterConfig(min_titles=5, clusters=2, runs=0))
    found = subgenres(Space.trained(fitted()), "Horror", config)
    assert {sub.named_by for sub in only(found).subgenres} <= {"", "labels and decades"}
    assert found.read == ("plot", "title", "year", "credits")


def test_sources_that_the_tagger_read_are_told() -> None:
    space, _ = clustered()
    read = replace(space, word_fields=("tags", "keywords"), read=("plot", "fields.tags"))
    assert subgenres(read, config=QUICK).read_in_training == ("tags",)
    assert subgenres(replace(space, word_fields=("tags",)), config=QUICK).read_in_training == ()
    years = pl.Series([1980 + 10 * (row % 3) for row in range(300)], dtype=pl.Int32)
    titles = space.titles.with_columns(year=years, words=pl.lit([], pl.List(pl.String)))
    by_year = subgenres(replace(space, titles=titles, read=("year",)), config=QUICK)
    assert {sub.name for sub in only(by_year).subgenres} == {"1980s", "1990s", "2000s"}
    assert by_year.read_in_training == ("genres", "year")


def test_a_whole_catalogue_goes_through() -> None:
    config = SubgenreConfig(clusters=ClusterConfig(min_titles=8, max_clusters=3, runs=2))
    found = subgenres(Space.of(fitted(), sample()), config=config)
    assert [genre.genre for genre in found.genres] == ["Comedy", "Horror", "Romance", "Western"]
    for genre in found.genres:
        assert sum(sub.n_titles for sub in genre.subgenres) in (0, genre.n_titles)


# small changes


def test_two_per_cent_more_titles_leave_everything_where_it_is() -> None:
    space, _ = clustered()
    first = subgenres(space, config=QUICK)
    grown = space.joined(relabelled(clustered(6, seed=5)[0], "new"))
    later = subgenres(grown, since=first)
    assert names(later) == names(first)
    before, after = members(first), members(later)
    assert np.mean([before[title] == after[title] for title in before]) >= 0.95
    changes = only(later).changes
    assert changes is not None
    assert (changes.n_common, changes.n_new, changes.n_gone) == (300, 6, 0)
    assert changes.stayed == 1
    assert (changes.new, changes.gone, changes.renamed, changes.split, changes.merged) == ((), (), {}, {}, {})


def test_the_same_titles_in_another_order_change_nothing() -> None:
    space, _ = clustered()
    first = subgenres(space, config=QUICK)
    later = subgenres(space.take(np.random.default_rng(0).permutation(300)), since=first)
    assert members(later) == members(first)
    assert names(later) == names(first)


def test_without_structure_most_titles_still_stay() -> None:
    config = SubgenreConfig(clusters=ClusterConfig(min_titles=20, clusters=5, runs=0))
    first = subgenres(shapeless(), config=config)
    grown = shapeless().joined(relabelled(shapeless(6, seed=5), "new"))
    changes = only(subgenres(grown, since=first)).changes
    assert changes is not None
    assert changes.stayed is not None
    assert changes.stayed >= 0.8
    afresh = subgenres(grown, config=replace(config, clusters=replace(config.clusters, seed=9)))
    agreement = adjusted_rand_score(*([members(found)[title] for title in members(first)] for found in (first, afresh)))
    assert agreement < 0.8  # what starting anew would have left


def test_a_tagger_trained_anew_is_followed() -> None:
    space, _ = clustered()
    first = subgenres(space, config=QUICK)
    turned = np.linalg.qr(np.random.default_rng(7).normal(size=(12, 12)))[0].astype(np.float32)
    later = subgenres(replace(space, vectors=space.vectors @ turned), since=first)
    assert members(later) == members(first)
    wider = np.concatenate([space.vectors, np.zeros((300, 4), np.float32)], axis=1)
    assert members(subgenres(replace(space, vectors=wider), since=first)) == members(first)


def test_a_new_group_gets_a_new_id_and_the_others_keep_theirs() -> None:
    space, groups = clustered()
    first = subgenres(space.take(groups != 2), config=QUICK)
    assert set(names(first)) == {"Horror/1", "Horror/2"}
    later = subgenres(space, since=first)
    assert names(later) == names(first) | {"Horror/3": names(later)["Horror/3"]}
    assert set(names(later)["Horror/3"].split(", ")) == set(GROUPS["alien"])
    changes = only(later).changes
    assert changes is not None
    assert (changes.new, changes.gone, changes.stayed) == (("Horror/3",), (), 1.0)


def test_ids_of_groups_that_went_are_never_given_again() -> None:
    space, groups = clustered()
    first = subgenres(space, config=QUICK)
    gone = next(sub.id for sub in only(first).subgenres if sub.words[0].word in GROUPS["slasher"])
    second = subgenres(space.take(groups != 1), since=first)
    assert set(names(second)) == set(names(first)) - {gone}
    third = subgenres(space, since=second)
    assert set(names(third)) == set(names(second)) | {"Horror/4"}
    assert only(third).numbered == 4


def test_groups_that_part_are_told_as_split() -> None:
    space, groups = clustered(spread=0.05)
    blurred = space.vectors.copy()
    middle = space.vectors[groups != 2].mean(axis=0)
    blurred[groups != 2] += 6 * (middle - space.vectors[groups != 2]) / 7
    blurred /= np.linalg.norm(blurred, axis=1, keepdims=True)
    first = subgenres(replace(space, vectors=blurred.astype(np.float32)), config=SubgenreConfig(
        clusters=ClusterConfig(min_titles=20, clusters=2, runs=0)))  # fmt: skip
    assert len(only(first).subgenres) == 2
    later = subgenres(space, config=QUICK, since=first)
    changes = only(later).changes
    assert changes is not None
    (parted,) = changes.split
    assert len(changes.split[parted]) == 2
    assert changes.merged == {}
    back = subgenres(replace(space, vectors=blurred.astype(np.float32)), config=first.config, since=later)
    merged = only(back).changes
    assert merged is not None
    assert len(merged.merged) == 1


def test_another_catalogue_is_matched_by_centres() -> None:
    space, _ = clustered()
    first = subgenres(space, config=QUICK)
    other = subgenres(relabelled(clustered(240, seed=3)[0], "other"), since=first)
    assert names(other) == names(first)
    changes = only(other).changes
    assert changes is not None
    assert (changes.stayed, changes.n_common) == (None, 0)


def test_genres_that_are_not_asked_for_stay_as_they_were() -> None:
    space, _ = clustered()
    labels = pl.Series([["Horror", "Thriller"]] * 300, dtype=pl.List(pl.String))
    space = replace(space, titles=space.titles.with_columns(labels=labels))
    first = subgenres(space, config=QUICK)
    later = subgenres(space.take(range(240)), "Thriller", since=first)
    assert [genre.genre for genre in later.genres] == ["Horror", "Thriller"]
    assert later.genres[0] == first.genres[0]
    assert (later.genres[0].n_titles, later.genres[1].n_titles) == (300, 240)
    assert members(later, "Horror") == members(first, "Horror")
    np.testing.assert_array_equal(later.centres["Horror"], first.centres["Horror"])


def test_a_genre_that_has_shrunk_goes_on() -> None:
    space, _ = clustered(120)
    first = subgenres(space, config=QUICK)
    later = subgenres(space.take(range(36)), since=first)
    assert len(only(later).subgenres) == 3
    none = subgenres(space_of(np.eye(3), labels=[[], [], []]), since=first)
    assert none.genres == ()


# folders


def test_save_and_load_give_the_same(tmp_path: Path) -> None:
    space, _ = clustered()
    first = subgenres(space, config=QUICK)
    later = subgenres(space.take(range(290)), since=first)
    for found in (first, later):
        again = Subgenres.load(found.save(tmp_path / "deep" / "subs"))
        assert again.genres == found.genres
        assert again.config == found.config
        assert again.members.equals(found.members)
        np.testing.assert_array_equal(again.centres["Horror"], found.centres["Horror"])
        assert members(subgenres(space, since=again)) == members(subgenres(space, since=found))
    assert set(files_of(tmp_path)) == {
        f"deep/subs/{name}" for name in ("centres.safetensors", "config.json", "members.parquet")
    }


def test_genres_without_subgenres_are_kept_too(tmp_path: Path) -> None:
    found = subgenres(shapeless(30), "Horror", QUICK)
    again = Subgenres.load(found.save(tmp_path / "subs"))
    assert again.genres == found.genres
    assert only(again).subgenres == ()


def test_damage_is_named(tmp_path: Path) -> None:
    folder = subgenres(clustered()[0], config=QUICK).save(tmp_path / "subs")
    with pytest.raises(ArtefactError, match=r"absent: holds no sub-genres \(config.json is missing\)"):
        Subgenres.load(tmp_path / "absent")
    config = json.loads((folder / "config.json").read_text("utf-8"))
    (folder / "config.json").write_text(json.dumps(config | {"genres": [{"genre": 1}]}), encoding="utf-8")
    with pytest.raises(ArtefactError, match="incomplete or damaged"):
        Subgenres.load(folder)
    fewer = config | {"genres": [config["genres"][0] | {"subgenres": config["genres"][0]["subgenres"][:1]}]}
    (folder / "config.json").write_text(json.dumps(fewer), encoding="utf-8")
    with pytest.raises(ArtefactError, match="centres or members do not fit the sub-genres"):
        Subgenres.load(folder)
    (folder / "members.parquet").unlink()
    with pytest.raises(ArtefactError, match="incomplete or damaged"):
        Subgenres.load(folder)


def test_mistakes_are_named() -> None:
    space, _ = clustered()
    with pytest.raises(LabelError, match="points: no title has the label 'Opera'; labels: Horror"):
        subgenres(space, "Opera", QUICK)
    first = subgenres(space, config=QUICK)
    with pytest.raises(ConfigError, match="an earlier run must be of the labels 'tags'; got one of 'genres'"):
        subgenres(replace(space, label_field="tags"), since=first)
    with pytest.raises(ConfigError, match=r"SubgenreConfig.margin must be between 0 and 2; got -1"):
        SubgenreConfig(margin=-1)
