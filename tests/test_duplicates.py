"""Near-same titles against explicit all-pairs loops, planted copies, and what must not be found."""

from __future__ import annotations

import io
import os
import random
import re
import sys
import unicodedata
from collections.abc import Iterator, Sequence
from itertools import combinations
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageDraw

from reeltag.catalogue import Catalogue, PosterFiles, ReadOptions
from reeltag.config import from_json, to_json
from reeltag.duplicates import (
    GROUPING_KINDS,
    KINDS,
    DuplicateConfig,
    Duplicates,
    Pairs,
    PosterHashes,
    find_duplicates,
    hash_posters,
    near_same_plots,
    near_same_posters,
    same_titles,
)
from reeltag.duplicates.words import comparable, comparable_words
from reeltag.errors import ConfigError, MissingExtraError

SHARED = Path(os.environ.get("REELTAG_SHARED", Path(__file__).parents[1].parent / "shared"))
STEMS = ["river", "moon", "king", "thief", "train", "ghost", "island", "winter"]
VOCABULARY = [f"{stem}{letter}" for stem in STEMS for letter in "abcdefghijklmno"]
SCHEMA = {
    "id": pl.String,
    "title": pl.String,
    "year": pl.Int32,
    "plot": pl.String,
    "outline": pl.String,
    "directors": pl.List(pl.String),
}


def frame(**columns: Sequence[object]) -> pl.DataFrame:
    n = len(next(iter(columns.values())))
    ids = [f"tt{number}" for number in range(n)]
    data = {"id": ids} | columns
    return pl.DataFrame(data, schema={name: SCHEMA[name] for name in data})


def sentence(n_words: int, seed: int) -> list[str]:
    return random.Random(seed).choices(VOCABULARY, k=n_words)


def found(pairs: Pairs) -> set[tuple[int, int]]:
    return set(zip(pairs.left.tolist(), pairs.right.tolist(), strict=True))


def plots(texts: Sequence[str | None], **options: object) -> tuple[dict[tuple[int, int], float], set[tuple[int, int]]]:
    same, quoted, _, _ = near_same_plots(frame(plot=texts), DuplicateConfig(**options))
    return dict(zip(sorted(found(same)), same.similarity.tolist(), strict=True)), found(quoted)


# ---------------------------------------------------------------- words


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("A Man's LIFE, re-told.", ["a", "mans", "life", "re", "told"]),
        ("A man\u2019s life", ["a", "mans", "life"]),
        ("Amélie à Paris", ["amelie", "a", "paris"]),
        ("Ame\u0301lie", ["amelie"]),
        ("«Сталкер» 1979!", ["сталкер", "1979"]),
        ("東京物語", ["東", "京", "物", "語"]),
        ("Tokyo東京 x", ["tokyo", "東", "京", "x"]),
        ("...?!", []),
        ("", []),
        (None, None),
    ],
)
def test_words_lose_case_accents_and_punctuation(text: str | None, words: list[str] | None) -> None:
    table = pl.DataFrame({"text": [text]}, schema={"text": pl.String})
    assert table.select(comparable_words(pl.col("text"))).item() is None if words is None else True
    if words is not None:
        assert table.select(comparable_words(pl.col("text"))).item().to_list() == words
    assert table.select(comparable(pl.col("text"))).item() == (" ".join(words) if words else None)


# ---------------------------------------------------------------- plots: against all pairs


def shingle_set(text: str, length: int) -> set[tuple[str, ...]]:
    plain = "".join(c for c in unicodedata.normalize("NFKD", text) if not unicodedata.combining(c))
    words = re.findall(r"[^\W_]+", plain.replace("'", "").lower())
    return {tuple(words[i : i + length]) for i in range(len(words) - length + 1)}


