"""TfidfEncoder against scikit-learn, on disk, and on corpora that hardly are any."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.feature_extraction.text import TfidfVectorizer

from reeltag.config import from_json, to_json
from reeltag.encoders.tfidf import TfidfConfig, TfidfEncoder
from reeltag.errors import ConfigError, EncoderError, NotFittedError

TEXTS = [
    "A detective hunts a killer through the rain",
    "the detective and the killer meet at last",
    "Two lovers meet in the rain, in Paris",
    "Paris, the lovers, and a war",
    "the war of the robots; a robot detective hunts",
    "",
    "Robots in love",
    "   \n",
]
NEW = [
    "the killer meets a robot in Paris",
    "detective detective detective rain",
    "odd xylophones",
    "",
    "the of a",
]


def reference(config: TfidfConfig) -> TfidfVectorizer:
    return TfidfVectorizer(
        sublinear_tf=True,
        ngram_range=(1, config.max_words),
        min_df=config.min_titles,
        max_features=config.max_features,
        stop_words=config.stop_words or None,
    ).fit([text for text in TEXTS if text.strip()])


@pytest.mark.parametrize(
    "config",
    [
        TfidfConfig(),
        TfidfConfig(max_words=1),
        TfidfConfig(max_words=3, min_titles=1),
        TfidfConfig(stop_words=""),
        TfidfConfig(max_features=3),
    ],
    ids=str,
)
def test_rows_are_those_of_scikit_learn(config: TfidfConfig) -> None:
    vectorizer, encoder = reference(config), TfidfEncoder(config).fit(TEXTS)
    values, present = encoder.encode([*TEXTS, *NEW])
    expected = vectorizer.transform([*TEXTS, *NEW]).toarray().astype(np.float32)
    np.testing.assert_array_equal(values.toarray(), expected)
    np.testing.assert_array_equal(present, expected.any(axis=1))
    assert encoder.dim == len(vectorizer.vocabulary_) == values.shape[1]
    assert values.dtype == np.float32
    assert values.format == "csr"


def test_rows_have_unit_length_where_present() -> None:
    values, present = TfidfEncoder().fit(TEXTS).encode([*TEXTS, *NEW])
    lengths = np.sqrt(np.asarray(values.multiply(values).sum(axis=1)).ravel())
    np.testing.assert_allclose(lengths, present.astype(np.float32), atol=1e-6)


def test_texts_without_a_known_phrase_are_absent() -> None:
    _, present = TfidfEncoder().fit(TEXTS).encode(NEW)
    assert present.tolist() == [True, True, False, False, False]


def test_stop_words_are_left_out_by_choice() -> None:
    english, all_words = TfidfEncoder().fit(TEXTS), TfidfEncoder(TfidfConfig(stop_words="")).fit(TEXTS)
    assert "the" not in english._phrases()
    assert "the" in all_words._phrases()
    assert english.encode(["the the of"])[1].tolist() == [False]
    assert all_words.encode(["the the of"])[1].tolist() == [True]


def test_a_row_depends_on_its_text_alone() -> None:
    encoder = TfidfEncoder().fit(TEXTS)
    together = encoder.encode(NEW)[0].toarray()
    for row, text in enumerate(NEW):
        np.testing.assert_array_equal(encoder.encode([text])[0].toarray()[0], together[row])


def test_blank_training_texts_do_not_count_as_titles() -> None:
    filled = [text for text in TEXTS if text.strip()]
    one, two = TfidfEncoder().fit(TEXTS), TfidfEncoder().fit(filled)
    assert one.fingerprint == two.fingerprint


def test_no_texts_to_encode() -> None:
    encoder = TfidfEncoder().fit(TEXTS)
    values, present = encoder.encode([])
    assert values.shape == (0, encoder.dim)
    assert values.dtype == np.float32
    assert present.shape == (0,)


# ---------------------------------------------------------------- tiny corpora


def test_one_training_text_is_enough() -> None:
    encoder = TfidfEncoder().fit(["a lonely robot"])  # min_titles asks for two, and there is one
    assert encoder._phrases() == ["lonely", "lonely robot", "robot"]
    assert encoder.encode(["a robot"])[1].tolist() == [True]


def test_one_phrase_is_enough() -> None:
    encoder = TfidfEncoder().fit(["robot", "robot"])
    assert encoder.dim == 1
    np.testing.assert_allclose(encoder.encode(["robot", "human"])[0].toarray(), [[1], [0]])


@pytest.mark.parametrize("texts", [[], ["", " "], ["the of and"], ["lonely robot", "old man"], ["!", "?"]])
def test_corpora_without_a_phrase_are_refused(texts: list[str]) -> None:
    with pytest.raises(EncoderError, match=r"TF-IDF: no phrase is in 2 of the \d training texts; lower min_titles"):
        TfidfEncoder().fit(texts)


def test_other_scripts_are_read() -> None:
    encoder = TfidfEncoder(TfidfConfig(min_titles=1)).fit(["عاشقان در پاریس", "любовь в Париже", "ROBOT Über"])
    assert encoder.encode(["پاریس", "ПАРИЖЕ любовь", "über", "🎬"])[1].tolist() == [True, True, True, False]


def test_refit_forgets() -> None:
    encoder = TfidfEncoder().fit(["war war", "war"]).fit(TEXTS)
    assert encoder.fingerprint == TfidfEncoder().fit(TEXTS).fingerprint


# ---------------------------------------------------------------- fingerprint, storage


def test_fingerprint_follows_settings_and_texts() -> None:
    prints = [
        TfidfEncoder().fit(TEXTS).fingerprint,
        TfidfEncoder().fit(TEXTS[:4]).fingerprint,
        TfidfEncoder(TfidfConfig(max_words=1)).fit(TEXTS).fingerprint,
        TfidfEncoder().fit([*TEXTS, "odd xylophones"]).fingerprint,  # same phrases, other frequencies
    ]
    assert len(set(prints)) == 4
    assert prints[0] == TfidfEncoder().fit(list(reversed(TEXTS))).fingerprint


@pytest.mark.parametrize("config", [TfidfConfig(), TfidfConfig(max_words=1, min_titles=1, stop_words="")], ids=str)
def test_saved_and_loaded_is_equal_to_the_last_bit(config: TfidfConfig, tmp_path: Path) -> None:
    texts = [*TEXTS, "شیرین شیرین", "Über 🎬 café", "Über café"]
    encoder = TfidfEncoder(config).fit(texts)
    encoder.save(tmp_path / "deep" / "tfidf")
    loaded = TfidfEncoder.load(tmp_path / "deep" / "tfidf")
    assert loaded.config == config
    assert loaded.fingerprint == encoder.fingerprint
    assert loaded.dim == encoder.dim
    before, after = encoder.encode([*texts, *NEW]), loaded.encode([*texts, *NEW])
    np.testing.assert_array_equal(after[0].toarray(), before[0].toarray())
    np.testing.assert_array_equal(after[1], before[1])


words = st.lists(st.sampled_from(["war", "love", "robot", "rain", "paris", "killer", "of", "the"]), max_size=8).map(
    " ".join
)


@settings(max_examples=30, deadline=None)
@given(st.lists(words, min_size=1, max_size=8), st.lists(words, max_size=5))
def test_any_corpus_survives_the_disk(
    tmp_path_factory: pytest.TempPathFactory, texts: list[str], new: list[str]
) -> None:
    config = TfidfConfig(min_titles=1, stop_words="")
    if not any(text.strip() for text in texts):
        return
    encoder = TfidfEncoder(config).fit(texts)
    folder = tmp_path_factory.mktemp("tfidf")
    encoder.save(folder)
    np.testing.assert_array_equal(TfidfEncoder.load(folder).encode(new)[0].toarray(), encoder.encode(new)[0].toarray())


def test_unknown_settings_on_disk_are_refused(tmp_path: Path) -> None:
    TfidfEncoder().fit(TEXTS).save(tmp_path)
    data = json.loads((tmp_path / "tfidf.json").read_text(encoding="utf-8"))
    data["config"]["speed"] = 3
    (tmp_path / "tfidf.json").write_text(json.dumps(data), encoding="utf-8")
    with pytest.raises(ConfigError, match=r"tfidf\.json: config: unknown setting 'speed'"):
        TfidfEncoder.load(tmp_path)


# ---------------------------------------------------------------- refusals


def test_use_before_fit(tmp_path: Path) -> None:
    encoder = TfidfEncoder()
    uses = (
        lambda: encoder.dim,
        lambda: encoder.fingerprint,
        lambda: encoder.encode(["a"]),
        lambda: encoder.save(tmp_path),
    )
    for use in uses:
        with pytest.raises(NotFittedError, match="TfidfEncoder is used before fit"):
            use()


@pytest.mark.parametrize(
    ("setting", "value"),
    [("max_words", 0), ("max_words", 6), ("min_titles", 0), ("max_features", 0), ("max_features", 10**8)],
)
def test_settings_out_of_range(setting: str, value: Any) -> None:
    with pytest.raises(ConfigError, match=f"TfidfConfig.{setting} must be between"):
        replace(TfidfConfig(), **{setting: value})


def test_stop_words_of_other_languages_are_refused() -> None:
    with pytest.raises(EncoderError, match="stop_words must be 'english' or empty; got 'german'"):
        TfidfConfig(stop_words="german")
    assert from_json(TfidfConfig, to_json(TfidfConfig())) == TfidfConfig()
