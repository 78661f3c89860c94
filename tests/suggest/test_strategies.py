"""Scores and batches against explicit loops."""

from __future__ import annotations

from itertools import combinations
from math import exp, log, sqrt

import numpy as np
import pytest

from reeltag.errors import ConfigError
from reeltag.suggest import STRATEGIES, Candidates
from reeltag.suggest.strategies import (
    Spread,
    by_coverage,
    by_score,
    density,
    doubts,
    k_centre,
    novelty,
    rarity,
    uncertainty,
)


def unit(values: np.ndarray) -> np.ndarray:
    return np.asarray(values / np.linalg.norm(values, axis=1, keepdims=True), np.float32)


def candidates(n: int = 30, n_labels: int = 4, n_labelled: int = 10, seed: int = 0) -> Candidates:
    random = np.random.default_rng(seed)
    return Candidates(
        probabilities=random.beta(0.5, 2, (n, n_labels)).astype(np.float32),
        thresholds=random.uniform(0.1, 0.5, n_labels).astype(np.float32),
        embeddings=unit(random.normal(size=(n, 3))),
        counts=random.integers(0, 50, n_labels).astype(np.float64),
        labelled=unit(random.normal(size=(n_labelled, 3))),
    )


def choose(name: str, of: Candidates, n: int = 8, seed: int = 0) -> list[int]:
    return [int(row) for row in STRATEGIES[name](of, n, np.random.default_rng(seed)).rows]


# scores


def test_doubt_is_one_at_the_threshold_and_falls_with_the_log_odds() -> None:
    found = doubts(np.array([[0.2, 0.5], [0.02, 0.9]], np.float32), np.array([0.2, 0.1], np.float32))
    assert found[0, 0] == pytest.approx(1)
    for (row, label), (p, t) in {(0, 1): (0.5, 0.1), (1, 0): (0.02, 0.2), (1, 1): (0.9, 0.1)}.items():
        assert found[row, label] == pytest.approx(exp(-abs(log(p / (1 - p)) - log(t / (1 - t)))), rel=1e-4)


def test_uncertainty_is_the_mean_doubt() -> None:
    of = candidates()
    found = uncertainty(of.probabilities, of.thresholds)
    for row in range(len(of)):
        told = []
        for label in range(4):
            p, t = float(of.probabilities[row, label]), float(of.thresholds[label])
            p = min(max(p, 1e-6), 1 - 1e-6)
            told.append(exp(-abs(log(p / (1 - p)) - log(t / (1 - t)))))
        assert found[row] == pytest.approx(sum(told) / 4, rel=1e-4)


def test_uncertainty_looks_where_decisions_are_made_and_not_at_one_half() -> None:
    found = uncertainty(np.array([[0.1], [0.5]], np.float32), np.array([0.1], np.float32))
    assert found[0] > found[1]


def test_rarity_weighs_probabilities_by_what_is_known() -> None:
    of = candidates()
    found = rarity(of.probabilities, of.counts)
    for row in range(len(of)):
        worth = sum(float(of.probabilities[row, label]) / (1 + of.counts[label]) ** 2 for label in range(4))
        assert found[row] == pytest.approx(worth, rel=1e-5)


def test_novelty_is_the_distance_to_the_nearest() -> None:
    of = candidates(n=5000)  # more than are read at once
    found = novelty(of.embeddings, of.labelled)
    for row in (0, 1, 1023, 1024, 4999):
        nearest = max(float(np.dot(of.embeddings[row], other)) for other in of.labelled)
        assert found[row] == pytest.approx(1 - nearest, abs=1e-5)
    np.testing.assert_array_equal(novelty(of.embeddings, of.labelled[:0]), np.ones(5000))
    assert novelty(of.embeddings[:0], of.labelled).shape == (0,)


