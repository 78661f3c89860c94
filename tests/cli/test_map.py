"""``reeltag map``: from titles to a page, made again from its own positions."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from PIL import Image

from reeltag.retrieval import Space, Subgenres, make_map
from reeltag.retrieval.title_map import TitleMapConfig
from reeltag.tagger import Tagger

from .runner import Commands


def data_of(page: Path) -> Any:
    text = page.read_text("utf-8")
    return json.loads(re.findall(r'<script id="data" type="application/json">(.*?)</script>', text, re.DOTALL)[0])


def places(path: Path) -> dict[str, tuple[float, float]]:
    return {title_id: (x, y) for title_id, x, y in pl.read_parquet(path).iter_rows()}


@pytest.fixture
def tagger(reeltag: Commands) -> Path:
    return reeltag.tagger()


def test_the_titles_of_a_catalogue_go_onto_a_page(reeltag: Commands, tagger: Path) -> None:
    result = reeltag("map", tagger, "films.jsonl", "--out", "map", "--heading", "My films")
    assert result.code == 0
    lines = result.out.splitlines()
    n = len(pl.read_ndjson("films.jsonl"))
    assert lines[0] == f"{n} titles on the map; 0 with a poster"
    assert re.fullmatch(r"layout [\d.]+ s, posters [\d.]+ s, page [\d.]+ s", lines[1])
    assert re.fullmatch(
        r"written to map/index\.html \(0\.\d MB, posters 0\.0 MB\); "
        r"positions for the next map in map/positions\.parquet",
        lines[2],
    )
    data = data_of(Path("map/index.html"))
    assert data["n"] == n
    assert data["ids"] == pl.read_ndjson("films.jsonl")["id"].to_list()
    assert "<title>Map of My films</title>" in Path("map/index.html").read_text("utf-8")
    assert set(places(Path("map/positions.parquet"))) == set(data["ids"])


def test_training_titles_are_shown_when_no_catalogue_is_given(reeltag: Commands, tagger: Path) -> None:
    result = reeltag("map", tagger, "--out", "map.html", "--json")
    told = result.json
    assert result.code == 0
    assert (told["page"], told["positions"]) == ("map.html", "map.positions.parquet")
    assert told["n_titles"] == len(Space.trained(Tagger.from_pretrained(tagger))) == data_of(Path("map.html"))["n"]
    assert told["page_bytes"] == Path("map.html").stat().st_size
    assert (told["n_kept"], told["n_posters"], told["poster_bytes"]) == (0, 0, 0)
    assert set(told["seconds"]) == {"layout", "posters", "page"}


def test_a_map_made_again_starts_from_the_one_it_replaces(reeltag: Commands, tagger: Path) -> None:
    rows = [json.loads(line) for line in Path("films.jsonl").read_text("utf-8").splitlines()]
    some = reeltag.catalogue("some.jsonl", rows[:-6])
    reeltag("map", tagger, some, "--out", "map")
    before = places(Path("map/positions.parquet"))
    result = reeltag("map", tagger, "films.jsonl", "--out", "map")
    assert f"{len(rows)} titles on the map, {len(rows) - 6} of them from the earlier one; " in result.out
    after = places(Path("map/positions.parquet"))
    spread = np.std(np.array(list(before.values())))
    moved = np.median([np.hypot(*np.subtract(after[i], before[i])) for i in before])
    assert moved < 0.3 * spread
    fresh = reeltag("map", tagger, "films.jsonl", "--out", "map", "--fresh", "--json").json
    assert fresh["n_kept"] == 0


def test_a_map_starts_from_another_one_that_is_named(reeltag: Commands, tagger: Path) -> None:
    reeltag("map", tagger, "films.jsonl", "--out", "old")
    n = len(places(Path("old/positions.parquet")))
    for start in ("old", "old/positions.parquet"):
        told = reeltag("map", tagger, "films.jsonl", "--out", "new.html", "--start", start, "--json").json
        assert told["n_kept"] == n


def test_only_titles_of_a_genre(reeltag: Commands, tagger: Path) -> None:
    told = reeltag("map", tagger, "films.jsonl", "--genre", "horror", "--out", "horror", "--json").json
    data = data_of(Path("horror/index.html"))
    assert 0 < told["n_titles"] < len(pl.read_ndjson("films.jsonl"))
    assert data["labels"]["names"][0] == "Horror"
    reeltag.fails(
        "map", tagger, "films.jsonl", "--genre", "Musical", "--out", "musical",
        because="films.jsonl: no title has the label 'Musical'; labels: Comedy, Horror, Romance, Western",
    )  # fmt: skip


def test_posters_are_shown(reeltag: Commands, tagger: Path) -> None:
    Path("posters").mkdir()
    ids = [json.loads(line)["id"] for line in Path("films.jsonl").read_text("utf-8").splitlines()][:7]
    for title_id in ids:
        Image.new("RGB", (40, 60), "navy").save(Path("posters") / f"{title_id}.png")
    told = reeltag("map", tagger, "films.jsonl", "--posters", "posters", "--out", "map", "--json").json
    assert told["n_posters"] == 7
    assert told["poster_bytes"] > 0
    assert len(data_of(Path("map/index.html"))["sheets"]) == 1
    trained = reeltag("map", tagger, "--posters", "posters", "--out", "trained", "--json").json
    assert 0 < trained["n_posters"] <= 7


def test_an_index_is_shown_without_embedding_it_again(reeltag: Commands, tagger: Path) -> None:
    reeltag("index", tagger, "films.jsonl", "--out", "index")
    told = reeltag("map", tagger, "--index", "index", "--out", "map", "--json").json
    assert told["n_titles"] == len(pl.read_ndjson("films.jsonl"))
    reeltag.fails(
        "map", tagger, "films.jsonl", "--index", "index", "--out", "other",
        because="give a catalogue or an index; got both films.jsonl and --index index",
    )  # fmt: skip


def test_subgenres_are_named_on_the_map(reeltag: Commands, tagger: Path) -> None:
    space = Space.trained(Tagger.from_pretrained(tagger))
    asked = ("subgenres", tagger, "--genre", "Horror", "--min-titles", 3, "--clusters", 2, "--out", "kinds")
    assert reeltag(*asked).code == 0
    found = Subgenres.load("kinds")
    reeltag("map", tagger, "--subgenres", "kinds", "--out", "map")
    data = data_of(Path("map/index.html"))
    assert data["groups"]["names"] == [f"Horror: {sub.name}" for sub in found.genres[0].subgenres]
    assert data["n"] == len(space)
    reeltag.fails(
        "map", tagger, "--subgenres", "kinds", "--genre", "Comedy", "--out", "other",
        because="there are no sub-genres of 'Comedy'; of: Horror",
    )  # fmt: skip


def test_mistakes(reeltag: Commands, tagger: Path) -> None:
    Path("full").mkdir()
    Path("full/film.txt").write_text("mine", encoding="utf-8")
    for words, because in (
        (("--out", "full"), "full: exists and is not a map; choose another folder"),
        (("--out", "map", "--start", "absent"),
         "absent: there is no map whose positions can be read (absent/positions.parquet)"),
        (("--out", "map", "--perplexity", "0"), "LayoutConfig.perplexity must be between 1 and 1000; got 0.0"),
        (("--out", "map", "--index", "absent"), "absent: holds no indexed titles (config.json is missing)"),
        (("--out", "map", "--subgenres", "absent"), "absent: holds no sub-genres (config.json is missing)"),
    ):  # fmt: skip
        reeltag.fails("map", tagger, *words, because=because)


def test_work_that_is_stopped_leaves_the_earlier_map_whole(reeltag: Commands, tagger: Path) -> None:
    reeltag("map", tagger, "--out", "map")
    before = reeltag.entries()

    def stop(stage: str, done: int, total: int) -> None:
        if stage == "nearest titles":
            raise KeyboardInterrupt

    space = Space.trained(Tagger.from_pretrained(tagger))
    with pytest.raises(KeyboardInterrupt):
        make_map(Path("map"), space, config=TitleMapConfig(genre="Horror"), progress=stop)
    assert reeltag.entries() == before