def all_pairs(
    texts: Sequence[str], config: DuplicateConfig
) -> tuple[dict[tuple[int, int], float], dict[tuple[int, int], float]]:
    sets = [shingle_set(text, config.shingle_words) for text in texts]
    same, quoted = {}, {}
    for i, j in combinations(range(len(texts)), 2):
        if min(len(texts[i].split()), len(texts[j].split())) < config.min_words:
            continue
        overlap = len(sets[i] & sets[j])
        jaccard = overlap / len(sets[i] | sets[j])
        contained = overlap / min(len(sets[i]), len(sets[j]))
        if jaccard >= config.plot_similarity:
            same[i, j] = jaccard
        elif contained >= config.plot_containment:
            quoted[i, j] = contained
    return same, quoted


def related_texts(n: int, seed: int) -> list[str]:
    """Texts of which many are revised, cut, lengthened or joined copies of earlier ones."""
    draw = random.Random(seed)
    texts: list[list[str]] = []
    for _ in range(n):
        words = draw.choices(VOCABULARY[:60], k=draw.randint(4, 40))
        if texts and draw.random() < 0.6:
            words = list(draw.choice(texts))
            for _ in range(draw.randint(0, max(1, len(words) // 6))):
                words[draw.randrange(len(words))] = draw.choice(VOCABULARY)
            cut = draw.randint(0, len(words) // 2)
            words = words[cut:] if draw.random() < 0.5 else words + draw.choices(VOCABULARY, k=cut)
        texts.append(words)
    return [" ".join(words) for words in texts]


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"plot_similarity": 0.3, "plot_containment": 0.6, "min_words": 5},
        {"plot_similarity": 0.8, "plot_containment": 1.0},
        {"plot_similarity": 1.0, "plot_containment": 0.5},
        {"shingle_words": 1, "min_words": 4, "plot_similarity": 0.6},
        {"shingle_words": 5, "min_words": 8},
    ],
)
def test_join_finds_what_a_loop_over_all_pairs_finds(seed: int, options: dict[str, float]) -> None:
    config = DuplicateConfig(**options)
    texts = related_texts(150, seed)
    same, quoted, placeholders, n_short = near_same_plots(frame(plot=texts), config)
    expected_same, expected_quoted = all_pairs(texts, config)
    assert len(expected_same) + len(expected_quoted) > 3
    assert found(same) == set(expected_same)
    assert found(quoted) == set(expected_quoted)
    values = dict(zip(sorted(found(same)), same.similarity.tolist(), strict=True))
    assert values == pytest.approx(expected_same, abs=1e-6)
    values = dict(zip(sorted(found(quoted)), quoted.similarity.tolist(), strict=True))
    assert values == pytest.approx(expected_quoted, abs=1e-6)
    assert placeholders == []
    assert n_short == sum(len(text.split()) < config.min_words for text in texts)


@given(st.lists(st.lists(st.sampled_from("abcd"), min_size=1, max_size=9), min_size=0, max_size=12))
@settings(max_examples=60, deadline=None)
def test_join_is_exact_on_small_alphabets(texts: list[list[str]]) -> None:
    config = DuplicateConfig(min_words=2, shingle_words=2, plot_similarity=0.5, plot_containment=0.75)
    joined = [" ".join(words) for words in texts]
    same, quoted, _, _ = near_same_plots(frame(plot=joined), config)
    expected_same, expected_quoted = all_pairs(joined, config)
    assert found(same) == set(expected_same)
    assert found(quoted) == set(expected_quoted)


def test_join_in_many_blocks_is_the_join_in_one(monkeypatch: pytest.MonkeyPatch) -> None:
    texts = related_texts(120, 9)
    whole = plots(texts)
    monkeypatch.setattr("reeltag.duplicates.plots._BLOCK_PRODUCTS", 50)
    monkeypatch.setattr("reeltag.duplicates.plots._BLOCK_PAIRS", 7)
    monkeypatch.setattr("reeltag.duplicates.plots._CHUNK_ROWS", 11)
    assert plots(texts) == whole


def test_join_does_not_depend_on_the_order_of_titles() -> None:
    texts = related_texts(80, 5)
    forward, _ = plots(texts)
    backward, _ = plots(texts[::-1])
    assert {(79 - j, 79 - i) for i, j in backward} == set(forward)


# ---------------------------------------------------------------- plots: planted


def test_exact_and_lightly_edited_copies_are_found() -> None:
    story = sentence(40, 1)
    edited = [*story[:12], "suddenly", *story[13:]]
    texts = [" ".join(story), " ".join(sentence(40, 2)), " ".join(story).upper() + "!", " ".join(edited)]
    same, quoted = plots(texts)
    assert set(same) == {(0, 2), (0, 3), (2, 3)}
    assert same[0, 2] == 1.0
    assert 0.8 < same[0, 3] < 1.0
    assert quoted == set()


def test_a_plot_inside_a_longer_one_is_quoted() -> None:
    short, rest = sentence(15, 3), sentence(60, 4)
    same, quoted = plots([" ".join(short), " ".join([*rest[:20], *short, *rest[20:]]), " ".join(rest)])
    assert (0, 1) in quoted
    assert (0, 2) not in quoted
    assert set(same) == {(1, 2)}


def test_plots_that_share_a_phrase_are_not_near_same() -> None:
    phrase = ["based", "on", "the", "true", "story", "of", "the", "life", "and", "times", "of"]
    texts = [" ".join([*phrase, *sentence(15, seed)]) for seed in range(30)]
    assert plots(texts) == ({}, set())


def test_short_plots_are_left_out_and_counted() -> None:
    texts = ["A love story.", "A love story.", " ".join(sentence(9, 1)), " ".join(sentence(9, 1)), None, ""]
    same, quoted, _, n_short = near_same_plots(frame(plot=texts), DuplicateConfig())
    assert len(same) == len(quoted) == 0
    assert n_short == 5  # the empty text has a list of no words
    assert plots(texts, min_words=9)[0] == {(2, 3): 1.0}


def test_plot_and_outline_are_compared_across() -> None:
    story, other = " ".join(sentence(30, 1)), " ".join(sentence(30, 2))
    table = frame(plot=[story, other, None], outline=[None, story, other])
    same, _, _, _ = near_same_plots(table, DuplicateConfig())
    assert found(same) == {(0, 1), (1, 2)}


def test_a_title_is_not_its_own_duplicate() -> None:
    story = " ".join(sentence(30, 1))
    same, quoted, _, _ = near_same_plots(frame(plot=[story], outline=[story]), DuplicateConfig())
    assert len(same) == len(quoted) == 0


def test_a_pair_is_named_once_with_its_best_similarity() -> None:
    story = sentence(30, 1)
    edited = [*story[:10], "but", *story[11:]]
    table = frame(plot=[" ".join(story), " ".join(edited)], outline=[" ".join(edited), None])
    same, quoted, _, _ = near_same_plots(table, DuplicateConfig())
    assert found(same) == {(0, 1)}
    assert same.similarity.tolist() == [1.0]
    assert len(quoted) == 0


def test_a_near_same_pair_is_not_listed_as_quoted_too() -> None:
    story = " ".join(sentence(12, 1))
    longer = story + " " + " ".join(sentence(60, 2))
    same, quoted, _, _ = near_same_plots(frame(plot=[story, longer], outline=[None, story]), DuplicateConfig())
    assert found(same) == {(0, 1)}
    assert found(quoted) == set()


def test_a_text_on_too_many_titles_is_a_placeholder() -> None:
    notice = "the plot of this film is kept under wraps until the day of release"
    story = " ".join(sentence(20, 1))
    table = frame(plot=[notice] * 6 + [story, story])
    same, _, placeholders, _ = near_same_plots(table, DuplicateConfig(max_copies=5))
    assert found(same) == {(6, 7)}
    assert [(found.field, found.example, found.n_titles) for found in placeholders] == [("plot", notice, 6)]
    assert len(near_same_plots(table, DuplicateConfig(max_copies=6))[0]) == 6 * 5 // 2 + 1


def test_plots_in_scripts_without_spaces_are_compared() -> None:
    story = "東京で暮らす老夫婦が子供たちを訪ねる旅に出るが誰も相手にしてくれない"
    other = "侍の一団が村人たちに雇われて野武士の群れから村を守るために戦う"
    same, _ = plots([story, other, story + "。"])
    assert set(same) == {(0, 2)}


def test_common_shingles_alone_make_no_candidates() -> None:
    texts = [" ".join(sentence(12, 1))] * 4
    assert len(plots(texts, max_shingle_titles=4)[0]) == 6
    assert plots(texts, max_shingle_titles=3)[0] == {}


def test_templated_texts_do_not_explode() -> None:
    texts = [f"episode {i} of the long running series about a small town doctor and her dog" for i in range(3_000)]
    same, quoted = plots(texts)
    assert same == {}  # every shared shingle is in 3,000 texts: named as a limit of max_shingle_titles
    assert quoted == set()


@pytest.mark.parametrize("table", [frame(title=["a", "b"]), frame(plot=[None, None]), frame(plot=[]), frame(title=[])])
def test_catalogues_without_plots_have_no_near_same_plots(table: pl.DataFrame) -> None:
    same, quoted, placeholders, n_short = near_same_plots(table, DuplicateConfig())
    assert (len(same), len(quoted), placeholders, n_short) == (0, 0, [], 0)


def test_plot_search_tells_how_far_it_is() -> None:
    calls: list[tuple[str, int, int]] = []
    near_same_plots(frame(plot=related_texts(40, 1)), DuplicateConfig(), lambda *call: calls.append(call))
    assert calls[-1][0] == "comparing plots"
    assert calls[-1][1] == calls[-1][2]


# ---------------------------------------------------------------- titles


def titles(**columns: Sequence[object]) -> tuple[set[tuple[int, int]], set[tuple[int, int]]]:
    films, others, _ = same_titles(frame(**columns), DuplicateConfig())
    return found(films), found(others)


def test_one_name_one_director_is_one_film() -> None:
    films, others = titles(
        title=["Amélie", "AMELIE!", "Amelie", "Amélie", "Heat"],
        year=[2001, 2002, 2004, 2001, 2001],
        directors=[["J.-P. Jeunet"], ["j p jeunet", "Other"], ["J.-P. Jeunet"], ["Another"], ["J.-P. Jeunet"]],
    )
    assert films == {(0, 1)}
    assert others == {(0, 3)}


def test_an_unknown_year_does_not_part_a_film() -> None:
    films, others = titles(
        title=["Heat", "Heat", "Heat"], year=[1995, None, None], directors=[["Mann"], ["Mann"], None]
    )
    assert films == {(0, 1)}
    assert others == set()


def test_unknown_directors_leave_title_and_year() -> None:
    films, others = titles(title=["Home", "Home", "Home"], year=[2015, 2015, 2016], directors=[None, ["X"], ["X"]])
    assert films == {(1, 2)}
    assert others == {(0, 1)}


def test_two_shared_directors_are_one_pair() -> None:
    films, _ = titles(title=["Fargo"] * 2, year=[1996] * 2, directors=[["Joel Coen", "Ethan Coen"]] * 2)
    assert films == {(0, 1)}


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["A", "a!", "B", None, "?"]),
            st.sampled_from([None, 1999, 2000, 2001, 2005]),
            st.sampled_from([None, [], ["X"], ["x", "Y"], ["Y"]]),
        ),
        max_size=12,
    )
)
@settings(max_examples=80, deadline=None)
def test_titles_against_all_pairs(rows: list[tuple[str | None, int | None, list[str] | None]]) -> None:
    expected_films, expected_others = set(), set()
    for i, j in combinations(range(len(rows)), 2):
        (name_a, year_a, people_a), (name_b, year_b, people_b) = rows[i], rows[j]
        names = {(name or "?").strip("!?").lower() for name in (name_a, name_b)}
        if len(names) > 1 or "" in names:
            continue
        share = {p.lower() for p in people_a or []} & {p.lower() for p in people_b or []}
        if share and (year_a is None or year_b is None or abs(year_a - year_b) <= 1):
            expected_films.add((i, j))
        elif year_a is not None and year_a == year_b:
            expected_others.add((i, j))
    films, others = titles(
        title=[row[0] for row in rows], year=[row[1] for row in rows], directors=[row[2] for row in rows]
    )
    assert films == expected_films
    assert others == expected_others


