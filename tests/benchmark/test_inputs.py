from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from reeltag.benchmark import BENCHMARKS, Entry
from reeltag.benchmark.inputs import Inputs
from reeltag.benchmark.protocols import partition
from reeltag.catalogue import Catalogue, TrailerFiles
from reeltag.encoders.trailers.contract import SHOT_MODALITIES
from reeltag.encoders.trailers.shots import ShotConfig
from reeltag.errors import FeatureError
from reeltag.features import Features
from reeltag.graph.link_credits import SumCredits
from samples import catalogue, changed, rows, sample

from .test_entries import entry
from .tiny import FEATURES, config

GMU, IDKG = entry("idkg-table2", "GMU"), entry("idkg-table2", "IDKG")
GATBT, BLIP = entry("idkg-table2", "MM-GATBT"), entry("idkg-table2", "BLIP")
WITHOUT = entry("idkg-table3", "IDKG - AT - G-CACL - KG")
COMPLEX = entry("idkg-table4", "ComplEx")
PLAIN = ["plot.tfidf", "title.tfidf", "year"]


def inputs(folder: Path, films: Catalogue | None = None, **changes: Any) -> Inputs:
    films, settings = films or sample(), config(**changes)
    part = partition(films, settings.labels, settings.splits, settings.protocol)
    return Inputs(films, part, settings, folder=folder)


def read(of: Inputs, found: Entry, role: str = "test") -> Features:
    return of.of(found, getattr(of.part, role))


def same(first: Features, second: Features) -> bool:
    return list(first.blocks) == list(second.blocks) and all(
        np.array_equal(_dense(a.values), _dense(b.values)) and np.array_equal(a.present, b.present)
        for a, b in zip(first.blocks.values(), second.blocks.values(), strict=True)
    )


def _dense(values: Any) -> Any:
    return values.toarray() if hasattr(values, "toarray") else values


def test_what_entries_read_under_the_clean_protocol(tmp_path: Path) -> None:
    of = inputs(tmp_path)
    blocks = {found.label: sorted(read(of, found).blocks) for found in (GMU, IDKG, GATBT, WITHOUT, COMPLEX)}
    assert blocks["GMU"] == sorted([*PLAIN, "credits.profile"])
    assert blocks["IDKG"] == sorted([*PLAIN, "credits.profile", "credits.standing"])
    assert blocks["MM-GATBT"] == sorted([*PLAIN, "credits.profile", "credits.people"])
    assert blocks["ComplEx"] == sorted([*PLAIN, "credits.sum", "credits.standing"])
    assert blocks[WITHOUT.label] == sorted(PLAIN)


def test_the_published_protocol_reads_sums(tmp_path: Path) -> None:
    of = inputs(tmp_path, protocol="published")
    assert sorted(read(of, GMU).blocks) == sorted([*PLAIN, "credits.sum"])
    assert sorted(read(of, IDKG).blocks) == sorted([*PLAIN, "credits.sum", "credits.standing"])
    assert not of.features_config.credits.leave_one_out


def test_rows_come_in_the_order_they_are_asked_for(tmp_path: Path) -> None:
    of = inputs(tmp_path)
    backwards = of.part.test[::-1]
    assert list(of.of(GMU, backwards).ids) == [sample().ids[row] for row in backwards]


def test_no_fitted_part_has_seen_a_test_title(tmp_path: Path) -> None:
    of = inputs(tmp_path)
    read(of, COMPLEX)
    test = {sample().ids[row] for row in of.part.test}
    assert set(of.fitted_on) == {"graph", "vocabulary of plot", "vocabulary of title"}
    assert not any(test & set(ids) for ids in of.fitted_on.values())
    (folder,) = tmp_path.iterdir()
    assert not test & set(SumCredits.load(folder).film_ids)


def test_labels_of_test_titles_change_nothing_under_the_clean_protocol(tmp_path: Path) -> None:
    other = changed(lambda row: row | {"genres": ["Comedy", "Horror"]}, split="test")
    here, there = inputs(tmp_path / "a"), inputs(tmp_path / "b", other)
    for found in (IDKG, COMPLEX):
        for role in ("train", "validation", "test"):
            assert same(read(here, found, role), read(there, found, role))
        assert np.array_equal(here.label_vectors(found), there.label_vectors(found))  # type: ignore[arg-type]


def test_the_published_protocol_sees_test_labels(tmp_path: Path) -> None:
    here = inputs(tmp_path / "a", protocol="published")
    part = here.part
    seen = part.test[np.isin(part.test, part.graph)]
    changed_ids = {sample().ids[row] for row in seen}
    other = changed(lambda row: row | {"genres": ["Comedy", "Horror"]} if row["id"] in changed_ids else row)
    there = inputs(tmp_path / "b", other, protocol="published")
    assert np.array_equal(there.part.test, part.test)
    assert not np.array_equal(
        read(here, GMU).blocks["credits.sum"].values, read(there, GMU).blocks["credits.sum"].values
    )


def test_label_vectors_are_of_the_scorer_of_the_entry(tmp_path: Path) -> None:
    of = inputs(tmp_path)
    assert of.label_vectors(GMU) is None
    vectors = of.label_vectors(COMPLEX)
    assert vectors is not None
    assert vectors.shape == (4, 60)
    assert vectors.any(axis=1).all()


def test_a_trained_graph_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = read(inputs(tmp_path), COMPLEX)
    monkeypatch.setattr(SumCredits, "fit", lambda *_, **__: pytest.fail("trained again"))
    assert same(first, read(inputs(tmp_path), COMPLEX))


