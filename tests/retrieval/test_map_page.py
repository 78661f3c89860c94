"""The page of a map: complete, compact, safe from what titles say, and whole on the disk or not there at all."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from importlib import resources
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from reeltag.config import from_json
from reeltag.errors import ArtefactError, ConfigError, FeatureError
from reeltag.retrieval import Groups, MapConfig, PosterSheets, read_positions, write_map
from reeltag.retrieval import map_page as room

from .map_samples import HOSTILE, data_of, lists, numbers, positions, space

SHEETS = PosterSheets(sheets=(b"RIFF first", b"RIFF second"), tiles=np.array([-1, 0, 300]))


class Tags(HTMLParser):
    """Counts tags and attributes as a browser would see them."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs


def test_the_page_holds_what_is_known_of_every_title(tmp_path: Path) -> None:
    titles = space(
        ["Heat", "", "Alien"],
        years=[1995, None, 1979],
        labels=[["Crime", "Drama"], [], ["Horror", "Drama"]],
        words=[["heist", "bank", "alone"], [], ["space", "heist", "bank"]],
    )
    data = data_of(write_map(tmp_path / "map", titles, positions(3)).page)
    assert data["n"] == 3
    assert data["titles"] == ["Heat", "", "Alien"]
    assert data["ids"] == ["t0", "t1", "t2"]
    assert [year and year + data["firstYear"] - 1 for year in numbers(data["years"])] == [1995, 0, 1979]
    assert lists(data["labels"]) == [["Crime", "Drama"], [], ["Horror", "Drama"]]
    assert data["labels"]["names"] == ["Drama", "Crime", "Horror"]  # the most frequent first
    assert lists(data["words"]) == [["heist", "bank"], [], ["heist", "bank"]]  # what one title alone has is left out
    assert numbers(data["known"]) == [1, 0, 1]
    assert numbers(data["tiles"]) == [0, 0, 0]
    assert (data["groups"], data["sheets"], data["labelField"]) == (None, [], "genres")


def test_places_are_on_one_grid_for_both_axes(tmp_path: Path) -> None:
    places = np.array([[-10, 3], [30, 5], [10, 4]], np.float32)
    data = data_of(write_map(tmp_path / "map", space(), places).page)
    x, y = numbers(data["x"]), numbers(data["y"])
    assert x == [0, 65_535, 32_768]
    assert max(y) - min(y) == pytest.approx(65_535 * 2 / 40, abs=1)
    assert (max(y) + min(y)) / 2 == pytest.approx(32_768, abs=1)


def test_titles_without_years_labels_or_words(tmp_path: Path) -> None:
    bare = space(["A", "B"], years=[None, None], labels=[[], []], words=[[], []])
    data = data_of(write_map(tmp_path / "map", bare, np.zeros((2, 2))).page)
    assert numbers(data["years"]) == [0, 0]
    assert lists(data["labels"]) == lists(data["words"]) == [[], []]
    assert numbers(data["x"]) == numbers(data["y"]) == [32_768, 32_768]


def test_no_titles(tmp_path: Path) -> None:
    written = write_map(tmp_path / "map", space([]), np.zeros((0, 2), np.float32))
    assert data_of(written.page)["n"] == 0
    assert read_positions(tmp_path / "map", ["a"]).shape == (1, 2)


def test_the_nearest_titles_are_those_with_the_greatest_cosine(tmp_path: Path) -> None:
    random = np.random.default_rng(3)
    vectors = random.normal(size=(30, 4))
    titles = space([f"T{i}" for i in range(30)], vectors=vectors)
    data = data_of(write_map(tmp_path / "map", titles, positions(30), config=MapConfig(n_near=4)).page)
    for row, found in enumerate(lists(data["near"])):
        cosines = {
            other: float(vectors[row] @ vectors[other] / np.linalg.norm(vectors[row]) / np.linalg.norm(vectors[other]))
            for other in range(30)
            if other != row
        }
        expected = sorted((other for other in cosines if cosines[other] >= 0.3), key=lambda other: -cosines[other])
        assert found == expected[:4]


def test_a_title_of_which_nothing_is_known_is_near_no_other(tmp_path: Path) -> None:
    vectors = np.array([[1, 0.1], [1, 0], [0, 0], [0, 0]])
    data = data_of(write_map(tmp_path / "map", space(list("abcd"), vectors=vectors), positions(4)).page)
    assert lists(data["near"]) == [[1], [0], [], []]


