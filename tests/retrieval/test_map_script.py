"""The script of a map, run in Node where that is installed: columns, search, boxes, filters, and what is drawn."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from reeltag.retrieval import Groups, MapConfig, PosterSheets, write_map

from .map_samples import HOSTILE, positions, space

NODE = shutil.which("node")
HARNESS = Path(__file__).with_name("map_script.js")

pytestmark = pytest.mark.skipif(NODE is None, reason="node is not installed")


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write a map of 60 titles in two groups, 40 of them with posters."""
    titles = space(
        [f"Film {row}" for row in range(57)] + ["Amélie", "The Film", HOSTILE[0]],
        years=[None if row % 10 == 0 else 1950 + row for row in range(60)],
        labels=[["Drama", "Horror"] if row % 4 == 0 else ["Drama"] if row % 4 < 3 else [] for row in range(60)],
        vectors=np.random.default_rng(0).normal(size=(60, 2)),
    )
    groups = Groups(names=("castle", "school"), of=np.arange(60) % 3 - 1)
    tiles = np.where(np.arange(60) < 40, np.arange(60), -1)
    posters = PosterSheets(sheets=(b"sheet",), tiles=tiles)
    folder = tmp_path_factory.mktemp("maps") / "map"
    config = MapConfig(inline_bytes=0)
    return write_map(folder, titles, positions(60), posters, groups, config=config).page


def run(page: Path, steps: str, fragment: str = "") -> Any:
    assert NODE is not None
    words = [NODE, str(HARNESS), str(page), steps, fragment]
    found = subprocess.run(words, capture_output=True, text=True, check=False, timeout=60)
    assert found.returncode == 0, found.stderr
    return json.loads(found.stdout)


def test_columns_are_read_as_they_were_written(page: Path) -> None:
    found = run(
        page,
        "return {n: x.length, years: [0, 1, 10].map(yearOf), labels: [0, 1, 3].map(labelsOf), last: lastYear, "
        "tiles: [tiles[0], tiles[39], tiles[40]], known: Array.from(known.slice(0, 3)), near: near.of(0).length}",
    )
    assert found["n"] == 60
    assert found["years"] == [None, 1951, None]
    assert found["labels"] == [["Drama", "Horror"], ["Drama"], []]
    assert found["last"] == 2009
    assert found["tiles"] == [1, 40, 0]
    assert found["known"] == [1, 0, 1]
    assert found["near"] == 6


def test_search_finds_beginnings_first_and_minds_neither_case_nor_accents(page: Path) -> None:
    steps = "const names = data.titles.map(plain); return [%s].map((typed) => findTitles(names, typed).slice(0, 3))"
    found = run(page, steps % "'film 1', 'AMELIE', 'script', 'nowhere', ' ', 'the film'")
    assert found == [[1, 10, 11], [57], [59], [], [], [58]]
    assert run(page, "return findTitles(data.titles.map(plain), 'film').length") == 58


def test_a_search_marks_titles_and_jumps_to_the_first(page: Path) -> None:
    found = run(
        page,
        "search.value = 'film 12'; search.fire('input'); const told = elements.matches.textContent;"
        "search.fire('keydown', {key: 'Enter'});"
        "return {told, matches: state.matches, selected: state.selected, card: card.textContent, hidden: card.hidden,"
        "far: Math.hypot(state.x - x[12], state.y - y[12]) * state.scale}",
    )
    assert (found["told"], found["matches"], found["selected"], found["hidden"]) == ("1 title", [12], 12, False)
    assert found["far"] < 400
    for text in ("Film 12 (1962)", "t12", "Drama", "Horror", "sea · ship", "Nearest titles"):
        assert text in found["card"], text


def test_what_titles_say_stays_text(page: Path) -> None:
    found = run(page, "select(59); showHint(59); return [card.textContent, hint.textContent, location.hash]")
    assert HOSTILE[0] in found[0]
    assert HOSTILE[0] in found[1]
    assert found[2] == "#t59"


def test_an_address_with_an_id_opens_that_title(page: Path) -> None:
    assert run(page, "return state.selected", "#t7") == 7
    assert run(page, "return state.selected", "#%E0%A4%A") == -1


def test_all_titles_are_drawn_as_dots_from_afar(page: Path) -> None:
    found = run(page, "delete calls.arc; delete calls.rect; drawNow(); return [calls.arc || 0, calls.rect || 0]")
    assert sum(found) >= 60


def test_near_by_titles_have_posters_and_names(page: Path) -> None:
    found = run(
        page,
        "const i = 5; state.x = x[i]; state.y = y[i]; state.scale = maxScale; texts.length = 0; drawNow();"
        "return {drawn: calls.drawImage, texts, sheets: images.map((image) => image.src)}",
    )
    assert found["drawn"] > 0
    assert "Film 5" in found["texts"]
    assert found["sheets"] == ["posters-000.webp"]


