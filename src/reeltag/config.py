"""Frozen dataclasses to JSON and back, strictly: an unknown key or a wrong type is an error that names it."""

from __future__ import annotations

import dataclasses
import json
import sys
import types
import typing
from collections.abc import Callable
from typing import Any, TypeVar

from reeltag.errors import ConfigError, shown

T = TypeVar("T")


def to_json(config: object) -> dict[str, Any]:
    """Return the settings of a config dataclass as plain JSON values.

    Args:
        config: A dataclass instance; nested dataclasses, tuples, lists and dicts are converted.

    Returns:
        A dict of JSON values in field order.
    """
    if not dataclasses.is_dataclass(config) or isinstance(config, type):
        raise ConfigError(f"a config must be a dataclass instance; got {shown(config)}")
    return {field.name: _plain(getattr(config, field.name)) for field in dataclasses.fields(config) if field.init}


def from_json(cls: type[T], data: object, where: str = "config") -> T:
    """Build a config dataclass from JSON values.

    Args:
        cls: The dataclass to build.
        data: The parsed JSON.
        where: Name of the place, used in error messages.

    Returns:
        The config; its own ``__post_init__`` has checked the ranges.

    Raises:
        ConfigError: A key is unknown or missing, or a value has the wrong type.
    """
    if not isinstance(data, dict):
        raise ConfigError(f"{where}: must be an object; got {shown(data)}")
    hints = typing.get_type_hints(cls)
    fields = {field.name: field for field in dataclasses.fields(cls) if field.init}  # type: ignore[arg-type]
    for key in data:
        if key not in fields:
            raise ConfigError(f"{where}: unknown setting {key!r}; known: {', '.join(fields)}")
    for name, field in fields.items():
        has_default = field.default is not dataclasses.MISSING or field.default_factory is not dataclasses.MISSING
        if name not in data and not has_default:
            raise ConfigError(f"{where}: setting {name!r} is missing")
    values = {key: _convert(hints[key], value, f"{where}.{key}") for key, value in data.items()}
    return cls(**values)


def check_range(owner: str, name: str, value: float, low: float, high: float) -> None:
    """Raise ConfigError unless ``low <= value <= high``."""
    if not low <= value <= high:
        raise ConfigError(f"{owner}.{name} must be between {low:g} and {high:g}; got {value!r}")


def check_choice(owner: str, name: str, value: object, choices: typing.Collection[object]) -> None:
    """Raise ConfigError unless ``value`` is one of ``choices``."""
    # True equals 1, and is no choice where 1 is one
    if not any(value == choice and isinstance(value, bool) == isinstance(choice, bool) for choice in choices):
        raise ConfigError(f"{owner}.{name} must be one of {', '.join(map(str, choices))}; got {shown(value)}")


def put_setting(data: dict[str, Any], setting: str) -> str:
    """Put ``path.to.key=value`` into nested settings; the value is JSON, or text when it is not.

    Returns:
        The path.

    Raises:
        ConfigError: There is no ``=``, or no such setting.
    """
    path, equals, text = setting.partition("=")
    if not equals:
        raise ConfigError(f"--set takes PATH=VALUE; got {setting!r}")
    try:
        value = json.loads(text)
    except ValueError:
        value = text
    *parents, last = path.strip().split(".")
    place: Any = data
    for parent in parents:
        place = place.get(parent) if isinstance(place, dict) else None
    if not isinstance(place, dict) or last not in place:
        known = ", ".join(place) if isinstance(place, dict) else "none"
        raise ConfigError(f"--set: there is no setting {path!r}; at that place: {known}")
    place[last] = value
    return path.strip()


def _plain(value: object) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return to_json(value)
    if isinstance(value, tuple | list):
        return [_plain(item) for item in value]
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    return value


def _convert(hint: Any, value: Any, where: str) -> Any:
    origin = typing.get_origin(hint)
    if origin is not None:
        convert = _CONVERTERS.get(origin)
        if convert is None:
            raise ConfigError(f"{where}: settings of type {hint} cannot be read from JSON")
        return convert(typing.get_args(hint), value, where)
    if hint is Any:
        return value
    if dataclasses.is_dataclass(hint) and isinstance(hint, type):
        return value if isinstance(value, hint) else from_json(hint, value, where)
    if hint is float and isinstance(value, int) and not isinstance(value, bool) and abs(value) <= _LARGEST_FLOAT:
        return float(value)
    if not isinstance(value, hint) or (isinstance(value, bool) and hint is not bool):
        raise ConfigError(f"{where}: must be of type {hint.__name__}; got {shown(value)}")
    return value


def _union(options: tuple[Any, ...], value: Any, where: str) -> Any:
    if value is None and type(None) in options:
        return None
    rules = []
    # a whole number stays one where both int and float are allowed
    for option in sorted(options, key=lambda option: option is float):
        if option is type(None):
            continue
        try:
            return _convert(option, value, where)
        except ConfigError as error:
            rules.append(str(error))
    raise ConfigError("; or ".join(rules))


def _literal(choices: tuple[Any, ...], value: Any, where: str) -> Any:
    if type(value) not in {type(choice) for choice in choices} or value not in choices:
        raise ConfigError(f"{where}: must be one of {', '.join(map(str, choices))}; got {shown(value)}")
    return value


def _tuple(items: tuple[Any, ...], value: Any, where: str) -> tuple[Any, ...]:
    if not isinstance(value, list | tuple):
        raise ConfigError(f"{where}: must be a list; got {shown(value)}")
    if len(items) == 2 and items[1] is Ellipsis:
        items = (items[0],) * len(value)
    if len(items) != len(value):
        raise ConfigError(f"{where}: must be a list of {len(items)} values; got {len(value)}")
    return tuple(_convert(hint, item, f"{where}[{i}]") for i, (hint, item) in enumerate(zip(items, value, strict=True)))


def _list(items: tuple[Any, ...], value: Any, where: str) -> list[Any]:
    return list(_tuple((items[0], Ellipsis), value, where))


def _dict(items: tuple[Any, ...], value: Any, where: str) -> dict[Any, Any]:
    if not isinstance(value, dict):
        raise ConfigError(f"{where}: must be an object; got {shown(value)}")
    return {_convert(items[0], key, where): _convert(items[1], item, f"{where}.{key}") for key, item in value.items()}


_LARGEST_FLOAT = int(sys.float_info.max)
_CONVERTERS: dict[Any, Callable[[tuple[Any, ...], Any, str], Any]] = {
    types.UnionType: _union,
    typing.Union: _union,
    typing.Literal: _literal,
    tuple: _tuple,
    list: _list,
    dict: _dict,
}
