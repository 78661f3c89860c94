"""Any OpenAI-compatible vision endpoint as OCR engine: Gemini, GPT, or a vLLM or Ollama server of one's own.

The prompt is fixed, so that words of different runs can be compared. Posters leave the machine unless the server runs
on it.
"""

from __future__ import annotations

import hashlib
import io
import json
import re
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from functools import cache

from reeltag.encoders.images import RGBImage
from reeltag.encoders.ocr.vision_client import Budget, CapReachedError, Pause, RefusedError, VisionClient, garbled
from reeltag.encoders.ocr.vision_settings import VisionConfig
from reeltag.encoders.ocr.words import PosterText, Refusal, Word
from reeltag.errors import ConfigError, EncoderError

__all__ = ["PROMPT", "VisionConfig", "VisionEngine"]

PROMPT = (
    "Copy every word that is printed on this film poster, in reading order, one printed line per entry. "
    'Answer with JSON of the form {"lines": ["...", "..."]} and nothing else. '
    "Keep the spelling, the language and the capitals of the poster. Do not translate, describe or add anything. "
    'A poster without words gives {"lines": []}.'
)
_SCHEMA = 1  # part of the fingerprint; raise it when the same answer gives other words or the same image other bytes
_QUALITY = 90
_MOST_IN_A_ROW = 5  # posters refused one after another; then the settings are wrong, or the model unfit
_FENCE = re.compile(r"\s*```(?:json)?\s*\n(.*?)\s*```\s*", re.DOTALL)


