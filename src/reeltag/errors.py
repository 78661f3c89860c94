"""The errors a caller may catch.

ReeltagError
├── CatalogueError      a catalogue cannot be read, or a row breaks a rule
├── LabelError          a label space cannot be built or a label is unknown
├── SplitError          a split is missing, empty or leaks
├── ConfigError         a setting is unknown, mistyped or out of range
├── FeatureError        feature blocks do not fit each other or the model
├── GraphError          a knowledge graph cannot be read, built or searched
├── MediaError          a video or its sound cannot be read
├── EncoderError        an encoder cannot be loaded or run
├── ModelError          a model cannot be trained on what it was given
├── MissingExtraError   an optional dependency is not installed
├── NotFittedError      a model or tagger is used before ``fit``
├── ArtefactError       a saved folder is incomplete, foreign or of another version
└── EvaluationError     predictions and truth cannot be compared
"""

from __future__ import annotations

from dataclasses import dataclass

_SHOWN_PROBLEMS = 10
_SHOWN_CHARACTERS = 80


class ReeltagError(Exception):
    """Any mistake that the caller can mend; the message names the thing, the rule and the value."""


@dataclass(frozen=True, kw_only=True)
class Problem:
    """One broken rule in one place of an input file.

    Attributes:
        file: Path of the file, as the user gave it.
        row: Row number counted from 1 (the header of a CSV file is not counted); None for a whole-file problem.
        field: Catalogue field or column; None when the row as a whole is wrong.
        rule: What must hold, in words.
        value: The offending value, cut to a readable length.
    """

    file: str
    row: int | None
    field: str | None
    rule: str
    value: str

    def __str__(self) -> str:
        place = self.file
        if self.row is not None:
            place += f", row {self.row}"
        if self.field is not None:
            place += f", field '{self.field}'"
        return f"{place}: {self.rule}; got {self.value}"


def shown(value: object) -> str:
    """Return ``repr(value)`` cut to a length that fits on one line."""
    text = repr(value[: 2 * _SHOWN_CHARACTERS] if isinstance(value, str | bytes) else value)
    return text if len(text) <= _SHOWN_CHARACTERS else text[: _SHOWN_CHARACTERS - 1] + "…"


class CatalogueError(ReeltagError):
    """A catalogue cannot be read, or a row breaks a rule; ``problems`` lists each."""

    def __init__(self, problems: list[Problem] | tuple[Problem, ...] | str, hint: str = "") -> None:
        if isinstance(problems, str):
            self.problems: tuple[Problem, ...] = ()
            super().__init__(problems + (f"\n{hint}" if hint else ""))
            return
        self.problems = tuple(problems)
        lines = [str(problem) for problem in self.problems[:_SHOWN_PROBLEMS]]
        if len(self.problems) > _SHOWN_PROBLEMS:
            lines.append(f"… and {len(self.problems) - _SHOWN_PROBLEMS:,} more")
        if hint:
            lines.append(hint)
        super().__init__("\n".join(lines))


class LabelError(ReeltagError):
    """A label space cannot be built, or a label is unknown to it."""


class SplitError(ReeltagError):
    """A split is missing, empty or leaks."""


class ConfigError(ReeltagError):
    """A setting is unknown, of the wrong type or out of range."""


class FeatureError(ReeltagError):
    """Feature blocks do not fit each other or the model that reads them."""


class GraphError(ReeltagError):
    """A knowledge graph cannot be read, built or searched."""


class MediaError(ReeltagError):
    """A video or its sound cannot be read."""


class EncoderError(ReeltagError):
    """An encoder cannot be loaded or run."""


class MissingExtraError(ReeltagError):
    """An optional dependency is not installed."""

    def __init__(self, package: str, extra: str, purpose: str) -> None:
        super().__init__(
            f"{purpose} needs the package '{package}', which is not installed: pip install 'reeltag[{extra}]'"
        )


class ModelError(ReeltagError):
    """A model cannot be trained on what it was given."""


class NotFittedError(ReeltagError):
    """A model or tagger is used before ``fit``."""


class ArtefactError(ReeltagError):
    """A saved folder is incomplete, foreign or of another version."""


class EvaluationError(ReeltagError):
    """Predictions and truth cannot be compared."""
