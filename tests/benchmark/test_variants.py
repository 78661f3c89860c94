"""Smaller posters, and figures by decade."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from encoders.pictures import PosterBox, encoded, picture
from reeltag.benchmark import Entry, Variant
from reeltag.benchmark.decades import by_decade, figures_by_decade
from reeltag.benchmark.variants import ResizedPosters, resized
from reeltag.encoders.images import decode
from reeltag.errors import ConfigError
from reeltag.evaluation import macro_f1, micro_f1


def test_posters_are_made_smaller() -> None:
    small = decode(resized(encoded(picture(size=(128, 188))), 0.5))
    assert small is not None and small.size == (64, 94)
    expected = picture(size=(128, 188)).resize((64, 94), Image.Resampling.LANCZOS)
    assert np.array_equal(np.asarray(small), np.asarray(expected))
    tiny = decode(resized(encoded(picture(size=(10, 40))), 0.5))
    assert tiny is not None and tiny.size == (8, 20), "never too small to be looked at"
    assert resized(encoded(picture()), 0.5) == resized(encoded(picture()), 0.5), "the same bytes, found in the cache"


def test_smaller_posters_are_a_place_to_read_from() -> None:
    box = PosterBox({"a": encoded(picture(0)), "b": b"broken"})
    half = ResizedPosters(box, 0.5)
    assert half.present(["a", "b", "c"]).tolist() == [True, True, False]
    read = dict(half.read(["a", "b", "c"]))
    assert read["b"] == b"broken"
    assert read["a"] == resized(encoded(picture(0)), 0.5)
    assert half.problems() == []


def test_variants_concern_what_reads_posters() -> None:
    both, image, plot = (Entry(label="x", reads=reads) for reads in (("poster", "poster_text"), ("poster",), ("plot",)))
    smaller, engine = Variant(name="s", scale=0.5), Variant(name="e", ocr="tesserocr")
    hidden = Variant(name="h", hidden="poster")
    assert [smaller.concerns(found) for found in (both, image, plot)] == [True, True, False]
    assert [engine.concerns(found) for found in (both, image, plot)] == [True, False, False]
    assert [hidden.concerns(found) for found in (both, image, plot)] == [True, False, False]
    with pytest.raises(ConfigError, match=r"Variant\.scale must be between"):
        Variant(name="larger", scale=2)


def years(**n: int) -> np.ndarray:
    """Return so many years of each decade, ``y1990=3`` three of them."""
    return np.array([int(name[1:]) + number % 10 for name, count in n.items() for number in range(count)], np.float32)


def test_small_decades_join_the_one_before() -> None:
    of = years(y1920=2, y1930=10, y1950=40, y1980=5, y1990=30, y2000=7, y2010=31)
    found = [(decade.name, len(decade.places), decade.is_small) for decade in by_decade(of)]
    assert found == [
        ("2010s", 31, False), ("1990s to 2000s", 37, False), ("1950s to 1980s", 45, False),
        ("1920s to 1930s", 12, True),
    ]  # fmt: skip
    places = np.concatenate([decade.places for decade in by_decade(of)])
    assert sorted(places.tolist()) == list(range(len(of)))


def test_unknown_years_come_last() -> None:
    of = np.array([np.nan, 1994.0, np.nan, 2001.0], np.float32)
    assert [(d.name, d.places.tolist()) for d in by_decade(of, few=1)] == [
        ("2000s", [3]), ("1990s", [1]), ("year unknown", [0, 2]),
    ]  # fmt: skip
    assert [d.name for d in by_decade(of[:1])] == ["year unknown"]


def test_figures_of_decades_are_those_of_their_titles() -> None:
    random = np.random.default_rng(0)
    of = random.integers(1950, 2020, 90).astype(np.float32)
    truth = (random.random((90, 4)) < 0.3).astype(np.float32)
    truth[of >= 2000, 3] = 0
    runs = [random.random((90, 4)) < 0.4 for _ in range(3)]
    decades = by_decade(of, few=10)
    for decade, figures in zip(decades, figures_by_decade(decades, truth, runs), strict=True):
        rows = decade.places
        there = truth[rows].any(axis=0)
        for seed, decisions in enumerate(runs):
            assert figures.micro_f1[seed] == pytest.approx(micro_f1(truth[rows], decisions[rows]))
            expected = macro_f1(truth[rows][:, there], decisions[rows][:, there])
            assert figures.macro_f1[seed] == pytest.approx(expected)
        data = figures.to_json()
        assert data["titles"] == len(rows)
        assert data["micro_f1"]["std"] == pytest.approx(np.std(figures.micro_f1, ddof=1))
    one = figures_by_decade(decades[:1], truth, runs[:1])[0].to_json()
    assert one["macro_f1"]["std"] is None


def test_a_decade_without_any_label() -> None:
    (found,) = figures_by_decade(by_decade(years(y1990=3)), np.zeros((3, 2), np.float32), [np.ones((3, 2), np.bool_)])
    assert (found.micro_f1, found.macro_f1, found.is_small) == ((0.0,), (0.0,), True)