def test_a_name_on_too_many_titles_is_a_placeholder() -> None:
    table = frame(title=["Untitled"] * 5 + ["Heat"] * 2, year=[2020] * 7)
    films, others, placeholders = same_titles(table, DuplicateConfig(max_copies=4))
    assert len(films) == 0
    assert found(others) == {(5, 6)}
    assert [(found.example, found.n_titles) for found in placeholders] == [("Untitled", 5)]


@pytest.mark.parametrize("table", [frame(plot=["x", "y"]), frame(title=[None, None]), frame(title=[])])
def test_catalogues_without_titles_have_no_same_titles(table: pl.DataFrame) -> None:
    films, others, placeholders = same_titles(table, DuplicateConfig())
    assert (len(films), len(others), placeholders) == (0, 0, [])


# ---------------------------------------------------------------- posters


def picture(seed: int, size: tuple[int, int] = (128, 188)) -> Image.Image:
    """A poster-like picture: a sky of random tones, shapes and bars of text."""
    draw_from = random.Random(seed)
    image = Image.effect_noise((8, 12), 90).resize(size, Image.Resampling.BICUBIC).convert("RGB")
    noise = np.random.default_rng(seed).integers(0, 255, (9, 6, 3), np.uint8)
    image = Image.fromarray(noise).resize(size, Image.Resampling.BICUBIC)
    pen = ImageDraw.Draw(image)
    for _ in range(8):
        x, y = draw_from.randrange(size[0]), draw_from.randrange(size[1])
        box = (x, y, x + draw_from.randrange(8, 60), y + draw_from.randrange(8, 60))
        pen.ellipse(box, fill=tuple(draw_from.randrange(256) for _ in range(3)))
    return image


