"""From a matplotlib figure to an inline SVG that looks the same everywhere and refers to nothing outside itself.

Text becomes outlines, so that no font is needed to read it; the title and description carry it for screen readers.
Where the built-in font lacks a character of a label (Chinese or Japanese, say) the text stays text and the reader's
fonts show it.
"""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from html import escape
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

WIDTH_IN = 7.3
INK = "#24292f"
MUTED = "#6e7781"
FAINT = "#d8dee4"
ACCENT = "#0b6e8a"
ACCENT_PALE = "#9cc9d6"
PAPER = "#ffffff"
_PIXELS_PER_IN = 120
_LONGEST_NAME = 30
_MISSING_GLYPH = "Glyph .* missing from"
_STYLE: dict[Any, Any] = {
    "font.family": "DejaVu Sans",
    "font.size": 9.0,
    "text.color": INK,
    "axes.edgecolor": FAINT,
    "axes.labelcolor": MUTED,
    "axes.facecolor": PAPER,
    "figure.facecolor": PAPER,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.major.size": 0.0,
    "ytick.major.size": 0.0,
    "xtick.minor.size": 0.0,
    "axes.unicode_minus": True,
}


def new_figure(height_in: float, width_in: float = WIDTH_IN) -> Figure:
    """Return an empty figure of the house style; it belongs to no global state.

    Args:
        height_in: Height in inches.
        width_in: Width in inches.
    """
    from matplotlib.figure import Figure

    return Figure(figsize=(width_in, height_in), layout=None)


@contextmanager
def style() -> Iterator[None]:
    """Draw in the house style inside the block; missing characters are no cause for a warning there."""
    import matplotlib as mpl

    with mpl.rc_context(_STYLE), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=_MISSING_GLYPH, category=UserWarning)
        yield


def bare(axes: Axes, *, keep: tuple[str, ...] = ()) -> None:
    """Remove the frame of the axes except the named sides."""
    for side, spine in axes.spines.items():
        spine.set_visible(side in keep)


def short_name(name: str) -> str:
    """Return a name on one line, cut to a length that fits beside a chart."""
    line = "".join(c if c.isprintable() else " " for c in " ".join(name.split()))
    return line if len(line) <= _LONGEST_NAME else line[: _LONGEST_NAME - 1] + "…"


def to_svg(figure: Figure, *, name: str, title: str, description: str) -> str:
    """Write a figure as inline SVG.

    Args:
        figure: The figure, drawn inside ``style()``.
        name: Short unique name of the chart in ASCII letters; prefixes all ids, so that several charts fit one page.
        title: What the chart shows, for screen readers.
        description: The figures in words, for screen readers.

    Returns:
        An ``<svg>`` element without width and height; its natural width is in the CSS property ``--natural``, so that
        text has one size in all charts of a page.
    """
    try:
        raw = _render(figure, name, "path")
    except UserWarning:
        raw = _render(figure, name, "none")
    body = re.sub(r"<!--.*?-->\s*", "", raw[raw.index("<svg") :], flags=re.DOTALL).strip()
    start, rest = body.split(">", 1)
    start = re.sub(r'\s(width|height)="[^"]*"', "", start)
    start += (
        f' style="--natural: {figure.get_figwidth() * _PIXELS_PER_IN:.0f}px" class="chart" role="img"'
        f' aria-labelledby="{name}-title {name}-description"'
    )
    rest = re.sub(r'\bid="', f'id="{name}-', rest)
    rest = re.sub(r'xlink:href="#', f'xlink:href="#{name}-', rest)
    rest = rest.replace("url(#", f"url(#{name}-")
    words = (
        f'<title id="{name}-title">{escape(title)}</title><desc id="{name}-description">{escape(description)}</desc>'
    )
    return f"{start}>{words}{rest}"


def _render(figure: Figure, name: str, font_type: str) -> str:
    import matplotlib as mpl

    stream = io.StringIO()
    settings: dict[Any, Any] = {"svg.fonttype": font_type, "svg.hashsalt": f"reeltag-{name}"}
    with style(), mpl.rc_context(settings), warnings.catch_warnings():
        if font_type == "path":
            warnings.filterwarnings("error", message=_MISSING_GLYPH, category=UserWarning)
        figure.savefig(
            stream,
            format="svg",
            bbox_inches="tight",
            pad_inches=0.05,
            metadata={"Date": None, "Creator": None, "Format": None, "Type": None},
        )
    return stream.getvalue()