def test_boxes_of_a_level_do_not_overlap_and_stay_at_deeper_levels(page: Path) -> None:
    steps = """
    const n = 400, xs = new Uint16Array(n), ys = new Uint16Array(n);
    let seed = 7; const next = () => (seed = (seed * 16807) % 2147483647) / 2147483647;
    for (let i = 0; i < n; i++) { xs[i] = next() * 65535; ys[i] = i < 5 ? 9 : next() * 65535; }
    xs[4] = xs[3];
    const order = Array.from({length: n}, (_, i) => i);
    const sizes = (level) => [20000 / 1.5 ** level, 30000 / 1.5 ** level];
    return {levels: Array.from(boxLevels(order, xs, ys, 16, sizes)), x: Array.from(xs), y: Array.from(ys)}
    """
    found = run(page, steps)
    levels, x, y = (np.array(found[name]) for name in ("levels", "x", "y"))
    assert levels[0] == 0
    assert levels[4] == 255  # it lies where another does
    for level in range(16):
        width, height = 20_000 / 1.5**level, 30_000 / 1.5**level
        shown = np.flatnonzero(levels <= level)
        for place, row in enumerate(shown):
            others = shown[place + 1 :]
            apart = (np.abs(x[others] - x[row]) >= width) | (np.abs(y[others] - y[row]) >= height)
            assert apart.all()
        hidden = np.flatnonzero(levels > level)
        for row in hidden:  # each that is hidden would cover one that is shown
            assert ((np.abs(x[shown] - x[row]) < width) & (np.abs(y[shown] - y[row]) < height)).any()


def test_the_grid_finds_what_is_in_a_window(page: Path) -> None:
    steps = """
    return [[0, 0, 65536, 65536], [20000, 10000, 40000, 30000], [-900, -900, -1, -1]].map((w) => {
      const rows = []; inWindow(grid, ...w, (i) => rows.push(i)); return rows.sort((a, b) => a - b); })
    """
    whole, some, none = run(page, steps)
    x, y = (np.array(run(page, f"return Array.from({axis})")) for axis in ("x", "y"))
    inside = np.flatnonzero((x >= 20_000) & (x <= 40_000) & (y >= 10_000) & (y <= 30_000))
    assert whole == list(range(60))
    assert set(inside) <= set(some)
    assert len(some) < 60
    assert none == []


def test_the_title_under_the_pointer_is_found(page: Path) -> None:
    steps = (
        "return Array.from(x, (_, i) => titleAt(...toScreen(x[i], y[i]), 12) === i || "
        "hasBox(titleAt(...toScreen(x[i], y[i]), 12)))"
    )
    assert all(run(page, steps))
    assert run(page, "return titleAt(-500, -500, 12)") == -1


def test_a_click_opens_a_title_and_one_beside_it_closes_it(page: Path) -> None:
    steps = """
    state.scale = maxScale; state.x = x[50]; state.y = y[50];
    const at = (place) => ({clientX: place[0], clientY: place[1]});
    const click = (place) => { canvas.fire('pointerdown', at(place)); canvas.fire('pointerup', at(place)); };
    click(toScreen(x[50], y[50])); const first = [state.selected, card.hidden];
    click([900, 10]); return [...first, state.selected, card.hidden]
    """
    assert run(page, steps) == [50, False, -1, True]


def test_a_drag_moves_the_map_and_opens_nothing(page: Path) -> None:
    steps = """
    const before = toUnits(700, 400);
    canvas.fire('pointerdown', {clientX: 700, clientY: 400});
    for (let k = 0; k <= 10; k++) canvas.fire('pointermove', {clientX: 700 - 5 * k, clientY: 400 + 3 * k});
    canvas.fire('pointerup', {clientX: 650, clientY: 430});
    return [before, toUnits(650, 430), state.scale, state.selected]
    """
    before, after, scale, selected = run(page, steps)
    assert np.hypot(*np.subtract(before, after)) * scale < 8
    assert selected == -1


def test_wheel_and_pinch_zoom_about_their_place(page: Path) -> None:
    steps = """
    const zooms = [];
    const before = toUnits(800, 300), scale = state.scale;
    canvas.fire('wheel', {clientX: 800, clientY: 300, deltaY: -240, deltaMode: 0});
    zooms.push([before, toUnits(800, 300), state.scale / scale]);
    canvas.fire('pointerdown', {pointerId: 1, clientX: 700, clientY: 400});
    canvas.fire('pointerdown', {pointerId: 2, clientX: 800, clientY: 400});
    const middle = toUnits(700, 400), held = state.scale;
    canvas.fire('pointermove', {pointerId: 2, clientX: 900, clientY: 400});
    zooms.push([middle, toUnits(700, 400), state.scale / held]);
    return zooms
    """
    for before, after, factor in run(page, steps):
        assert factor == pytest.approx(2)
        assert np.hypot(*np.subtract(before, after)) < 65_536 / 50


