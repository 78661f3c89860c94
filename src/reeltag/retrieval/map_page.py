"""The map of a catalogue as a page for people: it opens from the disk, needs no network, and draws itself by a script.

What the script needs is in the page as JSON by columns; numbers are little-endian bytes in base 64, places are rounded
to a grid of 65,536. So 20,000 titles are under 2 MB. Posters lie beside the page as a few sheets, or inside it.
"""

from __future__ import annotations

import base64
import json
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

import reeltag
from reeltag.config import check_range
from reeltag.errors import ArtefactError, FeatureError
from reeltag.files import atomic_file, atomic_folder, check_replaceable, write_json
from reeltag.progress import Progress, silent
from reeltag.retrieval.folder import is_kind
from reeltag.retrieval.index import TitleIndex
from reeltag.retrieval.map_groups import Groups
from reeltag.retrieval.map_posters import COLUMNS, HEIGHT, ROWS, WIDTH, PosterSheets
from reeltag.retrieval.space import Space

KIND = "map of titles"
SCHEMA = 1
PAGE, POSITIONS = "index.html", "positions.parquet"
_TEMPLATES = "templates"
_TEMPLATE, _STYLE = "map.html.j2", "map.css"
_SCRIPTS = ("map_data.js", "map_columns.js", "map_draw.js", "map_steer.js", "map_panel.js")
_GRID = 65_535  # the larger side of the map, in steps of the places
_QUERIES = 1_024
_SEEN_ALIKE = 0.3  # cosine below which a title is not shown as near

Places = npt.NDArray[np.floating[Any]]
Rows = npt.NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class MapConfig:
    """Settings of a page.

    Attributes:
        heading: Name of the map; the source of the titles when empty.
        n_near: Nearest titles listed of each.
        n_words: Words shown of each title; those that no other title has are left out.
        inline_bytes: Posters up to this size lie inside the page, so that it is one file; larger ones beside it.
    """

    heading: str = ""
    n_near: int = 6
    n_words: int = 5
    inline_bytes: int = 600_000

    def __post_init__(self) -> None:
        """Check the ranges."""
        check_range("MapConfig", "n_near", self.n_near, 0, 100)
        check_range("MapConfig", "n_words", self.n_words, 0, 100)
        check_range("MapConfig", "inline_bytes", self.inline_bytes, 0, 10**9)


@dataclass(frozen=True, kw_only=True)
class WrittenMap:
    """What was written.

    Attributes:
        page: The page to open.
        positions: Places of the titles, for the next map.
        page_bytes: Size of the page.
        poster_bytes: Size of the posters beside it or in it.
        n_posters: Titles with a poster.
    """

    page: Path
    positions: Path
    page_bytes: int
    poster_bytes: int
    n_posters: int


def write_map(
    target: Path,
    space: Space,
    positions: Places,
    posters: PosterSheets | None = None,
    groups: Groups | None = None,
    *,
    config: MapConfig | None = None,
    progress: Progress = silent,
) -> WrittenMap:
    """Write a map; a crash leaves an older one whole.

    Args:
        target: A folder, or a file ending in ``.html``, which then holds everything but the positions: these are
            beside it, in ``NAME.positions.parquet``.
        space: The titles.
        positions: Their places, (n_titles, 2).
        posters: Their posters; none when None.
        groups: Named groups of them; none when None.
        config: Settings; the defaults when None.
        progress: Called with the number of titles whose nearest are found.

    Raises:
        ArtefactError: Something else than a map is at ``target``.
        FeatureError: Positions, posters or groups are of another number of titles, or a place is not finite.
    """
    chosen, sheets = config or MapConfig(), posters or PosterSheets.none(len(space))
    _check(space, positions, sheets, groups)
    single = is_single_file(target)
    check_target(target)
    near = _near(space, chosen.n_near, progress)
    inside = single or sheets.size_bytes <= chosen.inline_bytes
    names = [_data_url(sheet) if inside else f"posters-{number:03}.webp" for number, sheet in enumerate(sheets.sheets)]
    page = _page(_data(space, positions, near, sheets.tiles, groups, chosen) | {"sheets": names}, chosen, space)
    frame = pl.DataFrame({"id": space.ids, "x": positions[:, 0], "y": positions[:, 1]}, schema=_POSITION_COLUMNS)
    if single:
        with atomic_file(positions_of(target)) as temporary:
            frame.write_parquet(temporary)
        with atomic_file(target) as temporary:
            temporary.write_text(page, encoding="utf-8")
    else:
        with atomic_folder(target) as folder:
            _fill(folder, space, page, frame)
            for name, sheet in zip(names, () if inside else sheets.sheets, strict=False):
                (folder / name).write_bytes(sheet)
    return WrittenMap(
        page=target if single else target / PAGE,
        positions=positions_of(target),
        page_bytes=len(page.encode()),
        poster_bytes=sheets.size_bytes,
        n_posters=sheets.n_posters,
    )


