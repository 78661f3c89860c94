"""What an audit found: numbers, a severity for each, and a sentence a user can act on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from reeltag.duplicates import Kind

Severity = Literal["ok", "note", "warning", "serious"]
SEVERITIES: tuple[Severity, ...] = ("ok", "note", "warning", "serious")

_NAMES: dict[Kind, str] = {
    "same_id": "the same id",
    "same_film": "the same title and director, at most a year apart",
    "same_title": "the same title and year but no shared director",
    "same_plot": "near-same plots",
    "quoted_plot": "a plot that quotes the other's",
    "same_poster": "near-same posters",
    "same_trailer": "the same trailer",
}
# kinds that may be chance or say little of the labels: never serious on their own
_CEILING: dict[Kind, Severity] = {"same_title": "note", "quoted_plot": "warning", "same_poster": "warning"}


@dataclass(frozen=True, kw_only=True)
class Side:
    """One title of a pair."""

    id: str
    split: str
    title: str | None
    year: int | None


@dataclass(frozen=True, kw_only=True)
class Finding:
    """Two near-same titles.

    Attributes:
        kind: What they share.
        a: One title.
        b: The other.
        similarity: From 0 to 1 (the same).
        labels_agree: Whether their labels are the same; None when either's are unknown.
    """

    kind: Kind
    a: Side
    b: Side
    similarity: float
    labels_agree: bool | None

    @property
    def is_leak(self) -> bool:
        """Whether one is a training title and the other a validation or test title."""
        splits = {self.a.split, self.b.split}
        return "train" in splits and bool(splits & {"validation", "test"})


@dataclass(frozen=True, kw_only=True)
class Check:
    """The pairs of one kind, counted.

    Attributes:
        kind: What the titles of a pair share.
        n_pairs: All pairs.
        n_leaks: Pairs between train and validation or test.
        n_background: Pairs between background and validation or test; they leak what is learned from background.
        n_selection: Pairs between validation and test.
        n_test: Test titles of the catalogue.
        n_test_touched: Test titles in a pair with a training title.
        n_test_background: Test titles in a pair with a background title.
        n_validation: Validation titles of the catalogue.
        n_validation_touched: Validation titles in a pair with a training title.
        n_labelled_leaks: Leaks of which the labels of both titles are known.
        n_agreeing_leaks: Leaks of which both titles have the same labels.
        serious_share: Share of touched test or validation titles from which the leaks count as serious.
    """

    kind: Kind
    n_pairs: int
    n_leaks: int
    n_background: int
    n_selection: int
    n_test: int
    n_test_touched: int
    n_test_background: int
    n_validation: int
    n_validation_touched: int
    n_labelled_leaks: int
    n_agreeing_leaks: int
    serious_share: float

    @property
    def share_touched(self) -> float:
        """Share of the test or of the validation titles that a training title touches, the greater; 0 for none."""
        return max(
            self.n_test_touched / max(self.n_test, 1), self.n_validation_touched / max(self.n_validation, 1), 0.0
        )

    @property
    def severity(self) -> Severity:
        """How much it matters: ``serious`` from ``serious_share`` on, ``note`` for pairs that touch no training."""
        if self.n_leaks == 0:
            return "note" if self.n_background or self.n_selection else "ok"
        found: Severity = "serious" if self.share_touched >= self.serious_share else "warning"
        ceiling = _CEILING.get(self.kind, "serious")
        return min(found, ceiling, key=SEVERITIES.index)

    @property
    def sentence(self) -> str:
        """What was found, in words."""
        name = _NAMES[self.kind]
        if self.n_pairs == 0:
            return f"No two titles have {name}."
        text = f"{_count(self.n_pairs, 'pair')} of titles have {name}; "
        if self.n_leaks == 0:
            text += "none links train with validation or test"
        else:
            text += (
                f"{self.n_leaks:,} link train with validation or test and touch {self.n_test_touched:,} of "
                f"{_count(self.n_test, 'test title')} and {self.n_validation_touched:,} of "
                f"{_count(self.n_validation, 'validation title')}"
            )
            if self.n_labelled_leaks:
                text += f" (labels equal in {self.n_agreeing_leaks:,} of {self.n_labelled_leaks:,})"
        if self.n_background:
            text += f"; {self.n_background:,} link background with validation or test"
        if self.n_selection:
            text += f"; {self.n_selection:,} link validation with test"
        return text + "."


@dataclass(frozen=True, kw_only=True)
class FittedCheck:
    """Whether a fitted part saw titles that it must not see.

    Attributes:
        part: Name of the part, for example ``graph``.
        n_fitted: Titles it was fitted on.
        n_elsewhere: Those of them that the catalogue does not hold.
        may_see_validation: Whether it is a part that is fitted on validation titles, such as the thresholds.
        test_ids: Test titles it saw.
        validation_ids: Validation titles it saw.
    """

    part: str
    n_fitted: int
    n_elsewhere: int
    may_see_validation: bool
    test_ids: tuple[str, ...]
    validation_ids: tuple[str, ...]

    @property
    def severity(self) -> Severity:
        """``serious`` when it saw test titles, or validation titles that it must not see."""
        forbidden = self.test_ids or (self.validation_ids and not self.may_see_validation)
        return "serious" if forbidden else "ok"

    @property
    def sentence(self) -> str:
        """What was found, in words."""
        text = f"'{self.part}' was fitted on {_count(self.n_fitted, 'title')}"
        seen = [_count(len(self.test_ids), "test title")] if self.test_ids else []
        if self.validation_ids and not self.may_see_validation:
            seen.append(_count(len(self.validation_ids), "validation title"))
        if not seen:
            return f"{text}, none of which it must not see."
        examples = ", ".join((self.test_ids or self.validation_ids)[:3])
        return f"{text}, among them {' and '.join(seen)} ({examples}{', …' if self._n_seen > 3 else ''})."

    @property
    def _n_seen(self) -> int:
        return len(self.test_ids or self.validation_ids)


@dataclass(frozen=True, kw_only=True)
class LeakReport:
    """What an audit found.

    Attributes:
        source: The catalogue, or both.
        n_by_split: Titles per split.
        checks: One per kind of near-same titles.
        fitted: One per fitted part that was named.
        findings: The pairs, leaks first; cut to ``AuditConfig.max_findings``.
        notes: What the audit could not look at.
    """

    source: str
    n_by_split: Mapping[str, int]
    checks: tuple[Check, ...]
    fitted: tuple[FittedCheck, ...] = ()
    findings: tuple[Finding, ...] = ()
    notes: tuple[str, ...] = field(default=())

    @property
    def severity(self) -> Severity:
        """The worst severity of all checks."""
        found = [check.severity for check in self.checks] + [check.severity for check in self.fitted]
        return max(found, key=SEVERITIES.index, default="ok")

    @property
    def leaks(self) -> tuple[Finding, ...]:
        """The listed pairs between train and validation or test."""
        return tuple(finding for finding in self.findings if finding.is_leak)

    @property
    def verdict(self) -> str:
        """One sentence for the whole report."""
        if not self.n_by_split.get("validation", 0) + self.n_by_split.get("test", 0) and not self.fitted:
            n_pairs = sum(check.n_pairs for check in self.checks)
            return (
                f"The catalogue has no validation or test titles, so nothing can leak yet; "
                f"{_count(n_pairs, 'near-same pair')} to keep together when it is split."
            )
        return _VERDICTS[self.severity]

    def check(self, kind: Kind) -> Check:
        """Return the check of a kind."""
        return next(check for check in self.checks if check.kind == kind)

    def to_json(self) -> dict[str, Any]:
        """Return the whole report, computed properties included, as plain JSON values."""
        return {
            "source": self.source,
            "severity": self.severity,
            "verdict": self.verdict,
            "n_by_split": dict(self.n_by_split),
            "checks": [
                {"severity": check.severity, "sentence": check.sentence, "share_touched": check.share_touched}
                | asdict(check)
                for check in self.checks
            ],
            "fitted": [
                {"severity": check.severity, "sentence": check.sentence}
                | asdict(check)
                | {"test_ids": list(check.test_ids), "validation_ids": list(check.validation_ids)}
                for check in self.fitted
            ],
            "findings": [{"is_leak": finding.is_leak} | asdict(finding) for finding in self.findings],
            "notes": list(self.notes),
        }


_VERDICTS: dict[Severity, str] = {
    "ok": "No leak was found: no title of validation or test is near-same to any other split's.",
    "note": "No certain leak was found, but some pairs deserve a look; see the notes of each check.",
    "warning": "A few validation or test titles have a near-same title in train: figures may be slightly flattered.",
    "serious": "The splits leak: figures on them cannot be trusted. Split anew with near-same titles kept together, "
    "or drop the touched titles.",
}


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"