def test_density_is_the_mean_similarity_to_all() -> None:
    of = candidates()
    found = density(of.embeddings)
    for row in range(len(of)):
        similar = [float(np.dot(of.embeddings[row], other)) for other in of.embeddings]
        assert found[row] == pytest.approx(max(sum(similar) / len(similar), 1e-6), abs=1e-6)
    assert density(of.embeddings[:0]).shape == (0,)


# batches


def test_the_best_come_first_and_of_equal_ones_the_earlier() -> None:
    choice = by_score(np.array([1.0, 3.0, 2.0, 3.0]), 3)
    assert choice.rows.tolist() == [1, 3, 2]
    assert choice.scores.tolist() == [3, 3, 2]


def test_coverage_takes_the_largest_gain_after_what_the_others_gave() -> None:
    of = candidates()
    choice = by_coverage(of.probabilities, of.counts, 8)
    have, chosen = [1 + float(count) for count in of.counts], []
    for score in choice.scores:
        worths = {
            row: sum(float(of.probabilities[row, label]) / have[label] ** 2 for label in range(4))
            for row in range(len(of))
            if row not in chosen
        }
        row = max(worths, key=lambda row: worths[row])
        assert score == pytest.approx(worths[row], rel=1e-5)
        chosen.append(row)
        have = [count + float(p) for count, p in zip(have, of.probabilities[row], strict=True)]
    assert choice.rows.tolist() == chosen


def test_coverage_does_not_ask_for_one_label_all_the_time() -> None:
    weights = np.array([[0.9, 0.0]] * 5 + [[0.0, 0.5]] * 5)
    counts = np.zeros(2)
    assert set(by_score(rarity(weights.astype(np.float32), counts), 4).rows.tolist()) <= set(range(5))
    rows = by_coverage(weights, counts, 4).rows
    assert (rows < 5).sum() == 2


def test_the_greedy_batch_is_near_the_best_one() -> None:
    of = candidates(n=12)

    def worth(rows: tuple[int, ...]) -> float:
        return -float(((1 + of.counts + of.probabilities[list(rows)].sum(axis=0)) ** -1.0).sum())

    nothing = worth(())
    best = max(worth(rows) - nothing for rows in combinations(range(12), 4))
    found = worth(tuple(by_coverage(of.probabilities, of.counts, 4).rows.tolist())) - nothing
    assert found >= (1 - 1 / np.e) * best


def test_spread_multiplies_worth_by_distance() -> None:
    of = candidates()
    spread = Spread(of.embeddings, novelty(of.embeddings, of.labelled), power=0.5)
    choice = by_coverage(of.probabilities, of.counts, 6, spread=spread)
    have = 1 + of.counts
    chosen: list[int] = []
    for score in choice.scores:
        worths = np.full(len(of), -1.0)
        for row in set(range(len(of))) - set(chosen):
            near = [float(np.dot(of.embeddings[row], other)) for other in (*of.labelled, *of.embeddings[chosen])]
            worths[row] = float((of.probabilities[row] / have**2).sum()) * sqrt(max(1 - max(near), 0))
        row = int(worths.argmax())
        assert score == pytest.approx(worths[row], rel=1e-3)
        chosen.append(row)
        have = have + of.probabilities[row]
    assert choice.rows.tolist() == chosen


def test_a_factor_multiplies_worth_and_not_what_a_title_gives() -> None:
    weights = np.array([[0.5, 0.0], [0.5, 0.0], [0.0, 0.4]])
    counts = np.zeros(2)
    assert by_coverage(weights, counts, 3).rows.tolist() == [0, 2, 1]
    choice = by_coverage(weights, counts, 3, factor=np.array([1.0, 2.0, 1.0]))
    assert choice.rows.tolist() == [1, 2, 0]
    np.testing.assert_allclose(choice.scores, [1.0, 0.4, 0.5 / 1.5**2], rtol=1e-6)


