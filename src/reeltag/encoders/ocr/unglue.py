"""Words that an engine has run together (``SilveryMoon``, ``NOVEMBER22``) are taken apart where letters show it."""

from __future__ import annotations

import re
from dataclasses import replace
from itertools import pairwise

from reeltag.encoders.ocr.pixels import slice_of
from reeltag.encoders.ocr.words import Word

# on the shape of a word: A for a capital, a for another letter, 0 for a digit, - for anything else
_SEAMS = re.compile(
    r"(?<=[Aa]aa)(?=Aa)"  # HaleStone
    r"|(?<=[Aa]a)(?=Aaa)"  # ByThe
    r"|(?<=[Aa]aa)(?=AAA+-*$)"  # whenROME
    r"|(?<=[Aa]{3})(?=00+-*$)"  # NOVEMBER22
)
_PREFIX = re.compile(r"\W*(?:Mc|Mac|De|La|Le|Di|O['’])(?=[^\W\d_])")


def unglued(word: Word) -> tuple[Word, ...]:
    """Take a word apart.

    A seam is where a capital follows small letters, or two digits and more follow three letters and more. Names such
    as McCabe and DeVito stay whole, and so do words with capitals strewn over them (``DAnGErOUS``), a matter of type.

    Args:
        word: A word; its box, if any, is shared out by number of characters along its top and bottom edge.

    Returns:
        The parts in reading order, with the confidence and line of the word; the word itself when it has no seam.
    """
    text = word.text
    prefix = _PREFIX.match(text)
    begin = prefix.end() if prefix else 0
    seams = [seam.start() for seam in _SEAMS.finditer(_shape(text)) if seam.start() > begin]
    if not seams:
        return (word,)
    return tuple(
        replace(
            word,
            text=text[start:end],
            box=None if word.box is None else slice_of(word.box, start / len(text), end / len(text)),
        )
        for start, end in pairwise([0, *seams, len(text)])
    )


def _shape(text: str) -> str:
    return "".join(map(_kind, text))


def _kind(character: str) -> str:
    if character.isalpha():
        return "A" if character.isupper() else "a"
    return "0" if character.isdigit() else "-"
