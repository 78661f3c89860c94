from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reeltag.errors import ConfigError, LabelError
from reeltag.labels import LabelConfig, LabelSpace


def learn(lists: list[list[str] | None], **settings: Any) -> LabelSpace:
    return LabelSpace.learn(lists, LabelConfig(**{"min_count": 1, **settings}))


def space(*labels: str, **settings: Any) -> LabelSpace:
    return LabelSpace(labels, LabelConfig(**settings))


# which labels, in which order


def test_order_is_falling_count_then_name() -> None:
    learnt = learn([["B", "C", "A"], ["C", "B"], ["D", "C"], None, []])
    assert learnt.labels == ("C", "B", "A", "D")
    assert learnt.counts == (3, 2, 1, 1)


def test_order_of_titles_does_not_matter() -> None:
    lists: list[list[str] | None] = [["drama", "B"], ["Drama", "C"], ["C"], ["Drama"]]
    assert learn(lists) == learn(lists[::-1])


def test_min_count_counts_titles_not_words() -> None:
    lists: list[list[str] | None] = [["A", "A", "a", "B"], ["A"], ["B"], ["C", "C", "C"]]
    learnt = learn(lists, min_count=2)
    assert (learnt.labels, learnt.counts) == (("A", "B"), (2, 2))


def test_include_gives_the_order_and_ignores_min_count() -> None:
    learnt = learn([["A", "B"], ["B", "C"]], include=("C", "B"), min_count=2)
    assert (learnt.labels, learnt.counts) == (("C", "B"), (1, 2))


def test_include_is_written_as_asked() -> None:
    learnt = learn([["SCI-FI"], ["sci-fi"]], include=("Sci-Fi",))
    assert (learnt.labels, learnt.counts) == (("Sci-Fi",), (2,))


def test_include_of_a_label_that_does_not_occur() -> None:
    with pytest.raises(LabelError, match="do not occur in field 'tags' of the training titles: X, Y"):
        learn([["A"]], include=("X", "A", "Y"), field="tags")


def test_exclude() -> None:
    assert learn([["A", "B", "news"]], exclude=("News", "b", "never seen")).labels == ("A",)
    assert learn([["A", "News", "news"]], exclude=("News",), ignore_case=False).labels == ("A", "news")


@pytest.mark.parametrize("lists", [[], [None], [[]], [["A"]], [["News", " "], ["News"]]])
def test_nothing_left(lists: list[list[str] | None]) -> None:
    with pytest.raises(
        LabelError, match="no label of field 'genres' is on at least 2 training titles and not excluded"
    ):
        learn(lists, min_count=2, exclude=("News",))


def test_blank_words_are_no_labels() -> None:
    assert learn([["", "  ", "A"]]).labels == ("A",)


def test_white_space_does_not_make_a_label() -> None:
    learnt = learn([["Film  Noir"], [" Film Noir "], ["Film\tNoir"]])
    assert (learnt.labels, learnt.counts) == (("Film Noir",), (3,))


# case


def test_case_is_folded_and_the_usual_spelling_wins() -> None:
    learnt = learn([["sci-fi"], ["Sci-Fi"], ["Sci-Fi"], ["SCI-FI"]])
    assert (learnt.labels, learnt.counts) == (("Sci-Fi",), (4,))
    assert learnt.resolve("sCI-fI") == "Sci-Fi"


def test_equally_usual_spellings_are_taken_by_name() -> None:
    assert learn([["drama"], ["Drama"]]).labels == ("Drama",)


def test_case_of_other_scripts() -> None:
    assert learn([["Straße"], ["STRASSE"], ["Straße"]]).labels == ("Straße",)
    assert learn([["ΔΡΑΜΑ"], ["δραμα"], ["δραμα"]]).resolve("Δραμα") == "δραμα"


def test_case_may_matter() -> None:
    learnt = learn([["Drama"], ["drama"]], ignore_case=False)
    assert learnt.labels == ("Drama", "drama")
    assert learnt.resolve("DRAMA") is None


# synonyms


def test_synonyms() -> None:
    learnt = learn(
        [["Science Fiction", "Sci-Fi"], ["science  fiction"], ["Drama"]], synonyms={"Science Fiction": "Sci-Fi"}
    )
    assert (learnt.labels, learnt.counts) == (("Sci-Fi", "Drama"), (2, 1))
    assert learnt.resolve("SCIENCE FICTION") == "Sci-Fi"
    assert learnt.column("science fiction") == 0


def test_chains_of_synonyms() -> None:
    synonyms = {"sf": "Science Fiction", "Science Fiction": "Sci-Fi", "Futuristic": "SF"}
    learnt = learn([["SF"], ["Science Fiction"], ["Sci-Fi"], ["futuristic"]], synonyms=synonyms)
    assert (learnt.labels, learnt.counts) == (("Sci-Fi",), (4,))
    assert [learnt.resolve(word) for word in ("sf", "FUTURISTIC", "Science Fiction")] == ["Sci-Fi"] * 3