_POSITION_COLUMNS: dict[str, Any] = {"id": pl.String, "x": pl.Float32, "y": pl.Float32}


def is_single_file(target: Path) -> bool:
    """Return whether a map is written there as one page."""
    return target.suffix.lower() in (".html", ".htm")


def is_map(target: Path) -> bool:
    """Return whether a map is there, with its positions."""
    if is_single_file(target):
        return target.is_file() and positions_of(target).is_file()
    return is_kind(target, KIND)


def check_target(target: Path) -> None:
    """Raise ArtefactError unless a map may be written to ``target``; to be called before long work."""
    if not is_single_file(target):
        check_replaceable(target, is_map, "a map")
    elif target.is_dir():
        raise ArtefactError(f"{target}: is a folder; a map there must be a file, or another name for a folder")


def positions_of(target: Path) -> Path:
    """Return where the positions of a map are."""
    return target.with_name(f"{target.stem}.positions.parquet") if is_single_file(target) else target / POSITIONS


def read_positions(earlier: Path, ids: Sequence[str]) -> npt.NDArray[np.float32]:
    """Return the places of titles on an earlier map, NaN for those that were not on it, (n_titles, 2).

    Args:
        earlier: The map, or its positions.
        ids: The titles.

    Raises:
        ArtefactError: There are no positions.
    """
    path = earlier if earlier.suffix.lower() == ".parquet" else positions_of(earlier)
    try:
        frame = pl.read_parquet(path)
    except (OSError, pl.exceptions.PolarsError):
        raise ArtefactError(f"{earlier}: there is no map whose positions can be read ({path})") from None
    if dict(frame.schema) != _POSITION_COLUMNS:
        raise ArtefactError(f"{path}: positions need the columns {', '.join(_POSITION_COLUMNS)}; got {frame.schema}")
    places = dict(zip(frame["id"], frame.select("x", "y").to_numpy(), strict=True))
    nowhere = np.full(2, np.nan, np.float32)
    return np.array([places.get(title_id, nowhere) for title_id in ids], np.float32).reshape(len(ids), 2)


def _check(space: Space, positions: Places, posters: PosterSheets, groups: Groups | None) -> None:
    n = len(space)
    if positions.shape != (n, 2) or not np.isfinite(positions).all():
        raise FeatureError(f"a map of {n:,} titles needs finite positions ({n}, 2); got the shape {positions.shape}")
    for name, length in (("posters", len(posters.tiles)), ("groups", n if groups is None else len(groups.of))):
        if length != n:
            raise FeatureError(f"a map of {n:,} titles needs {name} of as many; got {length:,}")


def _fill(folder: Path, space: Space, page: str, frame: pl.DataFrame) -> None:
    """Write what a folder of a map holds besides posters."""
    (folder / PAGE).write_text(page, encoding="utf-8")
    frame.write_parquet(folder / POSITIONS)
    told = {
        "schema": SCHEMA,
        "reeltag": reeltag.__version__,
        "kind": KIND,
        "source": space.source,
        "n_titles": len(space),
    }
    write_json(folder / "config.json", told)


def _page(data: dict[str, Any], config: MapConfig, space: Space) -> str:
    """Return the page."""
    from jinja2 import Environment, StrictUndefined
    from markupsafe import Markup

    room = resources.files("reeltag.retrieval").joinpath(_TEMPLATES)
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    script = "\n".join(room.joinpath(name).read_text(encoding="utf-8") for name in _SCRIPTS)
    return environment.from_string(room.joinpath(_TEMPLATE).read_text(encoding="utf-8")).render(
        heading=config.heading or space.source,
        n_titles=len(space),
        has_groups=data["groups"] is not None,
        label_field=space.label_field,
        style=Markup(room.joinpath(_STYLE).read_text(encoding="utf-8")),
        script=Markup(script),
        data=Markup(_as_json(data)),
    )


