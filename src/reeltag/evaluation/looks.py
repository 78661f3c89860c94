"""What a run looked at on the poster of a title when it decided one of its labels."""

from __future__ import annotations

from dataclasses import dataclass

from reeltag.errors import EvaluationError, shown
from reeltag.explain_tokens import PosterEvidence

_POSTER_PREFIX = "data:image/"


@dataclass(frozen=True, kw_only=True)
class Look:
    """One decision, and what on the poster spoke for and against it.

    Attributes:
        film_id: Id of the title.
        title: Title of the film.
        year: Year of release, when known.
        poster: The poster as a data URI (``data:image/…``), never a link; None when it cannot be shown.
        true_labels: The labels that are true, in column order.
        label: The label that was decided.
        probability: What the run gave it, in [0, 1].
        shown: The labels whose evidence is told: the decided one, and a true one that was missed instead.
        evidence: What the poster said of them.
    """

    film_id: str
    title: str
    year: int | None
    poster: str | None
    true_labels: tuple[str, ...]
    label: str
    probability: float
    shown: tuple[str, ...]
    evidence: PosterEvidence

    def __post_init__(self) -> None:
        if self.poster is not None and not self.poster.startswith(_POSTER_PREFIX):
            raise EvaluationError(f"Look.poster must be a data URI '{_POSTER_PREFIX}…'; got {shown(self.poster)}")

    @property
    def right(self) -> bool:
        """Whether the decided label is true."""
        return self.label in self.true_labels
