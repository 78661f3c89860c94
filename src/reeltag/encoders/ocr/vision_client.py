"""Asking a vision endpoint: one request, what its failures mean, patience, and what all of it may cost.

Every request is counted before it is sent, and the most it can cost is set aside until its price is known.
"""

from __future__ import annotations

import base64
import email.utils
import json
import os
import random
import re
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

from reeltag.encoders.ocr.vision_settings import PREFIX, VARIABLES, VisionConfig
from reeltag.errors import EncoderError, MissingExtraError

if TYPE_CHECKING:
    import httpx

T = TypeVar("T")
Pause = Callable[[threading.Event, float], object]  # waits for so many seconds, or until the event is set

_PASSING = (408, 409, 429)
_OF_A_POSTER = (400, 413, 422)  # may mean the image or the settings
_FILTERS = (b"content_filter", b"content_policy", b"content management policy")  # in messages: the image for certain
_LONGEST_WAIT_S = 60.0
_LONGEST_ASKED_S = 300.0  # a server that asks for more patience than this is given up
_LARGEST_ANSWER = 1 << 20
_SHOWN_OF_MESSAGE = 200
_SHOWN_OF_ANSWER = 80
_MILLION = 1_000_000
_FIRST_GUESS = 2000  # tokens of prompt and image, until an answer has told


class PassingError(Exception):
    """A failure that may be gone at the next attempt.

    Attributes:
        wait_s: Seconds that the server asks to wait.
        said: The answer, where it was none that was asked for.
        by_model: Whether a model said so, and not something else that answers at the address.
    """

    def __init__(self, told: str, wait_s: float = 0.0, said: str | None = None, by_model: bool = False) -> None:
        super().__init__(told)
        self.wait_s = wait_s
        self.said = said
        self.by_model = by_model


class RefusedError(Exception):
    """One poster is refused.

    Attributes:
        is_certain: False where the endpoint may refuse every poster so, as when a setting is wrong.
    """

    def __init__(self, told: str, is_certain: bool = True) -> None:
        super().__init__(told)
        self.is_certain = is_certain


class CapReachedError(Exception):
    """The next request could go above a cap; holds the name of its setting."""


class Budget:
    """What this process has asked and spent; safe to use from several threads."""

    def __init__(self) -> None:
        self.calls = 0
        self.posters = 0
        self.cost = 0.0
        self._held = 0.0
        self._prompt_tokens = _FIRST_GUESS
        self._lock = threading.Lock()

    def reserve(self, config: VisionConfig) -> float:
        """Count a request about to be sent and return the most it can cost.

        Raises:
            CapReachedError: It could go above a cap; nothing is counted.
        """
        with self._lock:
            most = self._most(config)
            if self.calls >= config.max_calls:
                raise CapReachedError("max_calls")
            if config.max_cost is not None and self.cost + self._held + most > config.max_cost:
                raise CapReachedError("max_cost")
            self.calls += 1
            self._held += most
            return most

    def settle(self, reserved: float, cost: float) -> None:
        """Replace what was set aside for a request by its cost."""
        with self._lock:
            self._held -= reserved
            self.cost += cost

    def price(self, usage: object, config: VisionConfig, reserved: float) -> float:
        """Return the cost of an answer; what was set aside for it when the endpoint does not count tokens."""
        counts = [usage.get(f"{side}_tokens") if isinstance(usage, dict) else None for side in ("prompt", "completion")]
        sent, answered = (count if type(count) is int and count >= 0 else None for count in counts)
        if sent is None or answered is None:
            return reserved
        with self._lock:
            self._prompt_tokens = max(self._prompt_tokens, sent)
        return (sent * config.price_in + answered * config.price_out) / _MILLION

    def count_poster(self) -> None:
        """Count a poster as read."""
        with self._lock:
            self.posters += 1

    def told(self, setting: str, config: VisionConfig) -> str:
        """Return what was done and spent when a cap is reached, and how to go on."""
        spent = f"{self.posters:,} posters were read with {self.calls:,} requests"
        if config.price_in or config.price_out:
            spent += f", {self.cost:.4f} spent, and the next could cost {self._most(config):.4f}"
        return (
            f"model {config.model!r}: the next request could go above the cap {setting} = {getattr(config, setting):,}"
            f" ({spent}); {VARIABLES[setting]} raises the cap"
        )

    def _most(self, config: VisionConfig) -> float:
        return (self._prompt_tokens * config.price_in + config.max_tokens * config.price_out) / _MILLION


