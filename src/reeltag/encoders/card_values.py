"""Reading the files that stand beside models and say how to use them: cards, and the processor files of the hub."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

from reeltag.errors import EncoderError, Problem, shown


def read_object(path: Path, need: str, what: str = "") -> dict[str, Any]:
    """Read a JSON object.

    Args:
        path: The file.
        need: Why it must be there, for the message.
        what: What must be an object, for the message.

    Raises:
        EncoderError: It is not there, no JSON, or no object.
    """
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise EncoderError(f"{path}: {need} ({error.strerror or error})") from None
    except ValueError as error:
        raise EncoderError(f"{path}: not valid JSON ({error})") from None
    if not isinstance(data, dict):
        refuse(path, None, f"{what} must be an object".strip(), data)
    return data


def is_number(value: object) -> bool:
    """Return whether a JSON value is a finite number."""
    return isinstance(value, int | float) and not isinstance(value, bool) and bool(np.isfinite(value))


def refuse(path: Path, name: str | None, rule: str, value: object) -> NoReturn:
    """Raise EncoderError for a field that breaks a rule; the message names file, field, rule and value."""
    raise EncoderError(str(Problem(file=str(path), row=None, field=name, rule=rule, value=shown(value))))