def test_a_catalogue_without_credits(tmp_path: Path) -> None:
    of = inputs(tmp_path, catalogue(without=["directors", "cast"]))
    assert sorted(read(of, IDKG).blocks) == sorted(PLAIN)
    assert sorted(read(of, COMPLEX).blocks) == sorted(PLAIN)
    assert of.label_vectors(IDKG) is None


def test_an_entry_that_has_nothing_to_read(tmp_path: Path) -> None:
    of = inputs(tmp_path, features=replace(FEATURES, modalities=("credits",)))
    with pytest.raises(FeatureError, match="entry 'IDKG - AT - G-CACL - KG': no title has anything that it reads"):
        read(of, WITHOUT)


def test_rows_that_cannot_be_run_say_why(tmp_path: Path) -> None:
    of = inputs(tmp_path)
    assert of.why_not(BLIP) == "not run: needs weights (--joint-encoder blip:MODEL)"
    assert of.why_not(entry("idkg-table2", "COCA")) == "not built"
    assert of.why_not(GMU) == ""


def test_what_a_run_depends_on(tmp_path: Path) -> None:
    of, other = inputs(tmp_path), inputs(tmp_path, catalogue(rows(seed=1)))
    assert of.describe(GMU) == inputs(tmp_path).describe(GMU)
    assert of.describe(GMU) != other.describe(GMU)
    assert of.describe(GMU) != of.describe(IDKG)
    assert of.describe(COMPLEX) != of.describe(entry("idkg-table4", "TransH"))
    assert "graph" not in of.describe(GMU), "a model without vectors of the graph does not depend on them"
    slower = inputs(tmp_path, graph={"training": {"epochs": 3}})
    assert of.describe(GMU) == slower.describe(GMU)
    assert of.describe(IDKG) != slower.describe(IDKG)
    assert len({str(of.describe(found)) for found in BENCHMARKS["idkg-figure4"].entries}) == 1


def test_settings_newer_than_kept_runs_are_told_where_they_are_not_empty(tmp_path: Path) -> None:
    plain, named = inputs(tmp_path), replace(GMU, reads=("plot", "credits"))
    for found in (GMU, named):
        assert not {"vote_fields", "fields"} & set(plain.describe(found)["features"])  # type: ignore[call-overload]
    votes = inputs(tmp_path, features=replace(FEATURES, vote_fields=("moods",)))
    for found in (GMU, named):
        assert votes.describe(found)["features"]["vote_fields"] == ["moods"]  # type: ignore[index]
    assert votes.describe(replace(GMU, reads=("plot",))) == plain.describe(replace(GMU, reads=("plot",)))


def test_trailers_count_for_the_entries_that_read_them(tmp_path: Path) -> None:
    of_trailers = {*(f"{modality}_encoders" for modality in SHOT_MODALITIES), "shots", "shot_limit"}
    plain = inputs(tmp_path)
    for found in (GMU, IDKG, WITHOUT, BLIP):
        assert not of_trailers & set(plain.describe(found)["features"])  # type: ignore[call-overload]
    with_motion = replace(FEATURES, modalities=(*FEATURES.modalities, "motion"))
    some = replace(sample(), trailers=TrailerFiles(paths={"t001": tmp_path / "t001.mp4"}))
    (tmp_path / "t001.mp4").touch()
    for found, named in ((GMU, False), (replace(GMU, reads=("motion",)), True)):
        told = inputs(tmp_path, features=with_motion).describe(found)["features"]
        assert told["motion_encoders"] == ["flow"]  # type: ignore[index]
        assert ("image_encoders" in told) != named  # type: ignore[operator]
        assert "shot_limit" not in told  # type: ignore[operator]
        cut = replace(with_motion, shots=ShotConfig(side=64))
        assert inputs(tmp_path, features=cut).describe(found)["features"] != told
        there = inputs(tmp_path, some, features=with_motion).describe(found)
        assert there["content"] != inputs(tmp_path, features=with_motion).describe(found)["content"]
    assert inputs(tmp_path, some).describe(GMU) == plain.describe(GMU)
    tokens = replace(with_motion, tokens=("motion",))
    reader = replace(GMU, reads=("motion",), tokens=True)
    told = inputs(tmp_path, features=tokens).describe(reader)["features"]
    assert (told["shot_limit"], "token_limit" in told) == (128, False)  # type: ignore[index, operator]
    words = replace(GMU, reads=("plot",))
    assert inputs(tmp_path, features=with_motion).describe(words) == plain.describe(words)


def test_rows_that_have_nothing_to_learn_from_say_so(tmp_path: Path) -> None:
    nothing = "not run: nothing that it reads is there"
    of = inputs(tmp_path, features=replace(FEATURES, modalities=("credits",)))
    assert (of.lacks(WITHOUT), of.lacks(IDKG), of.lacks(COMPLEX)) == (nothing, "", "")
    assert of.describe(WITHOUT) == inputs(tmp_path, features=of.config.features).describe(WITHOUT)
    joint = replace(FEATURES, modalities=("plot", "joint"), joint_encoders=("blip:somewhere",))
    without_posters = inputs(tmp_path, features=joint)
    assert without_posters.why_not(BLIP) == ""
    assert (without_posters.lacks(BLIP), without_posters.lacks(GMU)) == (nothing, "")
    assert not list(tmp_path.iterdir()), "no graph is trained to say so"


def test_a_run_depends_on_the_seed_of_its_graph_alone(tmp_path: Path) -> None:
    of = inputs(tmp_path)
    other = inputs(tmp_path, splits=replace(of.config.splits, seed=7))
    assert of.describe(GMU) == other.describe(GMU)
    assert (of.describe(IDKG)["graph_seed"], other.describe(IDKG)["graph_seed"]) == (0, 7)