@pytest.mark.parametrize(
    "synonyms", [{"a": "b", "b": "a"}, {"a": "b", "b": "c", "c": "B"}, {"x": "a", "a": "b", "b": "A"}]
)
def test_circles_of_synonyms(synonyms: dict[str, str]) -> None:
    with pytest.raises(ConfigError, match=r"LabelConfig\.synonyms lead in a circle: "):
        LabelConfig(synonyms=synonyms)


def test_a_word_may_be_its_own_synonym() -> None:
    learnt = learn([["drama"], ["drama"]], synonyms={"drama": "Drama", "Dramatic": "DRAMA"})
    assert learnt.labels == ("Drama",)
    assert learnt.resolve("dramatic") == "Drama"


def test_case_only_circles_are_circles_only_when_case_matters_not() -> None:
    assert learn([["a"]], synonyms={"a": "A"}, ignore_case=False).labels == ("A",)
    with pytest.raises(ConfigError, match="circle"):
        LabelConfig(synonyms={"a": "A", "A": "a"}, ignore_case=False)


def test_synonym_of_two_labels() -> None:
    with pytest.raises(ConfigError, match="'SF' must mean one label; got 'Sci-Fi' and 'San Francisco'"):
        LabelConfig(synonyms={"sf": "Sci-Fi", "SF": "San Francisco"})
    assert LabelConfig(synonyms={"sf": "Sci-Fi", "SF": "sci-fi"}).meanings() == {"sf": "Sci-Fi"}


def test_synonym_of_a_label_outside_the_space() -> None:
    assert space("Drama", synonyms={"News": "Reality"}).resolve("News") is None


def test_included_word_that_is_a_synonym_never_occurs() -> None:
    with pytest.raises(LabelError, match="Science Fiction"):
        learn([["Science Fiction"]], include=("Science Fiction",), synonyms={"Science Fiction": "Sci-Fi"})


# the rules themselves


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"min_count": 0}, "min_count must be at least 1; got 0"),
        ({"include": ("A", "B"), "exclude": ("B", "A")}, "cannot be both included and excluded: A, B"),
        ({"include": ("A",), "exclude": ("a",)}, "cannot be both included and excluded: A"),
        ({"include": ("A", "A")}, "include must name a label once; got A, A"),
        ({"include": ("A", "a ")}, "include must name a label once"),
    ],
)
def test_rules_that_contradict(settings: dict[str, Any], text: str) -> None:
    with pytest.raises(ConfigError, match=text):
        LabelConfig(**settings)


def test_case_tells_labels_apart_when_asked() -> None:
    LabelConfig(include=("A", "a"), exclude=("B",), ignore_case=False)


@pytest.mark.parametrize("labels", [("A", "A"), ("A", "B", "a"), ("Film Noir", "film  noir")])
def test_space_with_a_label_twice(labels: tuple[str, ...]) -> None:
    with pytest.raises(LabelError, match="must name a label once; got twice"):
        space(*labels)


def test_space_with_a_blank_label() -> None:
    with pytest.raises(LabelError, match="must not be blank"):
        space("A", " ")


@pytest.mark.parametrize("counts", [(1,), (1, 2, 3)])
def test_space_with_counts_that_do_not_fit(counts: tuple[int, ...]) -> None:
    with pytest.raises(LabelError, match=rf"a count per label \(2\); got {len(counts)}"):
        LabelSpace(("A", "B"), LabelConfig(), counts)


# encode and decode


def test_encode() -> None:
    targets, known = space("A", "B", "C").encode([["c", "A", "A"], [], None, ["other"], ["B", "other"]])
    assert (targets.dtype, known.dtype) == (np.float32, np.bool_)
    assert targets.tolist() == [[1, 0, 1], [0, 0, 0], [0, 0, 0], [0, 0, 0], [0, 1, 0]]
    assert known.tolist() == [True, False, False, True, True]


def test_encode_sparse_says_the_same() -> None:
    lists = [["c", "A", "A", "a"], [], None, ["other"], ["B", "other", " c "]]
    dense, known = space("A", "B", "C").encode(lists)
    sparse, sparsely_known = space("A", "B", "C").encode_sparse(lists)
    assert sparse.format == "csr" and sparse.dtype == dense.dtype == np.float32
    assert sparse.nnz == 4, "a label that is named twice is held once"
    assert sparse.has_sorted_indices
    assert np.array_equal(sparse.toarray(), dense)
    assert np.array_equal(sparsely_known, known) and known.dtype == np.bool_
    assert space("A").encode_sparse([])[0].shape == (0, 1)


def test_encode_nothing() -> None:
    targets, known = space("A", "B").encode([])
    assert (targets.shape, known.shape) == ((0, 2), (0,))