def encoded(image: Image.Image, kind: str = "WEBP", **options: int) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def with_posters(folder: Path, contents: dict[str, bytes], ids: Sequence[str] | None = None) -> Catalogue:
    paths = {}
    for title_id, content in contents.items():
        paths[title_id] = folder / f"{title_id}.img"
        paths[title_id].write_bytes(content)
    table = pl.DataFrame({"id": list(ids or contents)}, schema={"id": pl.String})
    return Catalogue.from_frame(table, posters=PosterFiles(paths=paths))


def test_recompressed_resized_and_trimmed_posters_are_found(tmp_path: Path) -> None:
    original = picture(1)
    contents = {
        "original": encoded(original),
        "other": encoded(picture(2)),
        "jpeg": encoded(original, "JPEG", quality=30),
        "small": encoded(original.resize((64, 94)), "PNG"),
        "large": encoded(original.resize((500, 734), Image.Resampling.BICUBIC), "JPEG", quality=80),
        "grey": encoded(original.convert("L"), "PNG"),
        "trimmed": encoded(original.crop((1, 2, 127, 186)), "JPEG", quality=70),
        "another": encoded(picture(3)),
    }
    catalogue = with_posters(tmp_path, contents)
    pairs, placeholders = near_same_posters(hash_posters(catalogue, DuplicateConfig()), DuplicateConfig())
    copies = [row for row, name in enumerate(contents) if "other" not in name]
    assert found(pairs) == set(combinations(copies, 2))
    assert pairs.similarity.min() > 0.8
    assert placeholders == []


