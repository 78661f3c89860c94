"""What a poster said, drawn on the poster: an HTML fragment with inline SVG, for a page that holds ``picture_style``.

Warm is what speaks for a label, cool what speaks against it; the poster is shown in grey so that its own colours are
not taken for either. The image is embedded once per fragment, however often it is drawn.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources
from typing import TYPE_CHECKING

from reeltag.explain_tokens import PatchEvidence, PosterEvidence, WordEvidence

if TYPE_CHECKING:
    from markupsafe import Markup

_TEMPLATE, _STYLE = "poster_picture.html.j2", "poster_picture.css"
PICTURE_LEGEND = (
    "Shown is how far a patch or a word moves the log-odds of a label, there against hidden. Orange speaks for it, "
    "blue against it; the ends of a scale are the strongest of the title. Green is attention: where the model looked, "
    "not what it made of it."
)
_WIDTH = 100.0  # of a picture, in its own units
_SHOWN_LABELS = 4
_SHOWN_WORDS = 12
_LONGEST_WORD = 20
_PATCH_FILL = 0.62  # opacity of the strongest patch: the poster is seen through it
_WORD_FILL = 0.35
_FAINTEST_LINE = 0.3
_SMALL = 0.1
_EDGE = 0.005  # share of the poster that may be unseen without a word


@dataclass(frozen=True, kw_only=True)
class _Mark:
    """A patch or a word as drawn.

    Attributes:
        shape: The four numbers of a rectangle, or the points of a polygon; "" for a word without a place.
        tone: ``for``, ``against`` or ``attention``.
        fill: Opacity of what fills it.
        told: What it did, in full, for the tooltip.
        strength: Against the strongest of its kind, in [0, 1].
        line: Opacity of its outline; 0 for patches.
        text: The word, cut short; "" for patches.
        figure: What it did, as printed.
    """

    shape: tuple[str, ...] | str
    tone: str
    fill: float
    told: str
    strength: float = 0.0
    line: float = 0.0
    text: str = ""
    figure: str = ""


@dataclass(frozen=True, kw_only=True)
class _Picture:
    """One picture: its heading, what it shows in words, what is drawn, and the words beneath it."""

    heading: str
    told: str
    encoder: str
    patches: list[_Mark]
    words: list[_Mark]
    chips: list[_Mark]
    unseen: str


def poster_pictures(
    evidence: PosterEvidence, poster: str | None, labels: Sequence[str], *, name: str = "poster"
) -> Markup:
    """Draw what a poster said of some labels, one picture per label and encoder of patches, and one of attention.

    Args:
        evidence: What it said.
        poster: The poster as a data URI; None when there is none to show.
        labels: The labels, of which the first four are drawn.
        name: Unique among the fragments of a page, in ASCII letters, digits and ``-``.

    Returns:
        The fragment, safe to embed. It says so when there are no words, and when the poster cannot be shown.
    """
    from jinja2 import Environment, StrictUndefined
    from markupsafe import Markup

    height, shown = _height(poster), labels[:_SHOWN_LABELS]
    scale = _Scale(evidence, shown)
    pictures = [] if height is None else _pictures(evidence, shown, height, scale)
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters.update(percent=_percent)
    source = resources.files("reeltag").joinpath(_TEMPLATE).read_text(encoding="utf-8")
    n_shown = min(len(evidence.words), _SHOWN_WORDS)
    drawn = environment.from_string(source).render(
        evidence=evidence,
        name=name,
        poster=poster,
        width=_number(_WIDTH),
        height=_number(height or 0.0),
        pictures=pictures,
        several=len(evidence.patches) > 1,
        scales=[
            (f"{kind}, log-odds", _signed(-most, most), _signed(most, most))
            for kind, most in scale.effects.items()
            if most > 0
        ],
        shares=[(f"attention, {kind}", most) for kind, most in scale.attention.items() if most > 0],
        any_unseen=any(picture.unseen for picture in pictures),
        n_shown=n_shown,
        n_hidden=len(evidence.words) - n_shown,
        n_placeless=sum(word.box is None for word in evidence.words),
    )
    return Markup(drawn)


def picture_style() -> Markup:
    """Return the style that the fragments need, once per page."""
    from markupsafe import Markup

    return Markup(resources.files("reeltag").joinpath(_STYLE).read_text(encoding="utf-8"))


class _Scale:
    """The strongest effect and the largest share of attention of one title, of its patches and of its words."""

    def __init__(self, evidence: PosterEvidence, labels: Sequence[str]) -> None:
        kinds: dict[str, list[PatchEvidence | WordEvidence]] = {
            "patches": [patch for row in evidence.patches.values() for patch in row],
            "words": list(evidence.words),
        }
        self.effects = {k: max((abs(m.effects[n]) for m in v for n in labels), default=0.0) for k, v in kinds.items()}
        self.attention = {k: max((m.attention or 0.0 for m in v), default=0.0) for k, v in kinds.items()}

    def strength(self, kind: str, value: float, label: str | None) -> float:
        """Return a value against the largest of its kind, in [0, 1]; of attention when there is no label."""
        most = (self.attention if label is None else self.effects)[kind]
        return min(abs(value) / most, 1.0) if most > 0 else 0.0


def _pictures(evidence: PosterEvidence, labels: Sequence[str], height: float, scale: _Scale) -> list[_Picture]:
    if not (evidence.patches or evidence.words):
        return []
    drawn: list[str | None] = [*labels]
    if any(scale.attention.values()):
        drawn.append(None)
    layers = list(evidence.patches) or [""]  # words alone are drawn too
    return [_picture(evidence, label, encoder, height, scale) for label in drawn for encoder in layers]


def _picture(evidence: PosterEvidence, label: str | None, encoder: str, height: float, scale: _Scale) -> _Picture:
    """Draw one label, or the attention when there is none."""
    patches = evidence.patches.get(encoder, ())
    words = [_word_mark(word, label, height, scale) for word in evidence.words]
    return _Picture(
        heading="Attention" if label is None else label,
        told="The poster: where the model looked"
        if label is None
        else f"The poster: what spoke for and against {label}",
        encoder=encoder,
        patches=[_patch_mark(patch, label, height, scale) for patch in patches],
        words=[mark for mark in words if mark.shape],
        chips=_strongest(words),
        unseen=_unseen(patches, height),
    )


def _patch_mark(patch: PatchEvidence, label: str | None, height: float, scale: _Scale) -> _Mark:
    left, top, right, bottom = patch.box
    value = _value(patch, label)
    strength = scale.strength("patches", value, label)
    return _Mark(
        shape=tuple(
            _number(v) for v in (left * _WIDTH, top * height, (right - left) * _WIDTH, (bottom - top) * height)
        ),
        tone=_tone(value, label),
        fill=_PATCH_FILL * strength,
        told=_figure(value, label, scale.effects["patches"]),
    )


def _word_mark(word: WordEvidence, label: str | None, height: float, scale: _Scale) -> _Mark:
    value = _value(word, label)
    strength, figure = scale.strength("words", value, label), _figure(value, label, scale.effects["words"])
    sure = "" if word.confidence is None else f", read with confidence {word.confidence:.2f}"
    place = "" if word.box else ", without a place on the poster"
    return _Mark(
        shape=" ".join(f"{_number(x * _WIDTH)},{_number(y * height)}" for x, y in word.box or ()),
        tone=_tone(value, label),
        fill=_WORD_FILL * strength,
        told=f"{word.text} {figure}{sure}{place}",
        strength=strength,
        line=_FAINTEST_LINE + (1 - _FAINTEST_LINE) * strength,
        text=word.text if len(word.text) <= _LONGEST_WORD else word.text[: _LONGEST_WORD - 1] + "…",
        figure=figure,
    )


def _strongest(words: list[_Mark]) -> list[_Mark]:
    """Return the strongest words, in reading order."""
    order = sorted(range(len(words)), key=lambda place: -words[place].strength)[:_SHOWN_WORDS]
    return [words[place] for place in sorted(order)]


def _unseen(patches: Sequence[PatchEvidence], height: float) -> str:
    """Return the outline of what lies outside all patches, as an SVG path; "" when that is nothing."""
    if not patches:
        return ""
    left, top = min(p.box[0] for p in patches), min(p.box[1] for p in patches)
    right, bottom = max(p.box[2] for p in patches), max(p.box[3] for p in patches)
    if max(left, top, 1 - right, 1 - bottom) < _EDGE:
        return ""
    x, y, to_x, to_y = map(_number, (left * _WIDTH, top * height, right * _WIDTH, bottom * height))
    return f"M0 0H{_number(_WIDTH)}V{_number(height)}H0ZM{x} {y}V{to_y}H{to_x}V{y}Z"


def _height(poster: str | None) -> float | None:
    """Return the height of a picture of the poster's shape; None when there is nothing to draw on."""
    from reeltag.encoders.images import decode

    image = decode(base64.b64decode(poster.partition(",")[2])) if poster else None
    return None if image is None else _WIDTH * image.height / image.width


def _value(mark: PatchEvidence | WordEvidence, label: str | None) -> float:
    return (mark.attention or 0.0) if label is None else mark.effects[label]


def _figure(value: float, label: str | None, strongest: float) -> str:
    return _percent(value) if label is None else _signed(value, strongest)


def _tone(value: float, label: str | None) -> str:
    if label is None:
        return "attention"
    return "for" if value >= 0 else "against"


def _number(value: float) -> str:
    return f"{value:.2f}".rstrip("0").rstrip(".")


def _signed(value: float, strongest: float) -> str:
    """Return an effect with two decimals, or three where all are small."""
    digits = 2 if strongest >= _SMALL or strongest == 0 else 3
    return f"{round(value, digits) + 0.0:+.{digits}f}"  # no minus before a zero


def _percent(value: float) -> str:
    return f"{100 * value:.1f} %"