class VisionClient:
    """Asks about images over one pool of connections; a context manager.

    Args:
        config: The settings.
        prompt: What is asked about every image.
        budget: What may still be spent.
        pause: Waits between attempts.
        now: Seconds since the epoch, for servers that name a time to come back.

    Raises:
        MissingExtraError: httpx is not installed.
        EncoderError: The key is missing, or no connection can be prepared.
    """

    def __init__(
        self, config: VisionConfig, prompt: str, budget: Budget, pause: Pause, now: Callable[[], float]
    ) -> None:
        self.config = config
        self.stop = threading.Event()
        self._prompt = prompt
        self._budget = budget
        self._pause = pause
        self._now = now
        self._place = f"model {config.model!r} at {config.base_url}"
        self._key = _key(config)
        self._http = _open(config, self._key)

    def __enter__(self) -> VisionClient:
        return self

    def __exit__(self, *error: object) -> None:
        self._http.close()

    def ask(self, jpeg: bytes, understand: Callable[[str], T]) -> T | None:
        """Ask about one image until its answer is understood.

        Args:
            jpeg: The image.
            understand: Turns an answer into the result; raises PassingError when it is garbled, which is forgiven once.

        Returns:
            The result; None when ``stop`` was set meanwhile.

        Raises:
            RefusedError: The endpoint works and gives no words of this image.
            EncoderError: The endpoint does not work: it refused the request, or every attempt failed.
            CapReachedError: The next request could go above a cap.
        """
        garbled = 0
        body = self._body(jpeg)
        for attempt in range(1, self.config.attempts + 1):
            if self.stop.is_set():
                return None
            try:
                return understand(self._answer(body))
            except PassingError as fault:
                garbled += fault.said is not None
                if attempt == self.config.attempts or garbled > 1 or fault.wait_s > _LONGEST_ASKED_S:
                    got = "" if fault.said is None else self._shown(fault.said, _SHOWN_OF_ANSWER)
                    told = f"{self._place}: {fault}{got} (given up at attempt {attempt})"
                    raise (RefusedError if fault.by_model else EncoderError)(told) from None
                own = min(_LONGEST_WAIT_S, self.config.backoff_s * 2 ** (attempt - 1)) * random.uniform(0.5, 1)
                self._pause(self.stop, max(own, fault.wait_s))
        return None

    def _body(self, jpeg: bytes) -> dict[str, Any]:
        image = {"url": f"data:image/jpeg;base64,{base64.b64encode(jpeg).decode('ascii')}"}
        content = [{"type": "text", "text": self._prompt}, {"type": "image_url", "image_url": image}]
        body = {
            "model": self.config.model,
            "messages": [{"role": "user", "content": content}],
            "response_format": {"type": "json_object"},
        }
        if self.config.reasoning_effort:  # models that think take the limit by another name, and no temperature
            return body | {
                "reasoning_effort": self.config.reasoning_effort,
                "max_completion_tokens": self.config.max_tokens,
            }
        return body | {"temperature": 0, "max_tokens": self.config.max_tokens}

    def _answer(self, body: dict[str, Any]) -> str:
        """Send one request and return what the model said."""
        reserved = cost = self._budget.reserve(self.config)
        try:
            status, wait_s, content = self._send(body)
            cost = 0.0
            if status // 100 == 2:
                cost = reserved
                answer = _parsed(content)
                cost = self._budget.price(answer.get("usage"), self.config, reserved)
                return self._said(answer, content)
        except _NotSentError as error:
            cost = 0.0
            raise PassingError(str(error)) from None
        finally:
            self._budget.settle(reserved, cost)
        told = f"status {status}, {self._shown(_message(content))}"
        if status in _PASSING or status >= 500:
            raise PassingError(told + (f", wait {wait_s:,.0f} s" if wait_s else ""), wait_s)
        told = (
            f"{self._place}: {told}; check the key (environment variable {self.config.key_variable}),"
            f" the base URL ({PREFIX}URL) and the model"
        )
        if status in _OF_A_POSTER:
            raise RefusedError(told, is_certain=any(mark in content.lower() for mark in _FILTERS))
        raise EncoderError(told)

    def _send(self, body: dict[str, Any]) -> tuple[int, float, bytes]:
        """Return status, seconds to wait and content of the answer, whatever it is."""
        import httpx

        deadline = time.monotonic() + self.config.timeout_s
        late = f"no complete answer within {self.config.timeout_s:g} s ({PREFIX}TIMEOUT_S)"
        content = bytearray()
        try:
            with self._http.stream("POST", self.config.endpoint, json=body) as response:
                for chunk in response.iter_bytes():
                    content += chunk
                    if time.monotonic() > deadline:
                        raise PassingError(late)
                    if len(content) > _LARGEST_ANSWER:
                        raise PassingError(f"an answer of more than {_LARGEST_ANSWER:,} bytes")
                wait_s = _wait_s(response.headers.get("retry-after", ""), self._now())
                return response.status_code, wait_s, bytes(content)
        except (httpx.ConnectError, httpx.ConnectTimeout) as error:
            raise _NotSentError(f"no connection, {self._shown(str(error))}") from None
        except httpx.TimeoutException:
            raise PassingError(late) from None
        except httpx.RequestError as error:
            raise PassingError(f"the connection broke, {self._shown(str(error))}") from None
        except (httpx.InvalidURL, UnicodeError):  # the second for host names that cannot be looked up
            raise EncoderError(f"{self._place}: not an address that can be asked") from None

    def _said(self, answer: dict[str, Any], content: bytes) -> str:
        """Return what the model said."""
        if answer.get("choices") == []:
            raise garbled(_text(content))
        try:
            choice = answer["choices"][0]
            said, refusal = choice["message"].get("content"), choice["message"].get("refusal")
            reason = choice.get("finish_reason")
        except (KeyError, IndexError, TypeError, AttributeError):
            raise garbled(_text(content), by_model=False) from None
        if reason == "length":
            raise RefusedError(
                f"{self._place}: the answer was cut off at {self.config.max_tokens} tokens;"
                f" {VARIABLES['max_tokens']} allows longer ones, and models that think before they answer"
                f" may need {VARIABLES['reasoning_effort']}=none"
            )
        if not isinstance(said, str):
            raise garbled(refusal if isinstance(refusal, str) else f"nothing (finish_reason {reason!r})")
        return said

    def _shown(self, text: str, length: int = _SHOWN_OF_MESSAGE) -> str:
        """Return what a server wrote, without the key and on one short line."""
        if self._key:
            text = text.replace(self._key, "[key]")
        return repr(" ".join(text.split())[:length])


