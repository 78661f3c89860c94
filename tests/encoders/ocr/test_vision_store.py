"""VisionEngine through the cache: no answer that was paid for is lost, no poster stops a catalogue for ever."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image

from encoders.pictures import PosterBox, encoded
from reeltag.encoders.ocr import vision
from reeltag.encoders.ocr.contract import ReadingLog, StepwiseEngine
from reeltag.encoders.ocr.vision import VisionConfig, VisionEngine
from reeltag.encoders.ocr.vision_client import Budget
from reeltag.encoders.store import FeatureStore
from reeltag.errors import EncoderError

from .endpoint import Endpoint, Reply, Request, lines, refused, said, serving

pytest.importorskip("httpx", reason="needs the extra 'vision'")
pytestmark = pytest.mark.allow_hosts(["127.0.0.1"])

N = 12
IDS = [f"t{number:02}" for number in range(N)]
POSTERS = PosterBox({title_id: encoded(Image.new("RGB", (40, 60), (20 * i, 0, 0))) for i, title_id in enumerate(IDS)})


@pytest.fixture
def endpoint() -> Iterator[Endpoint]:
    with serving() as endpoint:
        endpoint.answer = lambda request: lines(f"film {number_of(request)}")
        yield endpoint


def number_of(request: Request) -> int:
    return round(request.image.getpixel((5, 5))[0] / 20)


def engine_of(endpoint: Endpoint, max_calls: int = 1000, parallel: int = 4) -> VisionEngine:
    """Return the engine of a new run."""
    config = VisionConfig(model="m", base_url=endpoint.url, max_calls=max_calls, parallel=parallel, attempts=2)
    engine = VisionEngine("m", config, budget=Budget(), pause=lambda stop, seconds: None)
    assert isinstance(engine, StepwiseEngine)
    return engine


@pytest.mark.parametrize("parallel", [1, 4])
def test_every_run_advances_by_its_cap(endpoint: Endpoint, tmp_path: Path, parallel: int) -> None:
    store = FeatureStore(tmp_path)
    for n_done in (5, 10):
        kept = r"cap max_calls = 5 \(5 posters were read .*; 5 posters of this run are kept, and a repeated run goes on"
        with pytest.raises(EncoderError, match=kept):
            store.read_words(engine_of(endpoint, 5, parallel), POSTERS, IDS)
        assert len(endpoint.requests) == n_done
    found = store.read_poster_texts(engine_of(endpoint, 5, parallel), POSTERS, IDS)
    assert found == [f"film {number}" for number in range(N)]
    assert len(endpoint.requests) == N


def test_ctrl_c_keeps_what_was_paid_for(endpoint: Endpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    third = threading.Event()

    def answer(request: Request) -> Reply:
        if len(endpoint.requests) >= 3:
            third.set()
        return lines(f"film {number_of(request)}")

    def interrupted(answers: object, return_when: str) -> None:
        third.wait(5)
        raise KeyboardInterrupt

    endpoint.answer = answer
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(vision, "wait", interrupted)
        FeatureStore(tmp_path).read_words(engine_of(endpoint, parallel=2), POSTERS, IDS)
    n_paid = len(endpoint.requests)
    assert n_paid >= 3
    found = FeatureStore(tmp_path).read_poster_texts(engine_of(endpoint), POSTERS, IDS)
    assert found == [f"film {number}" for number in range(N)]
    assert len(endpoint.requests) == N, "none was asked twice"


def test_a_failing_endpoint_keeps_what_was_read(endpoint: Endpoint, tmp_path: Path) -> None:
    endpoint.replies = [lines("A"), lines("B"), refused(401, "expired")]
    with pytest.raises(EncoderError, match=r"status 401, 'expired'.*; 2 posters of this run are kept"):
        FeatureStore(tmp_path).read_words(engine_of(endpoint, parallel=1), POSTERS, IDS)
    log = ReadingLog()
    FeatureStore(tmp_path).read_words(engine_of(endpoint), POSTERS, IDS, log=log)
    assert log == ReadingLog(n_read=N - 2)


@pytest.mark.parametrize(
    ("reply", "why"),
    [
        (said(None, finish_reason="content_filter"), "finish_reason 'content_filter'"),
        (said('{"lines": ["A', finish_reason="length"), "cut off at 400 tokens"),
        (said("I see a poster"), "'I see a poster' (given up at attempt 2)"),
    ],
)
def test_a_poster_that_is_always_refused_stops_nothing(
    endpoint: Endpoint, tmp_path: Path, reply: Reply, why: str
) -> None:
    endpoint.answer = lambda request: reply if number_of(request) == 7 else lines("A")
    for _ in range(2):
        log = ReadingLog()
        found = FeatureStore(tmp_path).read_poster_texts(engine_of(endpoint), POSTERS, IDS, log=log)
        assert found == ["A"] * 7 + [None] + ["A"] * 4
        assert list(log.refused) == ["t07"]
        assert why in log.refused["t07"]
        n_asked = len(endpoint.requests)
    assert log.n_read == 0
    (path,) = tmp_path.rglob("refused-*.safetensors")
    path.unlink()
    endpoint.answer = lambda request: lines("at last")
    found = FeatureStore(tmp_path).read_poster_texts(engine_of(endpoint), POSTERS, IDS)
    assert (found[7], len(endpoint.requests)) == ("at last", n_asked + 1)