class VisionEngine:
    """Words as a vision model copies them; it tells neither places nor how sure it is.

    A poster that the model will not or cannot read is a refusal; a failure of the endpoint stops the batch. What was
    read stays in memory for the life of the engine, so a batch that failed repeats only what was not read.

    Args:
        model: The model, as the endpoint names it.
        config: The settings; those of the environment when None.
        budget: Counts requests and cost; that of the process when None.
        pause: Waits between attempts.
        now: Seconds since the epoch.

    Raises:
        ConfigError: A setting of the environment is unknown or wrong, or ``config`` is of another model.
    """

    def __init__(
        self,
        model: str,
        config: VisionConfig | None = None,
        *,
        budget: Budget | None = None,
        pause: Pause = threading.Event.wait,
        now: Callable[[], float] = time.time,
    ) -> None:
        self.config = VisionConfig.from_environment(model) if config is None else config
        if self.config.model != model:
            raise ConfigError(f"VisionConfig.model must be the engine's model {model!r}; got {self.config.model!r}")
        self.name = "vision-" + re.sub(r"[^A-Za-z0-9_-]+", "-", model)
        self._budget = process_budget() if budget is None else budget
        self._pause = pause
        self._now = now
        self._read: dict[bytes, PosterText | Refusal] = {}  # by hash of the JPEG that was sent
        self._has_read = False
        self._n_in_a_row = 0  # refusals since the last poster that was read
        self._lock = threading.Lock()

    @property
    def fingerprint(self) -> str:
        """A hash of endpoint, model, prompt and image size; asks nothing and needs no key."""
        told = {
            "schema": _SCHEMA,
            "model": self.config.model,
            "endpoint": self.config.endpoint,
            "reasoning_effort": self.config.reasoning_effort,
            "prompt": PROMPT,
            "side": self.config.side,
            "quality": _QUALITY,
        }
        return f"vision-{hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()[:32]}"

    def read(self, images: Sequence[RGBImage]) -> list[PosterText | Refusal]:
        """Return the words of every image, in order, as ``read_into`` finds them."""
        found: dict[int, PosterText | Refusal] = {}
        self.read_into(images, found)
        return [found[position] for position in range(len(images))]

    def read_into(self, images: Sequence[RGBImage], found: dict[int, PosterText | Refusal]) -> None:
        """Put the words of every image into ``found`` by its position; an image without text has none.

        A refusal is an image whose answer was cut off, or twice not what was asked for, or that the endpoint rejects
        though it took others. Ctrl-C sends no further requests and returns when those under way are answered or timed
        out.

        Raises:
            MissingExtraError: httpx is not installed.
            EncoderError: The endpoint failed or could not be reached, refused five posters one after another, or a cap
                is reached; what was read by then is in ``found``.
        """
        jpegs = [_jpeg(image, self.config.side) for image in images]
        hashes = [hashlib.sha256(jpeg).digest() for jpeg in jpegs]
        unread = {key: jpeg for key, jpeg in zip(hashes, jpegs, strict=True) if key not in self._read}
        try:
            if unread:
                self._ask(unread)
        except CapReachedError as cap:
            raise EncoderError(self._budget.told(str(cap), self.config)) from None
        finally:
            found |= {position: self._read[key] for position, key in enumerate(hashes) if key in self._read}

    def _ask(self, unread: dict[bytes, bytes]) -> None:
        """Read images (hash to JPEG) in parallel; after a failure those under way are finished and kept in memory."""
        with (
            VisionClient(self.config, PROMPT, self._budget, self._pause, self._now) as client,
            ThreadPoolExecutor(self.config.parallel, thread_name_prefix="reeltag-vision") as pool,
        ):
            answers = [pool.submit(self._ask_one, client, key, jpeg) for key, jpeg in unread.items()]
            try:
                wait(answers, return_when=FIRST_EXCEPTION)
            finally:
                client.stop.set()
                pool.shutdown(wait=True, cancel_futures=True)
        for answer in answers:
            if not answer.cancelled():
                answer.result()

    def _ask_one(self, client: VisionClient, key: bytes, jpeg: bytes) -> None:
        try:
            text = client.ask(jpeg, understood)
        except RefusedError as refusal:
            self._refuse(client, key, refusal)
        except (EncoderError, CapReachedError):
            client.stop.set()  # before another poster is begun
            raise
        else:
            if text is not None:
                self._keep(key, text)

    def _keep(self, key: bytes, text: PosterText) -> None:
        with self._lock:
            self._read[key], self._has_read, self._n_in_a_row = text, True, 0
        self._budget.count_poster()

    def _refuse(self, client: VisionClient, key: bytes, refusal: RefusedError) -> None:
        """Keep a refusal of one poster.

        Raises:
            EncoderError: It may be one of every poster.
        """
        with self._lock:
            if not refusal.is_certain and not self._has_read:
                client.stop.set()
                raise EncoderError(str(refusal)) from None
            self._read[key] = Refusal(reason=str(refusal))
            self._n_in_a_row += 1
            if self._n_in_a_row < _MOST_IN_A_ROW:
                return
            client.stop.set()
        raise EncoderError(f"{_MOST_IN_A_ROW} posters were refused one after another, the last so: {refusal}") from None


@cache
def process_budget() -> Budget:
    """Return the budget that all engines of this process share."""
    return Budget()


def understood(said: str) -> PosterText:
    """Return the words of an answer.

    Raises:
        PassingError: It is not the JSON that was asked for.
    """
    fence = _FENCE.fullmatch(said)
    try:
        data = json.loads(fence[1] if fence else said)
    except (ValueError, RecursionError):
        raise garbled(said) from None
    lines = data.get("lines") if isinstance(data, dict) else None
    if not isinstance(lines, list) or not all(isinstance(line, str) for line in lines):
        raise garbled(said)
    rows = [words for words in (line.split() for line in lines) if words]
    return PosterText(words=tuple(Word(text=word, line=i) for i, words in enumerate(rows) for word in words))


def _jpeg(image: RGBImage, side: int) -> bytes:
    """Return the image as JPEG without metadata, its longer side at most ``side``."""
    if max(image.size) > side:
        image = image.copy()
        image.thumbnail((side, side))
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=_QUALITY, comment=b"", exif=b"", icc_profile=None)
    return buffer.getvalue()