class _NotSentError(Exception):
    """No connection was made, so nothing can have been charged."""


def garbled(said: str, by_model: bool = True) -> PassingError:
    """Return the error for an answer that is not what was asked for."""
    return PassingError('the answer must be {"lines": ["…"]}; got ', said=said, by_model=by_model)


def _key(config: VisionConfig) -> str:
    """Return the key; "" for a server on this machine that has none."""
    key = os.environ.get(config.key_variable, "").strip()
    if not key and not config.is_local:
        raise EncoderError(
            f"the environment variable {config.key_variable} must hold the key for {config.base_url}; it is not set"
        )
    if not re.fullmatch(r"[!-~]*", key):
        raise EncoderError(
            f"the environment variable {config.key_variable} must hold a key of ASCII characters without blanks;"
            " got others (not shown)"
        )
    return key


def _open(config: VisionConfig, key: str) -> httpx.Client:
    try:
        import httpx
    except ImportError:
        raise MissingExtraError("httpx", "vision", f"the OCR engine 'vision:{config.model}'") from None
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    try:
        # a proxy of the environment is for far hosts
        return httpx.Client(headers=headers, timeout=config.timeout_s, trust_env=not config.is_local)
    except (OSError, ValueError, ImportError, httpx.InvalidURL) as error:
        raise EncoderError(f"{config.base_url}: no connection can be prepared ({error})") from None


def _parsed(content: bytes) -> dict[str, Any]:
    try:
        answer = json.loads(content)
    except (ValueError, RecursionError):
        answer = None
    if not isinstance(answer, dict):
        raise garbled(_text(content), by_model=False)
    return answer


def _message(content: bytes) -> str:
    """Return the message of an error as servers write it: an object, a list of one, or plain text."""
    text = _text(content)
    try:
        data = json.loads(text)
        data = data[0] if isinstance(data, list) else data
        error = data["error"]
        return str(error["message"] if isinstance(error, dict) else error)
    except (ValueError, RecursionError, KeyError, IndexError, TypeError):
        return text


def _text(content: bytes) -> str:
    return content.decode("utf-8", "replace")


def _wait_s(retry_after: str, now: float) -> float:
    """Return how many seconds a server asks to wait, given as such or as a date; 0 when it does not."""
    if re.fullmatch(r"[0-9]{1,9}(\.[0-9]{1,9})?", retry_after):
        return float(retry_after)
    try:
        return max(0.0, email.utils.parsedate_to_datetime(retry_after).timestamp() - now)
    except (ValueError, TypeError, OverflowError):
        return 0.0