def test_groups_are_named_at_the_middle_of_their_titles(tmp_path: Path) -> None:
    places = np.array([[0, 0], [2, 0], [40, 0], [100, 100], [50, 50]], np.float32)
    groups = Groups(names=("castle", "school", "none here"), of=np.array([0, 0, 0, 1, -1]))
    data = data_of(write_map(tmp_path / "map", space(list("abcde")), places, None, groups).page)
    assert data["groups"]["names"] == ["castle", "school", "none here"]
    assert numbers(data["groups"]["of"]) == [1, 1, 1, 2, 0]
    assert data["groups"]["middles"][:2] == [[1311, 0], [65_535, 65_535]]
    text = (tmp_path / "map" / "index.html").read_text("utf-8")
    assert 'value="group"' in text
    assert 'value="group"' not in write_map(tmp_path / "plain", space(), positions(3)).page.read_text("utf-8")


def test_text_of_titles_cannot_become_part_of_the_page(tmp_path: Path) -> None:
    hostile = space(
        HOSTILE,
        labels=[[text] for text in HOSTILE],
        words=[[text, *HOSTILE] for text in HOSTILE],
        label_field="<b>genres</b>",
        source="films</title><script>alert(2)</script>.csv",
    )
    groups = Groups(names=("</script><img src=x onerror=alert(3)>",), of=np.zeros(len(HOSTILE), np.int64))
    written = write_map(tmp_path / "map", hostile, positions(len(HOSTILE)), None, groups)
    plain = write_map(tmp_path / "plain", space(), positions(3), None, Groups(names=("a",), of=np.zeros(3, np.int64)))
    seen, expected = (Tags(page.read_text("utf-8")) for page in (written.page, plain.page))
    assert seen.tags == expected.tags
    assert [name for name, _ in seen.attributes] == [name for name, _ in expected.attributes]
    data = data_of(written.page)
    assert data["titles"] == list(HOSTILE)
    assert lists(data["labels"]) == [[text] for text in HOSTILE]
    assert data["groups"]["names"] == list(groups.names)
    assert not set("<>&\u2028\u2029") & set(re.findall(r'json">(.*?)</script>', written.page.read_text("utf-8"))[0])


def test_the_page_loads_nothing_from_elsewhere(tmp_path: Path) -> None:
    written = write_map(tmp_path / "map", space(), positions(3), SHEETS, config=MapConfig(inline_bytes=0))
    text = written.page.read_text("utf-8")
    assert not re.findall(r"""(?:src|href)\s*=\s*["'](?!data:|#)""", text)
    assert not re.search(r"https?:|//[a-z]+\.|@import|fetch\(|XMLHttpRequest|WebSocket|import\(", text)
    policy = re.findall(r'Content-Security-Policy" content="([^"]*)"', text)[0]
    assert policy.startswith("default-src 'none'")
    assert "connect-src" not in policy