def _as_json(data: dict[str, Any]) -> str:
    """Return JSON that no text in it can end: it holds none of the characters that mean something to HTML."""
    text = json.dumps(data, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text


def _data(
    space: Space, positions: Places, near: list[Rows], tiles: Rows, groups: Groups | None, config: MapConfig
) -> dict[str, Any]:
    """Return what the script needs, by columns."""
    titles = space.titles
    labels = _named_lists(titles["labels"].to_list())
    words = _named_lists(_shared_words(titles["words"].to_list(), config.n_words))
    years = titles["year"]
    first = int(years.drop_nulls().min() or 0)  # type: ignore[arg-type]
    places = _on_grid(positions)
    return {
        "n": len(space),
        "labelField": space.label_field,
        "titles": titles["title"].fill_null("").to_list(),
        "ids": list(space.ids),
        "firstYear": first,
        "years": _packed((years.cast(pl.Int64) - first + 1).fill_null(0).to_list()),  # 0: unknown
        "x": _packed(places[:, 0]),
        "y": _packed(places[:, 1]),
        "labels": labels,
        "known": _packed(titles["known"].fill_null(False).cast(pl.UInt8).to_list()),
        "words": words,
        "near": {"counts": _packed([len(rows) for rows in near]), "of": _packed(np.concatenate([*near, []]))},
        "groups": None if groups is None else _group_data(groups, places),
        "tiles": _packed(tiles + 1),  # 0: none
        "tile": [WIDTH, HEIGHT, COLUMNS, ROWS],
    }


def _on_grid(positions: Places) -> npt.NDArray[np.int64]:
    """Return places as numbers from 0 to 65,535, both axes at one scale, the narrower in the middle."""
    if len(positions) == 0:
        return np.zeros((0, 2), np.int64)
    low, high = positions.min(axis=0).astype(np.float64), positions.max(axis=0).astype(np.float64)
    side = float((high - low).max()) or 1.0
    return np.asarray(np.rint(((positions - (low + high) / 2) / side + 0.5) * _GRID), np.int64)


def _packed(values: Sequence[int] | npt.NDArray[Any]) -> dict[str, str]:
    """Return numbers from 0 as little-endian bytes in base 64, as few per number as hold the largest."""
    numbers = np.asarray(values, np.int64)
    largest = int(numbers.max(initial=0))
    kind = "u1" if largest < 2**8 else "u2" if largest < 2**16 else "u4"
    return {"kind": kind, "bytes": base64.b64encode(numbers.astype(f"<{kind}").tobytes()).decode("ascii")}


def _named_lists(lists: Iterable[Sequence[str] | None]) -> dict[str, Any]:
    """Return lists of names as numbers into the names, the most frequent name first."""
    kept = [list(dict.fromkeys(names or ())) for names in lists]
    counts = Counter(name for names in kept for name in names)
    ranked = sorted(counts, key=lambda name: (-counts[name], name))
    number = {name: rank for rank, name in enumerate(ranked)}
    return {
        "names": ranked,
        "counts": _packed([len(names) for names in kept]),
        "of": _packed([number[name] for names in kept for name in names]),
    }


def _shared_words(lists: Sequence[Sequence[str] | None], limit: int) -> list[list[str]]:
    """Return the first words of each title, without those that no other title has."""
    counts = Counter(word for words in lists for word in set(words or ()))
    return [[word for word in words or () if counts[word] > 1][:limit] for words in lists]


def _near(space: Space, count: int, progress: Progress) -> list[Rows]:
    """Return the rows of the nearest titles of each, nearest first; fewer where others are hardly alike."""
    n, found = len(space), []
    if count == 0 or n < 2:
        return [np.zeros(0, np.int64)] * n
    index = TitleIndex().build(space.ids, space.vectors)
    for first in range(0, n, _QUERIES):
        last = min(first + _QUERIES, n)
        hits = index.search(space.vectors[first:last], min(count, n - 1), own=np.arange(first, last))
        alike = hits.similarities >= _SEEN_ALIKE
        found += [rows[is_alike] for rows, is_alike in zip(hits.rows, alike, strict=True)]
        progress("nearest titles", last, n)
    return found


def _group_data(groups: Groups, places: npt.NDArray[np.int64]) -> dict[str, Any]:
    """Return groups with the middle of each."""
    members = [places[groups.of == number] for number in range(len(groups.names))]
    middles = [np.median(own, axis=0) if len(own) else np.zeros(2) for own in members]
    return {
        "names": list(groups.names),
        "of": _packed(groups.of + 1),  # 0: none
        "middles": [[round(float(x)), round(float(y))] for x, y in middles],
    }


def _data_url(sheet: bytes) -> str:
    return f"data:image/webp;base64,{base64.b64encode(sheet).decode('ascii')}"
