"""One way to write a text for comparison: no case, no accents, no punctuation."""

from __future__ import annotations

import polars as pl

# scripts written without spaces: every character is a word
_UNSPACED = r"\p{Han}\p{Hiragana}\p{Katakana}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}"
_WORD = rf"[{_UNSPACED}]|[[\p{{L}}\p{{N}}]--[{_UNSPACED}]]+"


def comparable_words(text: pl.Expr) -> pl.Expr:
    """Return the lists of words of a text column, lower case, without accents and punctuation; null stays null."""
    return (
        text.str.normalize("NFKD").str.replace_all(r"\p{M}|['\x{2019}]", "").str.to_lowercase().str.extract_all(_WORD)
    )


def comparable(text: pl.Expr) -> pl.Expr:
    """Return a text column as its words joined by blanks; null where nothing is left."""
    joined = comparable_words(text).list.join(" ")
    return pl.when(joined != "").then(joined)
