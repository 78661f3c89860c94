"""The settings of a vision endpoint, from code or from the environment; the key itself is none of them."""

from __future__ import annotations

import dataclasses
import os
import re
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from reeltag.config import check_choice, check_range
from reeltag.errors import ConfigError, shown

PREFIX = "REELTAG_VISION_"
KEY_VARIABLE = f"{PREFIX}KEY"
GEMINI_URL = "https://generativelanguage.googleapis.com/v1beta/openai"
_OWNER = "VisionConfig"
_LOCAL_HOSTS = ("localhost", "127.0.0.1", "::1")
_RANGES: dict[str, tuple[float, float]] = {
    "timeout_s": (0.01, 3600),
    "attempts": (1, 20),
    "backoff_s": (0, 60),
    "max_tokens": (1, 32_768),
    "side": (64, 4096),
    "max_calls": (0, 10_000_000),
    "max_cost": (0, 1_000_000),
    "price_in": (0, 1_000_000),
    "price_out": (0, 1_000_000),
    "parallel": (1, 64),
}


@dataclass(frozen=True, kw_only=True)
class VisionConfig:
    """Where the endpoint is, how patiently it is asked, and what it may cost.

    Attributes:
        model: The model, as the endpoint names it.
        base_url: The part before ``/chat/completions``.
        key_variable: Name of the environment variable that holds the key.
        allow_http: Whether posters and key may go unencrypted to another machine.
        timeout_s: Longest time for one answer, in seconds.
        attempts: Requests for one poster before it is given up.
        backoff_s: Seconds before the second request; doubled for each further one, up to 60.
        max_tokens: Longest answer.
        reasoning_effort: Sent to models that think before they answer; "" sends nothing.
        side: Longer side that an image is reduced to, in pixels.
        max_calls: Most requests of one process, repeated ones counted.
        max_cost: Most that one process may spend, in the currency of the prices; None for no such cap.
        price_in: Price of a million tokens sent.
        price_out: Price of a million tokens answered.
        parallel: Requests at once.
    """

    model: str
    base_url: str = GEMINI_URL
    key_variable: str = KEY_VARIABLE
    allow_http: bool = False
    timeout_s: float = 60.0
    attempts: int = 5
    backoff_s: float = 1.0
    max_tokens: int = 400
    reasoning_effort: str = ""
    side: int = 1024
    max_calls: int = 1000
    max_cost: float | None = None
    price_in: float = 0.0
    price_out: float = 0.0
    parallel: int = 4

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            _check(field.name, getattr(self, field.name))
        if urlsplit(self.base_url).scheme == "http" and not self.is_local and not self.allow_http:
            raise ConfigError(
                f"{_OWNER}.base_url ({PREFIX}URL) must begin with https:// for another machine;"
                f" got {shown(self.base_url)} ({PREFIX}ALLOW_HTTP=1 sends posters and key unencrypted)"
            )
        if self.max_cost is not None and not self.price_in and not self.price_out:
            raise ConfigError(
                f"{_OWNER}.max_cost ({PREFIX}MAX_COST) needs {PREFIX}PRICE_IN or {PREFIX}PRICE_OUT above 0;"
                f" got {self.max_cost!r} without a price"
            )

    @property
    def is_local(self) -> bool:
        """Whether the endpoint runs on this machine."""
        return urlsplit(self.base_url).hostname in _LOCAL_HOSTS

    @property
    def endpoint(self) -> str:
        """The address that is asked."""
        return f"{self.base_url.rstrip('/')}/chat/completions"

    @classmethod
    def from_environment(cls, model: str) -> VisionConfig:
        """Read the settings from the variables REELTAG_VISION_*; what is not set has its default.

        Raises:
            ConfigError: A variable is unknown, cannot be read or is out of range.
        """
        values = {name: os.environ[variable] for name, variable in VARIABLES.items() if variable in os.environ}
        known = {KEY_VARIABLE, values.get("key_variable"), *VARIABLES.values()}
        for variable in sorted(os.environ):
            if variable.startswith(PREFIX) and variable not in known:
                raise ConfigError(
                    f"unknown environment variable {variable}; known: {KEY_VARIABLE}, {', '.join(VARIABLES.values())}"
                )
        _check("model", model)
        return cls(model=model, **{name: _parsed(name, text) for name, text in values.items()})


VARIABLES = {
    field.name: PREFIX + ("URL" if field.name == "base_url" else field.name.upper())
    for field in dataclasses.fields(VisionConfig)
    if field.name != "model"
}


def _parsed(name: str, text: str) -> Any:
    """Return the value of a variable.

    Raises:
        ConfigError: It is none; names the variable.
    """
    default = getattr(VisionConfig, name)
    value: Any = text
    if isinstance(default, bool):
        if text not in ("0", "1"):
            raise ConfigError(f"{VARIABLES[name]} must be 0 or 1; got {shown(text)}")
        value = text == "1"
    elif isinstance(default, int):
        if not re.fullmatch(r"-?[0-9]{1,12}", text):
            raise ConfigError(f"{VARIABLES[name]} must be a whole number; got {shown(text)}")
        value = int(text)
    elif not isinstance(default, str):
        if not re.fullmatch(r"-?[0-9]{1,12}(\.[0-9]{1,12})?", text):
            raise ConfigError(f"{VARIABLES[name]} must be a number such as 12.5; got {shown(text)}")
        value = float(text)
    try:
        _check(name, value)
    except ConfigError as error:
        raise ConfigError(f"{VARIABLES[name]}: {error}") from None
    return value


def _check(name: str, value: Any) -> None:
    """Raise ConfigError unless one setting, seen alone, is right."""
    if name in _RANGES:
        if value is not None or name != "max_cost":
            check_range(_OWNER, name, value, *_RANGES[name])
    elif name == "model":
        if not re.fullmatch(r"[!-~]{1,200}", value):
            raise ConfigError(f"{_OWNER}.model must be 1 to 200 ASCII characters without blanks; got {shown(value)}")
    elif name == "base_url":
        _check_url(value)
    elif name == "reasoning_effort":
        check_choice(_OWNER, name, value, ("", "none", "minimal", "low", "medium", "high"))
    elif name == "key_variable" and not re.fullmatch(r"[A-Z_][A-Z0-9_]{0,99}", value):
        raise ConfigError(
            f"{_OWNER}.key_variable must be the name of an environment variable in capitals, not the key itself;"
            " got something else (not shown, it could be the key)"
        )


def _check_url(url: str) -> None:
    if any(mark in url for mark in "@?#"):
        raise ConfigError(
            f"{_OWNER}.base_url must have no user name, password, query or fragment;"
            " got one of them (not shown, it could be a key)"
        )
    try:
        parts = urlsplit(url)
        fine = bool(parts.scheme in ("http", "https") and parts.hostname and parts.port != 0)
    except ValueError:
        fine = False
    if not fine or not re.fullmatch(r"[!-~]{1,500}", url):
        raise ConfigError(f"{_OWNER}.base_url must be an http(s) address with a host; got {shown(url)}")
