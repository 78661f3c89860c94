"""What patches and words of a poster say: every figure is the model's own, in the right place."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from reeltag.catalogue import Catalogue, PosterFiles
from reeltag.config import from_json
from reeltag.encoders.ocr.words import PosterText, Word
from reeltag.errors import FeatureError
from reeltag.explain_tokens import PosterEvidence, TokenModel, poster_evidence
from reeltag.features import Features
from samples import GENRES, fitted
from speaking import BOX, SIDE, TEXT, Speaker, effects, pipeline, png

COLUMNS = (2, 1)
NAMES = [GENRES[column] for column in COLUMNS]
FEATURES = Features(["a"], {}, {})


def film(folder: Path, content: bytes | None) -> Catalogue:
    paths = {}
    if content is not None:
        paths["a"] = folder / "a.png"
        paths["a"].write_bytes(content)
    return Catalogue.from_frame(pl.DataFrame({"id": ["a"]}), posters=PosterFiles(paths=paths))


def told(
    folder: Path, given: Any = None, model: object = None, *, content: bytes | None = png()
) -> PosterEvidence | None:
    store: Any = None
    speaker, reader = model or Speaker(), given or pipeline()
    return poster_evidence(speaker, reader, store, FEATURES, film(folder, content), GENRES, COLUMNS)


def of(row: np.ndarray) -> Mapping[str, Any]:
    return {name: pytest.approx(float(row[column])) for name, column in zip(NAMES, COLUMNS, strict=True)}


def test_patches_have_their_places_and_effects(tmp_path: Path) -> None:
    found = told(tmp_path)
    assert found is not None
    (patches,) = found.patches.values()
    assert list(found.patches) == ["grid"]
    assert [patch.box for patch in patches] == [
        (0.0, 0.0, 0.5, 0.5), (0.5, 0.0, 1.0, 0.5), (0.0, 0.5, 0.5, 1.0), (0.5, 0.5, 1.0, 1.0)
    ]  # fmt: skip
    for token, patch in enumerate(patches):
        assert patch.effects == of(effects(SIDE**2)[0, token])
        assert patch.attention == pytest.approx(0.1)


def test_a_word_is_the_sum_of_its_pieces(tmp_path: Path) -> None:
    found = told(tmp_path)
    assert found is not None
    assert [(w.text, w.confidence, w.box) for w in found.words] == [
        ("BLOOD", 0.9, BOX), ("<b>", None, None), ("AGAIN", None, None)
    ]  # fmt: skip
    every = effects(7, start=10)[0]
    for place, word in enumerate(found.words):
        assert word.effects == of(every[2 * place] + every[2 * place + 1])
        assert word.attention == pytest.approx(0.1)
    assert (found.words_absent, found.n_unread, found.seen) == ("", 0, True)


@pytest.mark.parametrize(("n_pieces", "n_words"), [(1, 1), (2, 1), (3, 2), (5, 3), (6, 3), (40, 3)])
def test_words_beyond_the_limit_are_counted(tmp_path: Path, n_pieces: int, n_words: int) -> None:
    found = told(tmp_path, model=Speaker(n_pieces=n_pieces))
    assert found is not None
    assert (len(found.words), found.n_unread) == (n_words, 3 - n_words)
    last = effects(n_pieces, start=10)[0][2 * n_words - 2 : min(2 * n_words, n_pieces)].sum(axis=0)
    assert found.words[-1].effects == of(last)


def test_what_several_encoders_say_of_a_word_is_added_up_and_of_patches_kept_apart(tmp_path: Path) -> None:
    class Two(Speaker):
        def token_effects(self, features: Features) -> dict[str, np.ndarray]:
            one = super().token_effects(features)
            return one | {"poster_text.more": one["poster_text.halves"], "poster.fine": -one["poster.grid"]}

    one = pipeline()
    grid, halves = one.patch_encoders["poster.grid"], one.piece_encoders["poster_text.halves"]
    fine = type("Fine", (type(grid),), {"name": "fine"})()
    both = pipeline(
        patch_encoders={"poster.grid": grid, "poster.fine": fine},
        piece_encoders={"poster_text.halves": halves, "poster_text.more": halves},
    )
    single, double = told(tmp_path), told(tmp_path, both, Two())
    assert single is not None
    assert double is not None
    assert list(double.patches) == ["grid", "fine"]
    for first, second in zip(*double.patches.values(), strict=True):
        assert (first.box, first.attention, second.attention) == (second.box, pytest.approx(0.1), None)
        assert first.effects == {name: -value for name, value in second.effects.items()}
    for before, after in zip(single.words, double.words, strict=True):
        assert after.effects == {name: pytest.approx(2 * value) for name, value in before.effects.items()}


@pytest.mark.parametrize(
    ("content", "reason"), [(None, "no poster"), (b"\xff\xd8 no image", "the poster cannot be read")]
)
def test_without_a_readable_poster(tmp_path: Path, content: bytes | None, reason: str) -> None:
    found = told(tmp_path, pipeline(None), content=content)
    assert found == PosterEvidence(patches={}, words_absent=reason)
    assert not found.seen


def test_without_text(tmp_path: Path) -> None:
    found = told(tmp_path, pipeline(PosterText()))
    assert found is not None
    assert (found.words, found.words_absent, found.seen) == ((), "no text found", True)
    assert len(found.patches["grid"]) == SIDE**2


def test_words_that_the_model_does_not_read(tmp_path: Path) -> None:
    def never(*_: object) -> list[PosterText | None]:
        pytest.fail("nobody asked for words")

    for given in (pipeline(piece_encoders={}, words=never), pipeline(piece_encoders={"poster_text.x": 0}, words=never)):
        found = told(tmp_path, given)
        assert found is not None
        assert (found.words_absent, len(found.patches["grid"])) == ("not read", SIDE**2)


def test_words_alone(tmp_path: Path) -> None:
    found = told(tmp_path, pipeline(patch_encoders={}))
    assert found is not None
    assert (found.patches, len(found.words)) == ({}, 3)


def test_models_that_do_not_attend(tmp_path: Path) -> None:
    found = told(tmp_path, model=Speaker(attends=False))
    assert found is not None
    assert {mark.attention for mark in (*found.patches["grid"], *found.words)} == {None}


def test_models_and_taggers_that_read_no_tokens_of_posters_say_nothing(tmp_path: Path) -> None:
    assert isinstance(Speaker(), TokenModel)
    assert not isinstance(fitted().fitted.model, TokenModel)
    assert told(tmp_path, model=fitted().fitted.model) is None
    assert told(tmp_path, pipeline(patch_encoders={}, piece_encoders={"plot.halves": 0})) is None


def test_too_few_effects_are_an_error(tmp_path: Path) -> None:
    class Short(Speaker):
        def token_effects(self, features: Features) -> dict[str, np.ndarray]:
            return {name: values[:, :3] for name, values in super().token_effects(features).items()}

    with pytest.raises(FeatureError, match=r"block 'poster\.grid': 4 patches, but effects of 3 tokens"):
        told(tmp_path, model=Short())


def test_json_there_and_back(tmp_path: Path) -> None:
    for found in (told(tmp_path), told(tmp_path, pipeline(PosterText()))):
        assert found is not None
        assert from_json(PosterEvidence, json.loads(json.dumps(asdict(found), allow_nan=False))) == found


def test_a_word_of_any_script_and_length(tmp_path: Path) -> None:
    words = tuple(Word(text=text) for text in ("七人の侍", "x" * 500, "é"))
    found = told(tmp_path, pipeline(PosterText(words=words)))
    assert found is not None
    assert [word.text for word in found.words] == [word.text for word in words]
    assert len(TEXT.words) == len(found.words)
