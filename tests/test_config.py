from __future__ import annotations

import json
import math
from dataclasses import dataclass, field
from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reeltag.config import check_choice, check_range, from_json, put_setting, to_json
from reeltag.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class Inner:
    rate: float = 0.5
    names: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        check_range("Inner", "rate", self.rate, 0, 1)


@dataclass(frozen=True, kw_only=True)
class Outer:
    n: int
    on: bool = False
    text: str = "x"
    loss: Literal["a", "b", 1] = "a"
    pair: tuple[int, str] = (1, "a")
    grid: tuple[tuple[float, ...], ...] = ()
    items: list[int] = field(default_factory=list)
    table: dict[str, float] = field(default_factory=dict)
    maybe: int | None = None
    either: int | str = 0
    number: float | int = 0
    anything: Any = None
    inner: Inner = field(default_factory=Inner)
    inners: tuple[Inner, ...] = ()
    maybe_inner: Inner | None = None


FULL = Outer(
    n=3,
    on=True,
    text="é 🎬",
    loss=1,
    pair=(2, "b"),
    grid=((1.0, 2.5), ()),
    items=[1, 2],
    table={"a": 1.5},
    maybe=4,
    either="s",
    number=2,
    anything=[1, {"a": None}],
    inner=Inner(rate=0.1, names=("p", "q")),
    inners=(Inner(), Inner(rate=1.0)),
    maybe_inner=Inner(rate=0.0),
)


def test_round_trip_through_json() -> None:
    data = to_json(FULL)
    assert list(data) == list(Outer.__dataclass_fields__)
    assert data["inners"] == [{"rate": 0.5, "names": []}, {"rate": 1.0, "names": []}]
    assert from_json(Outer, json.loads(json.dumps(data))) == FULL


def test_defaults_fill_in() -> None:
    assert from_json(Outer, {"n": 1}) == Outer(n=1)


@given(
    rate=st.floats(0, 1),
    names=st.lists(st.text(), max_size=3),
    table=st.dictionaries(st.text(max_size=3), st.floats(allow_nan=False, allow_infinity=False), max_size=3),
    maybe=st.none() | st.integers(),
)
def test_any_config_survives(rate: float, names: list[str], table: dict[str, float], maybe: int | None) -> None:
    config = Outer(n=0, table=table, maybe=maybe, inner=Inner(rate=rate, names=tuple(names)))
    assert from_json(Outer, json.loads(json.dumps(to_json(config)))) == config


@pytest.mark.parametrize(
    ("data", "text"),
    [
        ({}, "config: setting 'n' is missing"),
        ({"n": 1, "m": 2}, "config: unknown setting 'm'; known: n, on, text"),
        ([], r"config: must be an object; got \[\]"),
        (None, "config: must be an object; got None"),
        ({"n": "1"}, r"config\.n: must be of type int; got '1'"),
        ({"n": 1.0}, r"config\.n: must be of type int; got 1\.0"),
        ({"n": True}, r"config\.n: must be of type int; got True"),
        ({"n": None}, r"config\.n: must be of type int; got None"),
        ({"n": 1, "on": 1}, r"config\.on: must be of type bool; got 1"),
        ({"n": 1, "on": "true"}, r"config\.on: must be of type bool"),
        ({"n": 1, "text": 1}, r"config\.text: must be of type str; got 1"),
        ({"n": 1, "loss": "c"}, r"config\.loss: must be one of a, b, 1; got 'c'"),
        ({"n": 1, "loss": True}, r"config\.loss: must be one of a, b, 1; got True"),
        ({"n": 1, "loss": ["a"]}, r"config\.loss: must be one of"),
        ({"n": 1, "pair": [1]}, r"config\.pair: must be a list of 2 values; got 1"),
        ({"n": 1, "pair": [1, "a", 2]}, r"config\.pair: must be a list of 2 values; got 3"),
        ({"n": 1, "pair": ["a", 1]}, r"config\.pair\[0\]: must be of type int; got 'a'"),
        ({"n": 1, "grid": [1]}, r"config\.grid\[0\]: must be a list; got 1"),
        ({"n": 1, "grid": [[1, "a"]]}, r"config\.grid\[0\]\[1\]: must be of type float; got 'a'"),
        ({"n": 1, "grid": "ab"}, r"config\.grid: must be a list; got 'ab'"),
        ({"n": 1, "items": [1, True]}, r"config\.items\[1\]: must be of type int; got True"),
        ({"n": 1, "table": [1]}, r"config\.table: must be an object"),
        ({"n": 1, "table": {"a": "b"}}, r"config\.table\.a: must be of type float; got 'b'"),
        ({"n": 1, "table": {"a": False}}, r"config\.table\.a: must be of type float; got False"),
        ({"n": 1, "maybe": "a"}, r"config\.maybe: must be of type int; got 'a'"),
        ({"n": 1, "maybe": False}, r"config\.maybe: must be of type int; got False"),
        ({"n": 1, "either": 1.5}, r"must be of type int; got 1\.5; or config\.either: must be of type str"),
        ({"n": 1, "either": None}, r"config\.either: must be of type int; got None; or"),
        ({"n": 1, "inner": {"rat": 1}}, r"config\.inner: unknown setting 'rat'; known: rate, names"),
        ({"n": 1, "inner": 3}, r"config\.inner: must be an object; got 3"),
        ({"n": 1, "inner": {"rate": 2}}, r"Inner\.rate must be between 0 and 1; got 2\.0"),
        ({"n": 1, "inner": None}, r"config\.inner: must be an object"),
        ({"n": 1, "inners": [{}, {"names": "a"}]}, r"config\.inners\[1\]\.names: must be a list; got 'a'"),
        ({"n": 1, "maybe_inner": {"rate": "a"}}, r"config\.maybe_inner\.rate: must be of type float"),
        ({"n": 1, "inner": {"rate": 10**400}}, r"config\.inner\.rate: must be of type float"),
    ],
)
def test_wrong_data(data: object, text: str) -> None:
    with pytest.raises(ConfigError, match=text):
        from_json(Outer, data)


