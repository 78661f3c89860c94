"""The head of one added label: a logistic regression on a handful of examples against the training titles.

Nobody has said of the training titles whether the new label applies to them: they are unlabelled, not negative (Elkan
and Noto 2008, "Learning classifiers from only positive and unlabeled data"). The regression takes them for negatives
all the same, which leaves the order of titles right as far as the examples are a fair draw of the label's titles. The
level is not right, so it is moved until the mean probability of the training titles is the share that the label is
expected to have; the threshold is the one whose F1 should be best if the probabilities are true. Examples count there
by what heads fitted without them say: a head knows its own examples by heart.

Tried on validation titles of the shared films and left out: thresholds of best cross-validated F1 (worse with five
examples, alike with twenty), and shares estimated from the scores of left-out examples (they told next to nothing).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
from scipy.optimize import brentq
from scipy.special import expit, logit
from sklearn.linear_model import LogisticRegression

Rows = npt.NDArray[np.float32]
Floats = npt.NDArray[np.float64]

STRENGTH = 500.0  # of the data against an L2 penalty of 1/2; between 100 and 2,500 the order hardly changes
MIN_BACKGROUND = 10
_FOLDS = 5
_MOST_TAGGED = 3  # times the share
_MIN_SPREAD = 1e-6
_LOWEST_SHARE, _HIGHEST_SHARE = 1e-5, 0.95
_FALLBACK_SHARE = 0.01


@dataclass(frozen=True, kw_only=True)
class Head:
    """A head: ``sigmoid(rows @ weights + bias)`` is the probability."""

    weights: Rows
    bias: float

    def predict_proba(self, rows: Rows) -> Rows:
        """Return probabilities, (n_titles,)."""
        return np.asarray(expit(rows @ self.weights + self.bias), np.float32)


@dataclass(frozen=True, kw_only=True)
class HeadFit:
    """A fitted head and what is expected of it.

    Attributes:
        head: The head.
        threshold: From which probability the label applies.
        recall: Share of the examples found when they were left out; None with one example.
        precision: What share of the titles found should be right, by ``share`` and recall.
        tagged: Share of the training titles at or above the threshold.
    """

    head: Head
    threshold: float
    recall: float | None
    precision: float | None
    tagged: float


@dataclass(frozen=True, kw_only=True)
class Material:
    """What a head is fitted on, as rows of ``HeadInputs``.

    Attributes:
        examples: Titles to which the label applies, (n_examples, dim), at least one.
        background: Training titles, (n_background, dim), at least ``MIN_BACKGROUND``; no title given as example or
            counter-example is among them.
        counter_examples: Titles to which it does not apply, (n, dim); each weighs as much as an example.
        inside: Which examples are training titles, (n_examples,): they are among those that the share is of.
    """

    examples: Rows
    background: Rows
    counter_examples: Rows
    inside: npt.NDArray[np.bool_]

    def without(self, left_out: npt.NDArray[np.bool_]) -> Material:
        """Return the same with some examples left out."""
        return replace(self, examples=self.examples[~left_out], inside=self.inside[~left_out])


def fit_head(material: Material, share: float, threshold: float | None = None) -> HeadFit:
    """Fit a head.

    Args:
        material: What it is fitted on.
        share: Share of titles that the label is expected to apply to.
        threshold: From which probability it applies; chosen when None.
    """
    weights = _regression(material)
    beside = _scores(material.background, weights)
    left_out = _left_out(material, beside)
    population = np.append(beside, left_out[material.inside]) if len(left_out) else beside
    head = Head(weights=weights, bias=level(population, share))
    found = _probabilities(population, head.bias)
    if threshold is None:
        threshold = best_expected_f1(found, _MOST_TAGGED * share)
    tagged = float(np.mean(found >= threshold))
    if len(left_out) == 0:
        return HeadFit(head=head, threshold=threshold, recall=None, precision=None, tagged=tagged)
    recall = float(np.mean(_probabilities(left_out, head.bias) >= threshold))
    precision = min(1.0, recall * share / tagged) if tagged else None
    return HeadFit(head=head, threshold=threshold, recall=recall, precision=precision, tagged=tagged)


def usual_share(counts: tuple[int, ...], n_titles: int) -> float:
    """Return the share of titles that a label has as a rule: the median of the known labels.

    Args:
        counts: Training titles of every known label; empty when unknown.
        n_titles: Training titles.
    """
    if not counts or n_titles == 0:
        return _FALLBACK_SHARE
    return float(np.clip(np.median(counts) / n_titles, _LOWEST_SHARE, _HIGHEST_SHARE))


def best_expected_f1(probabilities: Rows, most: float) -> float:
    """Return the threshold whose F1 is best if the probabilities are true.

    Args:
        probabilities: Of some titles, (n_titles,).
        most: Share of the titles that may reach it.

    Returns:
        A threshold between two of the probabilities; above all of them where those at the top cannot be told apart.
    """
    ranked = np.sort(probabilities)[::-1]
    below = np.append(ranked[1:], 0)
    n_tagged = np.arange(1, len(ranked) + 1)
    f1 = 2 * np.cumsum(ranked, dtype=np.float64) / (n_tagged + ranked.sum(dtype=np.float64))
    f1[(ranked == below) | (n_tagged > max(1.0, most * len(ranked)))] = -1
    best = int(f1.argmax())
    if f1[best] < 0:
        return float(min(np.nextafter(ranked[0], np.float32(2)), np.float32(1)))
    middle = np.float32((float(ranked[best]) + float(below[best])) / 2)
    return float(middle if middle > below[best] else ranked[best])


def level(scores: Floats, share: float) -> float:
    """Return what must be added to log-odds for their mean probability to be the share."""
    middle = logit(share)
    low, high = middle - scores.max() - 1, middle - scores.min() + 1
    return float(brentq(lambda bias: float(np.mean(expit(scores + bias))) - share, low, high, xtol=1e-9))


def _regression(material: Material) -> Rows:
    """Return the weights: the examples are half of all that counts, the background is the other half."""
    n, n_background = len(material.examples), len(material.background)
    rows = np.concatenate([material.examples, material.background, material.counter_examples])
    truth = np.zeros(len(rows))
    truth[:n] = 1
    counts = np.full(len(rows), 0.5 / n)
    counts[n : n + n_background] = 0.5 / n_background
    fitted = LogisticRegression(C=STRENGTH, max_iter=1_000).fit(rows, truth, sample_weight=counts)
    return np.asarray(fitted.coef_[0], np.float32)


def _left_out(material: Material, beside: Floats) -> Floats:
    """Return the scores of examples by heads fitted without them, (n_examples,); none of a single example.

    Args:
        material: What the head is fitted on.
        beside: What the head of all examples says of the background: the others are brought to its mean and spread.
    """
    n = len(material.examples)
    n_folds = min(n, _FOLDS)
    if n_folds < 2:
        return np.zeros(0)
    fold = np.arange(n) % n_folds
    found = np.zeros(n)
    for number in range(n_folds):
        weights = _regression(material.without(fold == number))
        own = _scores(material.background, weights)
        scale = beside.std() / max(float(own.std()), _MIN_SPREAD)
        found[fold == number] = (_scores(material.examples[fold == number], weights) - own.mean()) * scale
    return np.asarray(found + beside.mean(), np.float64)


def _scores(rows: Rows, weights: Rows) -> Floats:
    scores = np.einsum("ij,j->i", rows, weights, dtype=np.float64)  # BLAS may flag numbers beyond short rows as invalid
    return np.asarray(scores, np.float64)


def _probabilities(scores: Floats, bias: float) -> Rows:
    return np.asarray(expit(scores + bias), np.float32)
