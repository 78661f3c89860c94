"""Words of posters as a file, one poster a row: JSONL or Parquet."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from reeltag.config import check_range
from reeltag.encoders.ocr.words import PosterText
from reeltag.errors import ConfigError
from reeltag.files import atomic_file

_WORD = pa.struct(
    [
        ("text", pa.string()),
        ("confidence", pa.float64()),
        ("box", pa.list_(pa.list_(pa.float64()))),
        ("line", pa.int32()),
    ]
)
_SCHEMA = pa.schema([("id", pa.string()), ("text", pa.string()), ("words", pa.list_(_WORD))])


def rows_of(ids: Sequence[str], texts: Sequence[PosterText | None]) -> list[dict[str, Any]]:
    """Return id, text and words of every poster; text and words are None where it cannot be read.

    Args:
        ids: The posters.
        texts: Their words, as ``FeatureStore.read_words`` returns them.
    """
    return [
        {
            "id": title_id,
            "text": None if text is None else text.text,
            "words": None if text is None else text.to_json(),
        }
        for title_id, text in zip(ids, texts, strict=True)
    ]


def check_words_file(path: Path) -> None:
    """Raise ConfigError unless words can be written to a file of that suffix."""
    if path.suffix.lower() not in (".jsonl", ".parquet"):
        raise ConfigError(f"{path}: the words of posters are written as .jsonl, .parquet; got {path.suffix!r}")


def write_words(path: Path, rows: Sequence[dict[str, Any]]) -> None:
    """Write what ``rows_of`` returned, whole or not at all.

    Raises:
        ConfigError: The suffix is neither .jsonl nor .parquet.
    """
    check_words_file(path)
    with atomic_file(path) as temporary:
        if path.suffix.lower() == ".parquet":
            pq.write_table(pa.Table.from_pylist(list(rows), _SCHEMA), temporary)
            return
        with temporary.open("w", encoding="utf-8") as file:
            file.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def surer_than(text: PosterText, confidence: float) -> PosterText:
    """Return the words that are at least so sure, in [0, 1]; those whose engine does not say are kept.

    Raises:
        ConfigError: The confidence is out of range.
    """
    check_range("surer_than", "confidence", confidence, 0, 1)
    return replace(
        text, words=tuple(word for word in text.words if word.confidence is None or word.confidence >= confidence)
    )