def test_the_script_never_turns_text_into_html() -> None:
    folder = resources.files("reeltag.retrieval").joinpath("templates")
    scripts = [entry.read_text(encoding="utf-8") for entry in folder.iterdir() if entry.name.endswith(".js")]
    assert len(scripts) == 5
    for script in scripts:
        assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(|new Function", script)
        assert len(script.splitlines()) <= 400


def test_a_map_of_twenty_thousand_titles_takes_less_than_two_megabytes(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    n = 2_500
    vocabulary = [f"{'abcdefgh'[i % 8] * 4}{i:05}" for i in range(3_000)]
    genres = [f"Genre {i}" for i in range(25)]
    titles = space(
        [f"The title number {i} of" for i in range(n)],
        labels=[[genres[k] for k in random.integers(0, 25, 3)] for _ in range(n)],
        words=[[vocabulary[k] for k in random.integers(0, 3_000, 8)] for _ in range(n)],
    )
    big = write_map(tmp_path / "big", titles, positions(n))
    small = write_map(tmp_path / "small", space(), positions(3))
    assert big.page_bytes == big.page.stat().st_size
    assert small.page_bytes < 70_000
    assert small.page_bytes + 20_000 * (big.page_bytes - small.page_bytes) / n < 2_000_000


def test_large_posters_lie_beside_the_page_and_small_ones_in_it(tmp_path: Path) -> None:
    beside = write_map(tmp_path / "beside", space(), positions(3), SHEETS, config=MapConfig(inline_bytes=20))
    data = data_of(beside.page)
    assert data["sheets"] == ["posters-000.webp", "posters-001.webp"]
    assert [(tmp_path / "beside" / name).read_bytes() for name in data["sheets"]] == list(SHEETS.sheets)
    assert numbers(data["tiles"]) == [0, 1, 301]
    assert data["tile"] == [56, 84, 16, 16]
    assert (beside.n_posters, beside.poster_bytes) == (2, 21)
    inside = write_map(tmp_path / "inside", space(), positions(3), SHEETS, config=MapConfig(inline_bytes=21))
    assert data_of(inside.page)["sheets"][0] == "data:image/webp;base64,UklGRiBmaXJzdA=="
    assert {path.name for path in (tmp_path / "inside").iterdir()} == {"index.html", "positions.parquet", "config.json"}


def test_a_single_file_holds_its_posters(tmp_path: Path) -> None:
    written = write_map(tmp_path / "deep" / "map.html", space(), positions(3), SHEETS, config=MapConfig(inline_bytes=0))
    assert written.page == tmp_path / "deep" / "map.html"
    assert all(sheet.startswith("data:image/webp;base64,") for sheet in data_of(written.page)["sheets"])
    assert {path.name for path in (tmp_path / "deep").iterdir()} == {"map.html", "map.positions.parquet"}
    assert np.allclose(read_positions(written.page, ["t0", "t1", "t2"]), positions(3))


def test_positions_are_kept_for_the_next_map(tmp_path: Path) -> None:
    written = write_map(tmp_path / "map", space(), positions(3))
    assert pl.read_parquet(written.positions)["id"].to_list() == ["t0", "t1", "t2"]
    for earlier in (tmp_path / "map", written.positions):
        found = read_positions(earlier, ["t2", "new", "t0"])
        assert np.allclose(found[[0, 2]], positions(3)[[2, 0]])
        assert np.isnan(found[1]).all()
        assert found.dtype == np.float32


def test_positions_that_are_none_are_named(tmp_path: Path) -> None:
    with pytest.raises(ArtefactError, match="absent: there is no map whose positions can be read"):
        read_positions(tmp_path / "absent", ["a"])
    pl.DataFrame({"id": ["a"]}).write_parquet(tmp_path / "odd.parquet")
    with pytest.raises(ArtefactError, match=r"odd\.parquet: positions need the columns id, x, y"):
        read_positions(tmp_path / "odd.parquet", ["a"])
    (tmp_path / "broken.parquet").write_bytes(b"broken")
    with pytest.raises(ArtefactError, match=r"broken\.parquet: there is no map"):
        read_positions(tmp_path / "broken.parquet", ["a"])


def test_an_earlier_map_is_replaced_whole(tmp_path: Path) -> None:
    write_map(tmp_path / "map", space(), positions(3), SHEETS, config=MapConfig(inline_bytes=0))
    write_map(tmp_path / "map", space(["Only"]), positions(1))
    assert data_of(tmp_path / "map" / "index.html")["titles"] == ["Only"]
    assert not list((tmp_path / "map").glob("*.webp"))


@pytest.mark.parametrize("name", ["map", "map.html"])
def test_a_crash_leaves_the_earlier_map_whole(tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    write_map(tmp_path / name, space(), positions(3), SHEETS, config=MapConfig(inline_bytes=0))
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}

    def full(*_: object, **__: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(pl.DataFrame, "write_parquet", full)
    with pytest.raises(OSError, match="disk full"):
        write_map(tmp_path / name, space(["Only"]), positions(1))
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


def test_what_is_no_map_is_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "films").mkdir()
    (tmp_path / "films" / "films.csv").write_text("id", encoding="utf-8")
    with pytest.raises(ArtefactError, match="films: exists and is not a map; choose another folder"):
        write_map(tmp_path / "films", space(), positions(3))
    (tmp_path / "folder.html").mkdir()
    with pytest.raises(ArtefactError, match=r"folder\.html: is a folder"):
        write_map(tmp_path / "folder.html", space(), positions(3))
    assert not room.is_map(tmp_path / "films")


def test_progress_counts_titles(tmp_path: Path) -> None:
    reports: list[tuple[str, int, int]] = []
    write_map(tmp_path / "map", space(), positions(3), progress=lambda *report: reports.append(report))
    assert reports == [("nearest titles", 3, 3)]


def test_mistakes_are_named(tmp_path: Path) -> None:
    broken = positions(3)
    broken[1, 1] = np.nan
    for places in (positions(2), broken):
        with pytest.raises(FeatureError, match=r"a map of 3 titles needs finite positions \(3, 2\)"):
            write_map(tmp_path / "map", space(), places)
    with pytest.raises(FeatureError, match="a map of 3 titles needs posters of as many; got 2"):
        write_map(tmp_path / "map", space(), positions(3), PosterSheets.none(2))
    with pytest.raises(FeatureError, match="a map of 3 titles needs groups of as many; got 1"):
        write_map(tmp_path / "map", space(), positions(3), None, Groups(names=("a",), of=np.zeros(1, np.int64)))
    for name, value in (("n_near", -1), ("n_words", 101), ("inline_bytes", -1)):
        with pytest.raises(ConfigError, match=rf"MapConfig\.{name} must be between 0 and .*; got {value}"):
            from_json(MapConfig, {name: value})
    assert list(tmp_path.iterdir()) == []