def test_place_is_named() -> None:
    with pytest.raises(ConfigError, match=r"^model\.json: config\.n: must be of type int"):
        from_json(Outer, {"n": "a"}, "model.json: config")


def test_whole_numbers_become_floats_where_floats_are_asked() -> None:
    config = from_json(Outer, {"n": 1, "table": {"a": 1}, "number": 3})
    assert type(config.table["a"]) is float
    assert type(config.number) is int


def test_nothing_is_an_option_only_where_it_is_named() -> None:
    assert from_json(Outer, {"n": 1, "maybe": None, "maybe_inner": None}) == Outer(n=1)


def test_ready_dataclass_is_taken() -> None:
    inner = Inner(rate=0.2)
    assert from_json(Outer, {"n": 1, "inner": inner}).inner is inner


def test_nan_is_out_of_every_range() -> None:
    with pytest.raises(ConfigError, match="got nan"):
        from_json(Outer, {"n": 1, "inner": {"rate": math.nan}})


@dataclass(frozen=True)
class Odd:
    values: frozenset[str] = frozenset()
    keys: dict[int, str] = field(default_factory=dict)


def test_types_that_json_cannot_hold() -> None:
    with pytest.raises(ConfigError, match=r"settings of type frozenset\[str\] cannot be read from JSON"):
        from_json(Odd, {"values": ["a"]})
    with pytest.raises(ConfigError, match=r"config\.keys: must be of type int; got '1'"):
        from_json(Odd, {"keys": {"1": "a"}})


@pytest.mark.parametrize("value", [3, {"a": 1}, None, Outer])
def test_only_dataclass_instances_are_written(value: object) -> None:
    with pytest.raises(ConfigError, match="a config must be a dataclass instance; got"):
        to_json(value)


def test_check_range() -> None:
    for value in (0, 0.5, 1):
        check_range("C", "x", value, 0, 1)
    for value in (-0.1, 1.1, math.inf, math.nan):
        with pytest.raises(ConfigError, match=r"C\.x must be between 0 and 1; got"):
            check_range("C", "x", value, 0, 1)


def test_check_choice() -> None:
    for choices in (("a", 1), {"a": 0, 1: 0}, {"a", 1}):
        check_choice("C", "x", "a", choices)
        check_choice("C", "x", 1, choices)
        for value in ("b", True, ["a"], None):
            with pytest.raises(ConfigError, match=r"C\.x must be one of "):
                check_choice("C", "x", value, choices)


@dataclass(frozen=True, kw_only=True)
class Derived:
    width: int = 2
    area: int = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "area", self.width**2)


def test_what_is_worked_out_is_no_setting() -> None:
    assert to_json(Derived(width=3)) == {"width": 3}
    assert from_json(Derived, {"width": 3}).area == 9
    with pytest.raises(ConfigError, match="config: unknown setting 'area'; known: width"):
        from_json(Derived, {"width": 3, "area": 4})


@pytest.mark.parametrize(
    ("setting", "path", "expected"),
    [
        ("n=2", "n", 2),
        (" n =2", "n", 2),
        ("inner.rate=0.1", "inner.rate", 0.1),
        ('inner.names=["a", "b"]', "inner.names", ["a", "b"]),
        ("inner=null", "inner", None),
        ("text=plain words", "text", "plain words"),
        ('text="2"', "text", "2"),
        ("text=a=b", "text", "a=b"),
        ("text=", "text", ""),
        ("on=true", "on", True),
        ("on=True", "on", "True"),
    ],
)
def test_a_setting_is_put_in(setting: str, path: str, expected: object) -> None:
    data = to_json(FULL)
    assert put_setting(data, setting) == path
    for key in path.split("."):
        data = data[key]
    assert data == expected


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("n", "--set takes PATH=VALUE; got 'n'"),
        ("", "--set takes PATH=VALUE; got ''"),
        ("=1", "--set: there is no setting ''; at that place: n, on, text"),
        ("colour=1", "--set: there is no setting 'colour'; at that place: n, on, text"),
        ("inner.colour=1", r"--set: there is no setting 'inner\.colour'; at that place: rate, names"),
        ("n.x=1", r"--set: there is no setting 'n\.x'; at that place: none"),
        ("no.where.x=1", r"--set: there is no setting 'no\.where\.x'; at that place: none"),
    ],
)
def test_a_setting_that_is_not_there_is_named(setting: str, message: str) -> None:
    data = to_json(FULL)
    with pytest.raises(ConfigError, match=message):
        put_setting(data, setting)
    assert data == to_json(FULL)
