"""Names of clusters, against the formulas of Monroe, Colaresi and Quinn written out."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import pytest
import scipy.sparse as sp

from reeltag.errors import ConfigError
from reeltag.retrieval.naming import Name, Naming, Word, WordTable, content_words, log_odds_z, names_of, written

from .points import GROUPS, clustered, space_of


def by_hand(counts: list[list[int]], sizes: list[int], prior: float, group: int, word: int) -> float:
    """Equations 15, 20 and 22 of titles with and without a word."""
    n = sum(sizes)
    whole = sum(row[word] for row in counts)
    alpha = prior * whole / n
    beta = prior * (n - whole) / n
    y_i, n_i = counts[group][word], sizes[group]
    y_j, n_j = whole - y_i, n - n_i
    odds_i = (y_i + alpha) / (n_i - y_i + beta)
    odds_j = (y_j + alpha) / (n_j - y_j + beta)
    variance = 1 / (y_i + alpha) + 1 / (n_i - y_i + beta) + 1 / (y_j + alpha) + 1 / (n_j - y_j + beta)
    return (math.log(odds_i) - math.log(odds_j)) / math.sqrt(variance)


def test_z_is_that_of_the_formula() -> None:
    counts, sizes = [[9, 1, 4], [2, 8, 5], [1, 1, 0]], [12, 9, 5]
    found = log_odds_z(np.array(counts), np.array(sizes), 7.0)
    for group in range(3):
        for word in range(3):
            assert found[group, word] == pytest.approx(by_hand(counts, sizes, 7.0, group, word), rel=1e-9)


def test_z_is_none_where_groups_are_alike_and_turns_with_them() -> None:
    found = log_odds_z(np.array([[6, 4], [12, 8]]), np.array([10, 20]), 10.0)
    np.testing.assert_allclose(found, 0, atol=1e-12)
    found = log_odds_z(np.array([[9, 4], [3, 8]]), np.array([10, 12]), 10.0)
    np.testing.assert_allclose(found[0], -found[1])
    assert (found[0] > 0).tolist() == [True, False]


def test_a_word_that_all_or_none_have_tells_nothing() -> None:
    found = log_odds_z(np.array([[10, 0, 3], [20, 0, 9]]), np.array([10, 20]), 10.0)
    assert found[:, :2].tolist() == [[0, 0], [0, 0]]


def test_a_heavier_prior_draws_z_to_none() -> None:
    counts = np.array([[9, 4], [3, 8]])
    sizes = [abs(log_odds_z(counts, np.array([12, 12]), prior)[0, 0]) for prior in (1, 100, 10_000)]
    assert sizes == sorted(sizes, reverse=True)


def test_z_of_chance_is_standard_normal() -> None:
    random = np.random.default_rng(0)
    has = random.random((600, 2000)) < 0.2
    z = log_odds_z(np.stack([has[:300].sum(axis=0), has[300:].sum(axis=0)]), np.array([300, 300]), 10.0)[0]
    assert abs(z.mean()) < 0.1
    assert 0.85 < z.std() < 1.05


def table(lists: list[set[str]], source: str = "words") -> WordTable:
    words = sorted(set().union(*lists))
    present = np.array([[float(word in told) for word in words] for told in lists])
    return WordTable(source, tuple(words), sp.csr_matrix(present))


def places(*sizes: int) -> npt.NDArray[np.int64]:
    return np.repeat(np.arange(len(sizes)), sizes)


def words_of(names: list[Name]) -> list[tuple[str, ...]]:
    return [tuple(word.word for word in name.words) for name in names]


def test_each_cluster_gets_the_words_that_set_it_apart() -> None:
    space, groups = clustered()
    (words,) = WordTable.all_of(space, np.arange(300), "Horror")  # no plots, no years, no other labels
    names = names_of([words], groups, 3, Naming())
    for name, own in zip(names, GROUPS.values(), strict=True):
        assert {word.word for word in name.words} == set(own)
        assert name.source == "words"
        for word in name.words:
            assert word.share > 0.5
            assert word.elsewhere == 0
    assert len(set(written(names))) == 3


def test_shares_are_counted() -> None:
    lists = [{"a", "x"}] * 30 + [{"a"}] * 10 + [{"b", "x"}] * 10 + [{"b"}] * 30
    names = names_of([table(lists)], places(40, 40), 2, Naming())
    assert words_of(names) == [("a", "x"), ("b",)]
    told = {word.word: word for name in names for word in name.words}
    assert (told["x"].share, told["x"].elsewhere) == (0.75, 0.25)
    assert (told["b"].share, told["b"].elsewhere) == (1.0, 0.0)
    counts = [[40, 0, 30], [0, 40, 10]]
    assert told["x"].z == pytest.approx(by_hand(counts, [40, 40], Naming().prior, 0, 2))


def test_what_nothing_sets_apart_is_mixed() -> None:
    lists = [{"a"}, {"b"}] * 30
    names = names_of([table(lists)], places(20, 20, 20), 3, Naming())
    assert words_of(names) == [(), (), ()]
    assert written(names) == ["mixed", "mixed 2", "mixed 3"]
    assert {name.source for name in names} == {""}


def test_what_was_mixed_keeps_its_number() -> None:
    named = Name(words=(Word(word="bat", z=9.0, share=1.0, elsewhere=0.0),), source="words")
    assert written([Name(), Name(), named, Name()], ["mixed 3", "", "mixed", "cave"]) == [
        "mixed 3", "mixed", "bat", "mixed 2",
    ]  # fmt: skip
    assert written([Name(), Name()], ["mixed 9", "mixed 2"]) == ["mixed", "mixed 2"]


def test_clusters_drawn_at_random_are_seldom_named() -> None:
    random = np.random.default_rng(0)
    chances = 0.4 / np.arange(1, 301) ** 0.5
    named = 0
    for _ in range(60):
        present = sp.csr_matrix((random.random((200, 300)) < chances).astype(float))
        told = WordTable("words", tuple(f"w{n}" for n in range(300)), present)
        named += any(words_of(names_of([told], random.integers(0, 3, 200), 3, Naming())))
    assert named <= 2  # alpha is 0.01


def test_a_word_that_few_titles_of_the_cluster_have_names_nothing() -> None:
    lists = [{"rare", "a"}] * 12 + [{"a"}] * 288 + [{"a"}] * 300
    assert words_of(names_of([table(lists)], places(300, 300), 2, Naming(min_share=0.05)))[0] == ()
    assert words_of(names_of([table(lists)], places(300, 300), 2, Naming(min_share=0.01, alpha=0.2)))[0] == ("rare",)


def test_a_word_is_in_one_name_only() -> None:
    lists = [{"x", "a"}] * 60 + [{"x", "b"}] * 50 + [{"b"}] * 10 + [{"c"}] * 200
    names = words_of(names_of([table(lists)], places(60, 60, 200), 3, Naming()))
    assert "x" in names[0]
    assert "x" not in names[1]
    assert len({*names}) == 3


def test_a_word_that_repeats_another_is_passed_over() -> None:
    lists = [{"vampire", "vampires", "war"}] * 60 + [{"love"}] * 60
    names = words_of(names_of([table(lists)], places(60, 60), 2, Naming(n_words=2)))
    assert set(names[0]) == {"vampire", "war"}


def test_what_the_first_source_leaves_is_named_by_the_next() -> None:
    words = table([{"a"}] * 40 + [{"z"}, {"y"}] * 40, "words")
    facts = table([{"1980s"}] * 40 + [{"1990s"}] * 40 + [{"2000s"}] * 40, "labels and decades")
    names = names_of([words, facts], places(40, 40, 40), 3, Naming())
    assert words_of(names) == [("a",), ("1990s",), ("2000s",)]
    assert [name.source for name in names] == ["words", "labels and decades", "labels and decades"]


def test_earlier_names_are_kept_while_half_of_their_words_hold() -> None:
    lists = [{"a", "b"}] * 40 + [{"c", "d"}] * 40

    def earlier(*words: str) -> Name:
        return Name(words=tuple(Word(word=word, z=0.0, share=0.0, elsewhere=0.0) for word in words), source="words")

    def named(*before: Name) -> list[tuple[str, ...]]:
        return words_of(names_of([table(lists)], places(40, 40), 2, Naming(n_words=1), before))

    assert named() == [("a",), ("c",)]
    assert named(earlier("b"), earlier("d")) == [("b",), ("d",)]
    assert named(earlier("b", "c"), Name()) == [("b", "c"), ("d",)]  # one of two still holds
    assert named(earlier("c", "d"), Name()) == [("a",), ("c",)]
    assert named(earlier("b", "gone"), Name()) == [("a",), ("c",)]


def test_titles_in_no_cluster_do_not_count() -> None:
    lists = [{"a"}] * 40 + [{"b"}] * 40 + [{"b"}] * 500
    clusters = np.concatenate([places(40, 40), np.full(500, -1)])
    told = names_of([table(lists)], clusters, 2, Naming())[1].words[0]
    assert (told.share, told.elsewhere) == (1.0, 0.0)


def test_one_cluster_has_no_name() -> None:
    assert words_of(names_of([table([{"a"}] * 5)], places(5), 1, Naming())) == [()]
    assert words_of(names_of([], places(5, 5), 2, Naming())) == [(), ()]


def test_sources_are_used_where_there_is_enough_of_them() -> None:
    plots = ["The old lighthouse keeper Thomas sees ghosts. Nobody believes him."] * 10
    space = space_of(
        np.eye(10),
        words=[["a"]] * 2 + [[]] * 8,
        plots=plots,
        years=[1984] * 5 + [None] * 5,
        labels=[["Horror", "War"]] * 10,
    )
    tables = {told.source: told for told in WordTable.all_of(space, np.arange(10), "Horror")}
    assert list(tables) == ["words", "plots", "labels and decades"]
    assert tables["words"].words == ()  # on two titles only
    assert set(tables["plots"].words) == {"old", "lighthouse", "keeper", "sees", "ghosts", "believes"}
    assert tables["labels and decades"].words == ("1980s", "War")
    none = WordTable.all_of(space.take(range(2, 10)), np.arange(8), "Horror")
    assert [told.source for told in none] == ["plots", "labels and decades"]


def test_content_words_are_no_names_and_no_stop_words() -> None:
    assert content_words("In Paris, Anna meets the ghost of a former spy; she is 42.") == {"meets", "ghost", "spy"}
    assert content_words("") == set()


def test_settings_are_checked() -> None:
    for settings, because in (
        ({"n_words": 0}, "Naming.n_words must be between 1 and 20; got 0"),
        ({"alpha": 0.9}, "Naming.alpha must be between 1e-12 and 0.5; got 0.9"),
        ({"min_share": -1}, "Naming.min_share must be between 0 and 1; got -1"),
        ({"prior": 0}, "Naming.prior must be between 1e-06 and 1e"),
    ):
        with pytest.raises(ConfigError, match=because.replace("+", r"\+")):
            Naming(**settings)  # type: ignore[arg-type]