def test_mixed_is_uncertain_rarity_times_density_and_distance() -> None:
    of = candidates()
    choice = STRATEGIES["mixed"](of, 5, np.random.default_rng(0))
    have = 1 + of.counts
    chosen: list[int] = []
    typical = density(of.embeddings) ** 0.25
    for score in choice.scores:
        worths = np.full(len(of), -1.0)
        for row in set(range(len(of))) - set(chosen):
            p = of.probabilities[row].astype(np.float64)
            near = [float(np.dot(of.embeddings[row], other)) for other in (*of.labelled, *of.embeddings[chosen])]
            worths[row] = float((p * (1 - p) / have**2).sum()) * typical[row] * max(1 - max(near), 0) ** 0.25
        row = int(worths.argmax())
        assert score == pytest.approx(worths[row], rel=1e-3)
        chosen.append(row)
        have = have + of.probabilities[row].astype(np.float64) * (1 - of.probabilities[row])
    assert choice.rows.tolist() == chosen


def test_k_centre_takes_the_farthest_every_time() -> None:
    of = candidates()
    choice = k_centre(of.embeddings, of.labelled, 6)
    known = list(of.labelled)
    for row, score in zip(choice.rows, choice.scores, strict=True):
        distances = [min(1 - float(np.dot(own, other)) for other in known) for own in of.embeddings]
        assert int(np.argmax(distances)) == row
        assert score == pytest.approx(max(distances), abs=1e-5)
        known.append(of.embeddings[row])


def test_k_centre_never_takes_a_title_twice_even_where_all_are_alike() -> None:
    alike = unit(np.ones((5, 3)))
    assert sorted(k_centre(alike, alike[:1], 5).rows.tolist()) == [0, 1, 2, 3, 4]
    assert sorted(k_centre(alike, alike[:0], 3).rows.tolist()) == [0, 1, 2]


# strategies


@pytest.mark.parametrize("name", STRATEGIES)
def test_every_strategy_gives_as_many_as_asked_each_once(name: str) -> None:
    of = candidates()
    for n, expected in ((1, 1), (8, 8), (30, 30), (50, 30)):
        choice = STRATEGIES[name](of, n, np.random.default_rng(0))
        assert len(set(choice.rows.tolist())) == len(choice.rows) == len(choice.scores) == expected
        assert choice.rows.dtype == np.int64
        assert np.isfinite(choice.scores).all()


@pytest.mark.parametrize("name", STRATEGIES)
def test_every_strategy_gives_the_same_again(name: str) -> None:
    assert choose(name, candidates()) == choose(name, candidates())


@pytest.mark.parametrize("name", STRATEGIES)
def test_every_strategy_does_without_labelled_titles(name: str) -> None:
    assert len(set(choose(name, candidates(n_labelled=0)))) == 8


def test_only_random_depends_on_the_seed() -> None:
    changed = {name for name in STRATEGIES if choose(name, candidates(), seed=0) != choose(name, candidates(), seed=1)}
    assert changed == {"random"}


@pytest.mark.parametrize("name", ["diversity", "mixed"])
def test_near_same_titles_are_not_all_suggested(name: str) -> None:
    of = candidates(n=40)
    of.probabilities[:20] = 0.5  # twenty copies of the most interesting title, and twenty others
    of.embeddings[:20] = [1, 0, 0]
    of.labelled[:] = [0, 1, 0]
    rows = np.array(choose(name, of, 6))
    assert (rows < 20).sum() <= 1
    assert (np.array(choose("uncertainty" if name == "diversity" else "rarity", of, 6)) < 20).sum() >= 1


def test_candidates_that_do_not_fit_are_refused() -> None:
    of = vars(candidates())
    for name, value, because in (
        ("thresholds", np.zeros(3, np.float32), r"a threshold and a count per label \(4\); got \(3,\) and \(4,\)"),
        ("counts", np.zeros(5), r"got \(4,\) and \(5,\)"),
        ("embeddings", np.zeros((29, 3), np.float32), r"an embedding per title \(30\)"),
        ("labelled", np.zeros((2, 4), np.float32), r"got \(30, 3\) and \(2, 4\)"),
    ):
        with pytest.raises(ConfigError, match=because):
            Candidates(**{**of, name: value})
