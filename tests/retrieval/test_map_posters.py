"""Small posters on sheets: each in its tile, neighbours on the same sheet, broken ones left out."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import polars as pl
import pytest
from PIL import Image

from reeltag.catalogue.posters import PosterFiles, open_posters
from reeltag.errors import Problem
from reeltag.retrieval import PosterSheets, poster_sheets
from reeltag.retrieval import map_posters as room

RGB = npt.NDArray[np.uint8]


class Given:
    """Posters held in memory, yielded in the order they were given."""

    def __init__(self, contents: dict[str, bytes]) -> None:
        self.contents = contents
        self.n_reads = 0

    def present(self, ids: Sequence[str]) -> npt.NDArray[np.bool_]:
        return np.array([title_id in self.contents for title_id in ids], np.bool_)

    def read(self, ids: Sequence[str]) -> Iterator[tuple[str, bytes]]:
        self.n_reads += 1
        wanted = set(ids)
        yield from ((title_id, content) for title_id, content in self.contents.items() if title_id in wanted)

    def problems(self) -> list[Problem]:
        return []


def png(colour: tuple[int, int, int], size: tuple[int, int] = (40, 60)) -> bytes:
    stream = io.BytesIO()
    Image.new("RGB", size, colour).save(stream, "PNG")
    return stream.getvalue()


def colours(n: int) -> list[tuple[int, int, int]]:
    """Return colours that are far apart."""
    levels = (20, 90, 160, 230)
    return [(levels[i % 4], levels[i // 4 % 4], levels[i // 16 % 4]) for i in range(n)]


def tile(sheets: PosterSheets, number: int) -> RGB:
    """Return a tile by its number, cut out by hand."""
    sheet, inside = divmod(number, 256)
    image = np.asarray(Image.open(io.BytesIO(sheets.sheets[sheet])).convert("RGB"))
    row, column = divmod(inside, 16)
    return image[row * 84 : row * 84 + 84, column * 56 : column * 56 + 56]


def test_every_title_has_its_own_poster_in_its_tile() -> None:
    ids = [f"t{i}" for i in range(40)]
    posters = Given({ids[i]: png(colour) for i, colour in reversed(list(enumerate(colours(40))))})
    positions = np.random.default_rng(0).normal(size=(40, 2))
    sheets = poster_sheets(posters, ids, positions)
    assert sorted(sheets.tiles) == list(range(40))
    assert sheets.n_posters == 40
    assert posters.n_reads == 1
    for row, colour in enumerate(colours(40)):
        middle = tile(sheets, sheets.tiles[row])[20:64, 14:42].reshape(-1, 3)
        assert np.abs(np.median(middle, axis=0) - colour).max() < 14, row


def test_sheets_are_webp_of_sixteen_by_sixteen_tiles_and_the_last_is_cut() -> None:
    ids = [f"t{i}" for i in range(290)]
    content = png((200, 40, 40))
    sheets = poster_sheets(Given(dict.fromkeys(ids, content)), ids, np.random.default_rng(0).normal(size=(290, 2)))
    images = [Image.open(io.BytesIO(sheet)) for sheet in sheets.sheets]
    assert [image.format for image in images] == ["WEBP", "WEBP"]
    assert [image.size for image in images] == [(16 * 56, 16 * 84), (16 * 56, 3 * 84)]
    assert sheets.size_bytes == sum(len(sheet) for sheet in sheets.sheets)


def test_a_poster_takes_about_a_kilobyte() -> None:
    random = np.random.default_rng(0)
    ids = [f"t{i}" for i in range(64)]
    contents = {}
    for title_id in ids:
        coarse = random.integers(0, 256, (9, 6, 3), np.uint8)
        stream = io.BytesIO()
        Image.fromarray(coarse).resize((120, 180), Image.Resampling.BICUBIC).save(stream, "JPEG")
        contents[title_id] = stream.getvalue()
    sheets = poster_sheets(Given(contents), ids, random.normal(size=(64, 2)))
    assert 100 < sheets.size_bytes / 64 < 2000


def test_titles_without_a_poster_have_no_tile() -> None:
    ids = ["a", "b", "c", "d"]
    posters = Given({"b": png((10, 200, 10)), "d": png((200, 10, 10))})
    sheets = poster_sheets(posters, ids, np.zeros((4, 2)))
    assert sheets.tiles.tolist() == [-1, 0, -1, 1]


def test_broken_posters_are_left_out() -> None:
    ids = ["a", "b", "c"]
    sheets = poster_sheets(Given({"a": b"", "b": b"no image", "c": png((1, 2, 3))}), ids, np.eye(3, 2))
    assert sheets.tiles.tolist() == [-1, -1, 0]
    none = poster_sheets(Given({"a": b"broken"}), ids, np.zeros((3, 2)))
    assert (none.sheets, none.tiles.tolist()) == ((), [-1, -1, -1])


def test_no_posters_at_all() -> None:
    for n in (0, 3):
        sheets = poster_sheets(Given({}), [str(i) for i in range(n)], np.zeros((n, 2)))
        assert (sheets.sheets, sheets.tiles.shape, sheets.n_posters, sheets.size_bytes) == ((), (n,), 0, 0)


def test_a_wide_poster_is_cut_and_not_squeezed() -> None:
    wide = Image.new("RGB", (300, 100), "white")
    wide.paste(Image.new("RGB", (20, 100), "black"), (140, 0))
    stream = io.BytesIO()
    wide.save(stream, "PNG")
    sheets = poster_sheets(Given({"a": stream.getvalue()}), ["a"], np.zeros((1, 2)))
    dark = (tile(sheets, 0)[42] < 100).all(axis=1)
    assert 14 <= dark.sum() <= 20  # 20 of 100 pixels of its height are 17 of 84
    assert dark[28]


def test_neighbours_on_the_map_are_on_the_same_sheet(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "COLUMNS", 4)
    monkeypatch.setattr(room, "ROWS", 4)
    corners = np.array([[0, 0], [0, 100], [100, 0], [100, 100]])
    random = np.random.default_rng(0)
    of = random.permutation(np.repeat(np.arange(4), 16))
    positions = corners[of] + random.uniform(0, 5, (64, 2))
    ids = [f"t{i}" for i in range(64)]
    sheets = poster_sheets(Given(dict.fromkeys(ids, png((5, 5, 5)))), ids, positions)
    assert len(sheets.sheets) == 4
    for corner in range(4):
        assert len({number // 16 for number in sheets.tiles[of == corner]}) == 1


def test_the_curve_goes_by_the_bits_of_both_coordinates_in_turn() -> None:
    places = np.array([[column, row] for row in range(4) for column in range(4)], np.float64)
    expected = sorted(
        range(16),
        key=lambda i: [int(places[i][axis]) >> bit & 1 for bit in (1, 0) for axis in (1, 0)],
    )
    scaled = places * (65_535 / 3)  # so that the two highest bits are those of the numbers 0 to 3
    assert room.along_curve(scaled).tolist() == expected
    assert room.along_curve(np.zeros((3, 2))).tolist() == [0, 1, 2]
    assert room.along_curve(np.zeros((0, 2))).tolist() == []


def test_progress_counts_the_posters_that_are_read() -> None:
    reports: list[tuple[str, int, int]] = []
    ids = [f"t{i}" for i in range(50)]
    poster_sheets(
        Given(dict.fromkeys(ids[:40], png((5, 5, 5)))),
        ids,
        np.zeros((50, 2)),
        progress=lambda *report: reports.append(report),
    )
    assert reports == [("posters", 32, 40), ("posters", 40, 40)]


def test_posters_are_read_from_tables_and_folders(tmp_path: Path) -> None:
    contents = {f"t{i}": png(colour) for i, colour in enumerate(colours(6))}
    pl.DataFrame({"id": list(contents), "image": list(contents.values())}).write_parquet(tmp_path / "posters.parquet")
    (tmp_path / "folder").mkdir()
    for title_id, content in contents.items():
        (tmp_path / "folder" / f"{title_id}.png").write_bytes(content)
    positions = np.random.default_rng(1).normal(size=(6, 2))
    both = [
        poster_sheets(open_posters([tmp_path / place]), list(contents), positions)
        for place in ("posters.parquet", "folder")
    ]
    assert both[0].sheets == both[1].sheets
    assert both[0].tiles.tolist() == both[1].tiles.tolist()
    assert sorted(both[0].tiles) == list(range(6))


def test_a_poster_that_vanishes_while_it_is_read_is_left_out(tmp_path: Path) -> None:
    class Vanishing(PosterFiles):
        """Says that there is a poster."""

        def present(self, ids: Sequence[str]) -> npt.NDArray[np.bool_]:
            return np.ones(len(ids), np.bool_)

    (tmp_path / "a.png").write_bytes(png((9, 9, 9)))
    posters = Vanishing(paths={"a": tmp_path / "a.png", "b": tmp_path / "b.png"})
    assert poster_sheets(posters, ["a", "b"], np.zeros((2, 2))).tiles.tolist() == [0, -1]