def test_keys_move_zoom_and_open(page: Path) -> None:
    steps = """
    const key = (name) => canvas.fire('keydown', {key: name});
    const before = [state.x, state.y, state.scale]; const whole = [...before];
    key('+'); key('ArrowRight'); key('ArrowDown');
    const moved = [state.x > before[0], state.y > before[1], state.scale > before[2]];
    const over = state.over; const hinted = hint.hidden; key('Enter');
    const opened = hint.hidden ? state.selected : -2; document.fire('keydown', {key: 'Escape'});
    key('0');
    return {moved, same: over === opened, opened, hinted, closed: card.hidden, back: state.scale / whole[2]}
    """
    found = run(page, steps)
    assert found["moved"] == [True, True, True]
    assert found["opened"] >= 0
    assert found["same"]
    assert not found["hinted"]
    assert found["closed"]
    assert found["back"] == pytest.approx(1)


def test_a_label_of_the_legend_shows_its_titles_alone(page: Path) -> None:
    steps = """
    byColour[0].fire('change');
    const buttons = elements.entries.querySelectorAll('button');
    const told = buttons.map((button) => button.textContent);
    buttons[1].onclick(); const one = [Array.from(shown).reduce((a, b) => a + b), elements.shown.textContent];
    buttons[1].onclick(); return [told, one, elements.shown.textContent]
    """
    assert run(page, steps) == [["Drama45", "Horror15"], [15, "15 of 60 titles"], "60 titles"]


def test_years_can_be_narrowed(page: Path) -> None:
    steps = """
    elements.from.value = '1960'; elements.to.value = '1969'; elements.undated.checked = %s;
    elements.from.fire('input'); return [elements.shown.textContent, elements.range.textContent]
    """
    assert run(page, steps % "false") == ["9 of 60 titles", "1960 to 1969"]
    assert run(page, steps % "true") == ["15 of 60 titles", "1960 to 1969"]


def test_a_map_with_groups_opens_with_them_named_and_shown_alone(page: Path) -> None:
    steps = """
    texts.length = 0; drawNow(); const named = [...new Set(texts)].sort();
    const buttons = elements.entries.querySelectorAll('button');
    buttons[0].onclick(); return [named, buttons.map((b) => b.textContent), elements.shown.textContent]
    """
    named, entries, shown = run(page, steps)
    assert {"castle", "school"} <= set(named)
    assert entries == ["castle20", "school20"]
    assert shown == "20 of 60 titles"


def test_a_title_has_the_colour_of_its_rarest_label_or_of_its_year(page: Path) -> None:
    steps = "%s; return [0, 1, 55, 10].map((i) => colourOf[i])"
    assert run(page, steps % "byColour[0].fire('change')") == [1, 0, 16, 0]
    years = run(page, steps % "byColour[2].fire('change')")
    assert years[0] == years[3] == 24
    assert years[1] < years[2] < 24


def test_choosing_a_title_that_is_filtered_out_takes_the_filter_away(page: Path) -> None:
    steps = "elements.entries.querySelectorAll('button')[1].onclick(); const was = shown[1]; reveal(1);"
    assert run(page, f"{steps} return [was, shown[1], state.only]") == [0, 1, -1]


def test_groups_near_each_other_get_different_colours(page: Path) -> None:
    steps = """
    const middles = [[0, 0], [1, 0], [0, 1], [90, 90], [91, 90], [90, 91]];
    return Array.from(spreadColours(middles, [6, 5, 4, 3, 2, 1], 3))
    """
    colours = run(page, steps)
    assert sorted(colours[:3]) == sorted(colours[3:]) == [0, 1, 2]


def test_long_names_are_cut_into_lines(page: Path) -> None:
    texts = ["a short one", "some words that go on and on", "W" * 40, ""]
    steps = f"return {json.dumps(texts)}.map((text, k) => wrapped(view.context, text, k ? 60 : 200, 2))"
    found = run(page, steps)
    assert found[0] == ["a short one"]
    assert found[1][0] == "some words"
    assert len(found[1]) == 2
    assert found[1][1].endswith("…")
    assert all(len(line) * 6 <= 60 for line in found[1] + found[2])
    assert found[3] == []


def test_maps_of_no_title_and_of_one_open(tmp_path: Path) -> None:
    for n in (0, 1):
        page = write_map(tmp_path / f"map{n}", space(["Only"][:n], years=[None][:n]), positions(n)).page
        steps = "zoomMiddle(2); showWhole(); byColour[2].fire('change'); return [data.n, elements.empty.hidden]"
        assert run(page, steps) == [n, n > 0]


def test_without_posters_names_stand_beside_dots(tmp_path: Path) -> None:
    page = write_map(tmp_path / "map", space([f"Film {row}" for row in range(30)]), positions(30)).page
    steps = "state.scale = maxScale; state.x = x[3]; state.y = y[3]; texts.length = 0; drawNow(); return texts"
    assert "Film 3" in run(page, steps)