def test_different_posters_are_not_near_same(tmp_path: Path) -> None:
    catalogue = with_posters(tmp_path, {f"tt{seed}": encoded(picture(seed)) for seed in range(60)})
    pairs, _ = near_same_posters(hash_posters(catalogue, DuplicateConfig()), DuplicateConfig())
    assert len(pairs) == 0


def random_hashes(n: int, seed: int) -> PosterHashes:
    """Hashes of which many are others' with some bits flipped; rows with gaps."""
    generator = np.random.default_rng(seed)
    bits = generator.integers(0, 2, (n, 256), np.uint8)
    for row in range(n // 2, n):
        bits[row] = bits[generator.integers(0, n // 2)]
        flipped = generator.choice(256, generator.integers(0, 70), replace=False)
        bits[row, flipped] ^= 1
    return PosterHashes(row=np.arange(n, dtype=np.int64) * 3 + 1, bits=np.packbits(bits, axis=1))


@pytest.mark.parametrize("distance", [0, 10, 48, 60])
@pytest.mark.parametrize("block", [7, 64, 4_096])
def test_poster_search_finds_what_all_pairs_find(distance: int, block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("reeltag.duplicates.posters._BLOCK", block)
    hashes = random_hashes(100, 1)
    bits = np.unpackbits(hashes.bits, axis=1)
    expected = {}
    for i, j in combinations(range(100), 2):
        differing = int((bits[i] != bits[j]).sum())
        if differing <= distance:
            expected[int(hashes.row[i]), int(hashes.row[j])] = 1 - differing / 256
    pairs, _ = near_same_posters(hashes, DuplicateConfig(poster_distance=distance))
    values = dict(zip(sorted(found(pairs)), pairs.similarity.tolist(), strict=True))
    assert values == pytest.approx(expected)


def test_groups_of_posters_are_the_components_of_all_pairs() -> None:
    hashes = random_hashes(80, 3)
    pairs, _ = near_same_posters(hashes, DuplicateConfig())
    n_titles = int(hashes.row.max()) + 1
    none = dict.fromkeys(KINDS, Pairs.none())
    groups = Duplicates(n_titles=n_titles, pairs=none | {"same_poster": pairs}).groups()
    expected = list(range(n_titles))
    for _ in range(n_titles):
        for i, j in found(pairs):
            expected[i] = expected[j] = min(expected[i], expected[j])
    for i, j in combinations(range(n_titles), 2):
        assert (groups[i] == groups[j]) == (expected[i] == expected[j])


def test_broken_and_plain_posters_are_counted(tmp_path: Path) -> None:
    good = encoded(picture(1))
    contents = {
        "good": good,
        "text": b"not an image",
        "cut": encoded(picture(2), "PNG")[:400],
        "empty": b"",
        "black": encoded(Image.new("RGB", (50, 80), "black")),
        "white": encoded(Image.new("L", (50, 80), 255), "PNG"),
        "copy": good,
    }
    hashes = hash_posters(with_posters(tmp_path, contents), DuplicateConfig())
    assert hashes.row.tolist() == [0, 6]
    assert (hashes.n_broken, hashes.n_plain) == (3, 2)
    assert found(near_same_posters(hashes, DuplicateConfig())[0]) == {(0, 6)}


def test_a_giant_poster_is_refused_before_it_is_decoded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("reeltag.duplicates.posters._MAX_PIXELS", 1_000)
    hashes = hash_posters(with_posters(tmp_path, {"big": encoded(picture(1))}), DuplicateConfig())
    assert hashes.n_broken == 1


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "I;16"])
def test_posters_of_every_colour_mode_are_hashed(mode: str, tmp_path: Path) -> None:
    image = picture(4).convert("L").convert("I;16") if mode == "I;16" else picture(4).convert(mode)
    content = encoded(image, "TIFF")
    hashes = hash_posters(with_posters(tmp_path, {"x": content}), DuplicateConfig())
    assert (len(hashes.row), hashes.n_broken) == (1, 0)


def test_a_palette_with_transparency_raises_no_warning(tmp_path: Path) -> None:
    image = picture(5).convert("P")
    image.info["transparency"] = bytes([0, 128] * 100)
    hashes = hash_posters(with_posters(tmp_path, {"x": encoded(image, "PNG")}), DuplicateConfig())
    assert len(hashes.row) == 1


def test_a_poster_on_too_many_titles_is_a_placeholder(tmp_path: Path) -> None:
    blank, film = encoded(picture(6)), encoded(picture(7))
    contents = {f"none{i}": blank for i in range(4)} | {"a": film, "b": film}
    hashes = hash_posters(with_posters(tmp_path, contents), DuplicateConfig())
    pairs, placeholders = near_same_posters(hashes, DuplicateConfig(max_copies=3))
    assert found(pairs) == {(4, 5)}
    assert [(found.field, found.example, found.n_titles) for found in placeholders] == [("poster", "row 0", 4)]


def test_threads_and_batches_do_not_change_the_hashes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    catalogue = with_posters(tmp_path, {f"tt{seed}": encoded(picture(seed)) for seed in range(12)})
    one = hash_posters(catalogue, DuplicateConfig(n_threads=1))
    monkeypatch.setattr("reeltag.duplicates.posters._BATCH", 5)
    calls: list[tuple[str, int, int]] = []
    many = hash_posters(catalogue, DuplicateConfig(n_threads=4), lambda *call: calls.append(call))
    assert np.array_equal(one.row, many.row)
    assert np.array_equal(one.bits, many.bits)
    assert calls == [("hashing posters", n, 12) for n in (5, 10, 12)]


class BackwardPosters(PosterFiles):
    """Posters read in another order than asked for."""

    def read(self, ids: Sequence[str]) -> Iterator[tuple[str, bytes]]:
        yield from reversed(list(super().read(ids)))


def test_hashes_are_in_row_order_whatever_the_storage_order(tmp_path: Path) -> None:
    catalogue = with_posters(tmp_path, {f"tt{seed}": encoded(picture(seed)) for seed in range(5)})
    backward = Catalogue.from_frame(catalogue.frame, posters=BackwardPosters(paths=catalogue.posters.paths))
    forward, back = hash_posters(catalogue, DuplicateConfig()), hash_posters(backward, DuplicateConfig())
    assert np.array_equal(forward.bits, back.bits)


def test_missing_extra_is_named_only_when_there_are_posters(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "imagehash", None)
    empty = Catalogue.from_frame(frame(title=["a", "b"]))
    assert len(hash_posters(empty, DuplicateConfig()).row) == 0
    catalogue = with_posters(tmp_path, {"a": encoded(picture(1))})
    with pytest.raises(MissingExtraError, match=r"imagehash.*reeltag\[posters\]"):
        find_duplicates(catalogue)
    assert find_duplicates(catalogue, config=DuplicateConfig(posters=False)).n_posters == 0


# ---------------------------------------------------------------- pairs, groups, the whole


def test_best_orders_pairs_and_keeps_the_greatest() -> None:
    pairs = Pairs.best(np.array([3, 1, 1, 2, 5]), np.array([1, 3, 2, 1, 5]), np.array([0.5, 0.9, 0.1, 0.2, 1.0]))
    assert pairs.left.tolist() == [1, 1]
    assert pairs.right.tolist() == [2, 3]
    assert pairs.similarity.tolist() == pytest.approx([0.2, 0.9])
    assert len(Pairs.none()) == 0


def test_groups_join_chains_over_kinds_and_leave_out_shared_titles() -> None:
    def pairs(*links: tuple[int, int]) -> Pairs:
        array = np.array(links, np.int64).reshape(-1, 2)
        return Pairs.best(array[:, 0], array[:, 1], np.ones(len(array)))

    by_kind = dict.fromkeys(KINDS, Pairs.none())
    by_kind |= {"same_plot": pairs((0, 1)), "same_poster": pairs((1, 2)), "same_title": pairs((3, 4))}
    duplicates = Duplicates(n_titles=6, pairs=by_kind)
    groups = duplicates.groups()
    assert groups[0] == groups[1] == groups[2]
    assert len(set(groups.tolist())) == 4
    assert "same_title" not in GROUPING_KINDS
    assert len(set(duplicates.groups(KINDS).tolist())) == 3
    assert len(Duplicates(n_titles=0, pairs=dict.fromkeys(KINDS, Pairs.none())).groups()) == 0


def test_find_duplicates_finds_every_kind(tmp_path: Path) -> None:
    story, poster = sentence(30, 1), encoded(picture(1))
    table = frame(
        title=["Heat", "heat", "Home", "Home", "A", "B", "C", "D"],
        year=[1995, 1996, 2015, 2015, 1, 2, 3, 4],
        directors=[["Mann"], ["Mann"], ["X"], ["Y"], None, None, None, None],
        plot=[None] * 4
        + [
            " ".join(story),
            " ".join([*story[:28], "x"]),
            " ".join([*story[:11], *sentence(50, 2)]),
            " ".join(story[:11]),
        ],
    )
    paths = {}
    for title_id in ("tt0", "tt7"):
        paths[title_id] = tmp_path / title_id
        paths[title_id].write_bytes(poster)
    duplicates = find_duplicates(Catalogue.from_frame(table, posters=PosterFiles(paths=paths)))
    assert {kind: found(pairs) for kind, pairs in duplicates.pairs.items()} == {
        "same_id": set(),
        "same_film": {(0, 1)},
        "same_title": {(2, 3)},
        "same_plot": {(4, 5)},
        "quoted_plot": {(4, 7), (5, 7), (6, 7)},
        "same_poster": {(0, 7)},
        "same_trailer": set(),
    }
    assert duplicates.n_posters == 2
    groups = duplicates.groups()
    assert len(set(groups[[0, 1, 4, 5, 6, 7]].tolist())) == 1
    assert groups[2] != groups[3]


def test_several_catalogues_are_counted_through(tmp_path: Path) -> None:
    story = " ".join(sentence(30, 1))
    poster = encoded(picture(1))
    one = with_posters(tmp_path, {"b": poster}, ids=["a", "b"])
    other = Catalogue.from_frame(frame(plot=[story, story]), posters=PosterFiles(paths={"tt1": tmp_path / "b.img"}))
    duplicates = find_duplicates(one, other)
    assert duplicates.n_titles == 4
    assert found(duplicates.pairs["same_plot"]) == {(2, 3)}
    assert found(duplicates.pairs["same_poster"]) == {(1, 3)}
    twice = find_duplicates(one, one)
    assert found(twice.pairs["same_id"]) == {(0, 2), (1, 3)}


@pytest.mark.parametrize("n", [0, 1, 2])
def test_tiny_catalogues_have_no_duplicates(n: int) -> None:
    duplicates = find_duplicates(Catalogue.from_frame(frame(title=[f"film {i}" for i in range(n)])))
    assert all(len(pairs) == 0 for pairs in duplicates.pairs.values())
    assert duplicates.groups().tolist() == list(range(n))


def test_no_catalogue_has_no_duplicates() -> None:
    assert find_duplicates().n_titles == 0


# ---------------------------------------------------------------- config


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"plot_similarity": 0.0}, "plot_similarity"),
        ({"plot_similarity": 1.1}, "plot_similarity"),
        ({"plot_containment": 2}, "plot_containment"),
        ({"shingle_words": 0}, "shingle_words"),
        ({"min_words": 2}, "min_words must be at least shingle_words"),
        ({"year_tolerance": -1}, "year_tolerance"),
        ({"poster_distance": 129}, "poster_distance"),
        ({"max_copies": 1}, "max_copies must be at least 2"),
        ({"max_shingle_titles": 1}, "max_shingle_titles must be at least 2"),
        ({"n_threads": 0}, "n_threads"),
    ],
)
def test_config_out_of_range_is_named(options: dict[str, float], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        DuplicateConfig(**options)


def test_config_survives_json() -> None:
    config = DuplicateConfig(plot_similarity=0.7, posters=False)
    assert from_json(DuplicateConfig, to_json(config)) == config


# ---------------------------------------------------------------- real data


@pytest.mark.skipif(not (SHARED / "data/films.parquet").is_file(), reason="the shared films are not there")
def test_real_films_hold_known_copies() -> None:
    catalogue = Catalogue.read(SHARED / "data/films.parquet", ReadOptions())
    split = catalogue.frame["split"]
    films = catalogue.take(np.flatnonzero(split.is_in(["train", "test"]).to_numpy()))
    duplicates = find_duplicates(films)
    title = films.frame["title"].to_list()
    pairs = {frozenset((title[i], title[j])) for i, j in found(duplicates.pairs["same_plot"])}
    assert frozenset(["Seven Up!", "7 Plus Seven"]) in pairs or len(pairs) > 20
    assert np.bincount(duplicates.groups()).max() < 10