def test_decode_is_in_column_order() -> None:
    mask = np.array([[True, False, True], [False, False, False]])
    assert space("C", "B", "A").decode(mask) == [["C", "A"], []]
    assert space("A").decode(np.zeros((0, 1), bool)) == []


@pytest.mark.parametrize("mask", [np.zeros((2, 2), bool), np.zeros((2, 3)), np.zeros(3, bool), np.zeros((1, 4), bool)])
def test_decode_of_another_shape_or_type(mask: Any) -> None:
    with pytest.raises(LabelError, match="decoded from a boolean matrix of 3 columns; got"):
        space("A", "B", "C").decode(mask)


WORDS = st.text(st.characters(exclude_categories=["Cs"]), max_size=5)


@given(lists=st.lists(st.none() | st.lists(WORDS, max_size=4), max_size=8), ignore_case=st.booleans())
def test_what_is_learnt_is_encoded_and_decoded_back(lists: list[list[str] | None], ignore_case: bool) -> None:
    if not any(word.strip() for words in lists for word in words or ()):
        return
    learnt = learn(lists, ignore_case=ignore_case)
    targets, known = learnt.encode(lists)
    assert known.tolist() == [bool(words) for words in lists]
    assert tuple(targets.sum(axis=0).astype(int).tolist()) == learnt.counts
    decoded = learnt.decode(targets > 0)
    for words, labels in zip(lists, decoded, strict=True):
        expected = {learnt.resolve(word) for word in words or () if word.strip()}
        assert set(labels) == expected
        assert labels == sorted(labels, key=learnt.labels.index)
    again, _ = learnt.encode(decoded)
    np.testing.assert_array_equal(again, targets)


@given(mask=st.lists(st.lists(st.booleans(), min_size=3, max_size=3), min_size=1, max_size=5))
def test_decode_then_encode(mask: list[list[bool]]) -> None:
    labels = space("A", "B", "C")
    targets, _ = labels.encode(labels.decode(np.array(mask)))
    assert (targets > 0).tolist() == mask


def test_column_of_an_unknown_label() -> None:
    with pytest.raises(LabelError, match=r"label 'X' is not in the label space \(2 labels\)"):
        space("A", "B").column("X")


# as an object


def test_equality_hash_length_and_form() -> None:
    one, same, other = space("A", "B"), LabelSpace(["A", "B"], LabelConfig(), [2, 1]), space("B", "A")
    assert one == same
    assert hash(one) == hash(same)
    assert one != other
    assert one != space("A", "B", min_count=3)
    assert one != "A"
    assert len(one) == 2
    assert "2 labels of 'genres': A, B" in repr(one)


# save and load


def test_save_and_load(tmp_path: Path) -> None:
    settings: dict[str, Any] = {"field": "tags", "exclude": ("N",), "synonyms": {"É": "Ω 🎬"}, "ignore_case": False}
    learnt = learn([["É", "B"], ["B"]], **settings)
    learnt.save(tmp_path / "labels.json")
    loaded = LabelSpace.load(tmp_path / "labels.json")
    assert loaded == learnt
    assert (loaded.counts, loaded.config) == (learnt.counts, learnt.config)
    assert loaded.resolve("É") == "Ω 🎬"
    assert "Ω 🎬" in (tmp_path / "labels.json").read_text(encoding="utf-8")


def test_save_and_load_without_counts(tmp_path: Path) -> None:
    space("A").save(tmp_path / "labels.json")
    assert LabelSpace.load(tmp_path / "labels.json").counts == ()


WHOLE: dict[str, Any] = {"labels": ["A"], "counts": [1], "config": {}}


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ("", "must be valid JSON"),
        ("{", "must be valid JSON"),
        ("[" * 100_000, "must be valid JSON"),
        ([], "must be an object"),
        ({"labels": ["A"], "counts": []}, "setting 'config' is missing"),
        ({**WHOLE, "more": 1}, "unknown setting 'more'"),
        ({**WHOLE, "labels": "A"}, r"labels\.json\.labels: must be a list"),
        ({**WHOLE, "labels": [1]}, "must be of type str; got 1"),
        ({**WHOLE, "counts": [True]}, "must be of type int; got True"),
        ({**WHOLE, "counts": [1, 2]}, "a count per label"),
        ({**WHOLE, "labels": ["A", "a"], "counts": []}, "once; got twice: a"),
        ({**WHOLE, "config": {"min_count": 0}}, "min_count must be at least 1"),
        ({**WHOLE, "config": {"mincount": 1}}, "unknown setting 'mincount'"),
    ],
)
def test_load_of_a_damaged_file(tmp_path: Path, content: Any, text: str) -> None:
    path = tmp_path / "labels.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    with pytest.raises(LabelError, match=text):
        LabelSpace.load(path)


def test_load_of_no_file(tmp_path: Path) -> None:
    with pytest.raises(LabelError, match="labels cannot be read"):
        LabelSpace.load(tmp_path / "labels.json")
