"""VisionEngine against an endpoint on this machine."""

from __future__ import annotations

import dataclasses
import json
import os
import socket
import sys
import threading
from collections.abc import Iterator
from email.utils import formatdate
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from reeltag.encoders.ocr import vision
from reeltag.encoders.ocr.vision import PROMPT, VisionConfig, VisionEngine, process_budget, understood
from reeltag.encoders.ocr.vision_client import Budget, PassingError
from reeltag.encoders.ocr.vision_settings import KEY_VARIABLE, VARIABLES
from reeltag.encoders.ocr.words import Refusal, Word
from reeltag.errors import ConfigError, EncoderError, MissingExtraError

from .endpoint import Endpoint, Reply, Request, lines, refused, said, serving

pytest.importorskip("httpx", reason="needs the extra 'vision'")
pytestmark = pytest.mark.allow_hosts(["127.0.0.1"])

KEY = "sk-very-secret-0123456789"
MODEL = "test/model-1.5"
NOW = 1_700_000_000.0


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in [variable for variable in os.environ if variable.startswith("REELTAG_VISION_")]:
        monkeypatch.delenv(variable)
    monkeypatch.setenv("REELTAG_VISION_KEY", KEY)


@pytest.fixture
def endpoint() -> Iterator[Endpoint]:
    with serving() as endpoint:
        yield endpoint


class Patience:
    """Remembers waits instead of waiting."""

    def __init__(self) -> None:
        self.waits: list[float] = []

    def __call__(self, stop: threading.Event, seconds: float) -> None:
        self.waits.append(seconds)


def engine_for(
    url: str, patience: Patience | None = None, budget: Budget | None = None, **settings: Any
) -> VisionEngine:
    config = VisionConfig(model=MODEL, base_url=url, **{"timeout_s": 5.0, **settings})
    return VisionEngine(MODEL, config, budget=budget or Budget(), pause=patience or Patience(), now=lambda: NOW)


def poster(number: int = 0, size: tuple[int, int] = (64, 96)) -> Image.Image:
    return Image.new("RGB", size, (20 * number, 0, 0))


def number_of(request: Request) -> int:
    return round(request.image.getpixel((5, 5))[0] / 20)


def message_of(engine: VisionEngine, n: int = 1) -> str:
    with pytest.raises(EncoderError) as caught:
        engine.read([poster(i) for i in range(n)])
    assert KEY not in str(caught.value)
    return str(caught.value)


def refusal_of(engine: VisionEngine) -> str:
    (refusal,) = engine.read([poster()])
    assert isinstance(refusal, Refusal)
    assert KEY not in refusal.reason
    return refusal.reason


# ---------------------------------------------------------------- what is sent, what is read


def test_a_request_holds_prompt_image_model_and_key(endpoint: Endpoint) -> None:
    engine_for(endpoint.url, side=200, max_tokens=77).read([poster(6, (300, 450))])
    (request,) = endpoint.requests
    assert request.path == "/v1/chat/completions"
    assert request.headers["authorization"] == f"Bearer {KEY}"
    assert {name: value for name, value in request.body.items() if name != "messages"} == {
        "model": MODEL,
        "temperature": 0,
        "max_tokens": 77,
        "response_format": {"type": "json_object"},
    }
    assert request.parts[0] == {"type": "text", "text": PROMPT}
    assert request.parts[1]["type"] == "image_url"
    assert request.image.format == "JPEG"
    assert request.image.size == (133, 200)
    assert number_of(request) == 6


def test_a_small_image_keeps_its_size(endpoint: Endpoint) -> None:
    engine_for(endpoint.url).read([poster(0, (50, 70))])
    assert endpoint.requests[0].image.size == (50, 70)


def test_metadata_stay_here(endpoint: Endpoint) -> None:
    image = poster()
    exif = Image.Exif()
    exif[0x010E] = "at home"
    image.info |= {"comment": b"mine", "exif": exif.tobytes(), "icc_profile": b"profile"}
    engine_for(endpoint.url).read([image])
    assert not {"comment", "exif", "icc_profile"} & set(endpoint.requests[0].image.info)
    assert b"at home" not in endpoint.requests[0].jpeg


def test_the_caller_keeps_its_image(endpoint: Endpoint) -> None:
    image = poster(0, (300, 450))
    engine_for(endpoint.url, side=64).read([image])
    assert image.size == (300, 450)


def test_reasoning_effort_is_sent_when_set(endpoint: Endpoint) -> None:
    engine_for(endpoint.url, reasoning_effort="none", max_tokens=77).read([poster()])
    body = endpoint.requests[0].body
    assert (body["reasoning_effort"], body["max_completion_tokens"]) == ("none", 77)
    assert not {"temperature", "max_tokens"} & set(body)


def test_words_know_their_lines(endpoint: Endpoint) -> None:
    endpoint.replies = [lines("  ", " THE  BIG\tSLEEP ", "", "Müller")]
    (text,) = engine_for(endpoint.url).read([poster()])
    assert text.words == (
        Word(text="THE", line=0),
        Word(text="BIG", line=0),
        Word(text="SLEEP", line=0),
        Word(text="Müller", line=1),
    )
    assert text.text == "THE BIG SLEEP Müller"


@pytest.mark.parametrize("texts", [(), ("", "  ")])
def test_no_text_is_no_words(endpoint: Endpoint, texts: tuple[str, ...]) -> None:
    endpoint.replies = [lines(*texts)]
    (text,) = engine_for(endpoint.url).read([poster()])
    assert text.words == ()


def test_no_images_ask_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("REELTAG_VISION_KEY")
    assert VisionEngine(MODEL).read([]) == []


def test_a_local_server_needs_no_key(endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("REELTAG_VISION_KEY")
    engine_for(endpoint.url).read([poster()])
    assert "authorization" not in endpoint.requests[0].headers


def test_a_local_server_is_not_asked_through_a_proxy(endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    assert engine_for(endpoint.url, attempts=1).read([poster()])[0].text == "THE END"


def test_the_key_may_be_in_another_variable(endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GEMINI_API_KEY", " other-key\n")
    engine_for(endpoint.url + "/", key_variable="GEMINI_API_KEY").read([poster()])
    assert endpoint.requests[0].headers["authorization"] == "Bearer other-key"
    assert endpoint.requests[0].path == "/v1/chat/completions"


@pytest.mark.parametrize("fence", ["```json\n{}\n```", "```\n{}\n```", "\n ```json\n{}```\n"])
def test_a_fence_is_taken_off(fence: str) -> None:
    assert understood(fence.replace("{}", '{"lines": ["A B"]}')).text == "A B"


@pytest.mark.parametrize(
    "answer",
    [
        "",
        "THE END",
        "[]",
        "null",
        '"x"',
        '{"lines": "A"}',
        '{"lines": [1]}',
        '{"lines": [null]}',
        '{"words": []}',
        '{"lines": ["A"',
        '{"lines": []} done',
        "[" * 100_000,
    ],
    ids=range(12),
)
def test_anything_but_the_json_is_garbled(answer: str) -> None:
    with pytest.raises(PassingError):
        understood(answer)


# ---------------------------------------------------------------- batches


def test_posters_are_asked_in_parallel_and_answered_in_order(endpoint: Endpoint) -> None:
    together = threading.Barrier(4)

    def answer(request: Request) -> Reply:
        together.wait(timeout=5)
        return lines(f"film {number_of(request)}")

    endpoint.answer = answer
    texts = engine_for(endpoint.url, parallel=4).read([poster(i) for i in range(8)])
    assert [text.text for text in texts] == [f"film {i}" for i in range(8)]


def test_the_same_poster_is_asked_once(endpoint: Endpoint) -> None:
    endpoint.answer = lambda request: lines(str(number_of(request)))
    engine = engine_for(endpoint.url)
    assert [text.text for text in engine.read([poster(1), poster(2), poster(1)])] == ["1", "2", "1"]
    assert [text.text for text in engine.read([poster(2), poster(3)])] == ["2", "3"]
    assert len(endpoint.requests) == 3


def test_a_failed_batch_repeats_only_what_was_not_read(endpoint: Endpoint) -> None:
    broken = {2}
    endpoint.answer = lambda r: refused(403, "no more") if number_of(r) in broken else lines(str(number_of(r)))
    engine = engine_for(endpoint.url, parallel=1)
    images = [poster(i) for i in range(5)]
    with pytest.raises(EncoderError, match="status 403, 'no more'"):
        engine.read(images)
    assert [number_of(r) for r in endpoint.requests] == [0, 1, 2]  # those after the failure were not sent
    broken.clear()
    assert [text.text for text in engine.read(images)] == ["0", "1", "2", "3", "4"]
    assert [number_of(r) for r in endpoint.requests] == [0, 1, 2, 2, 3, 4]


def test_ctrl_c_sends_no_further_requests(endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch) -> None:
    under_way, stopped = threading.Event(), threading.Event()

    def answer(request: Request) -> Reply:
        under_way.set()
        stopped.wait(5)
        return lines(str(number_of(request)))

    def interrupted(answers: object, return_when: str) -> None:
        under_way.wait(5)
        threading.Timer(0.05, stopped.set).start()
        raise KeyboardInterrupt

    endpoint.answer = answer
    engine = engine_for(endpoint.url, parallel=1)
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(vision, "wait", interrupted)
        engine.read([poster(i) for i in range(5)])
    assert len(endpoint.requests) == 1
    assert engine.read([poster(0)])[0].text == "0"  # what was under way is not lost
    assert len(endpoint.requests) == 1


def test_ctrl_c_ends_a_wait_between_attempts(endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch) -> None:
    waiting = threading.Event()

    def pause(stop: threading.Event, seconds: float) -> None:
        waiting.set()
        assert stop.wait(5)

    def interrupted(answers: object, return_when: str) -> None:
        waiting.wait(5)
        raise KeyboardInterrupt

    endpoint.answer = lambda request: refused(503)
    config = VisionConfig(model=MODEL, base_url=endpoint.url, parallel=1)
    monkeypatch.setattr(vision, "wait", interrupted)
    with pytest.raises(KeyboardInterrupt):
        VisionEngine(MODEL, config, budget=Budget(), pause=pause).read([poster(i) for i in range(3)])
    assert len(endpoint.requests) == 1


# ---------------------------------------------------------------- failures


@pytest.mark.parametrize("status", [408, 409, 429, 500, 502, 503, 529])
def test_passing_failures_are_tried_again(endpoint: Endpoint, status: int) -> None:
    endpoint.replies = [refused(status), refused(status)]
    patience = Patience()
    assert engine_for(endpoint.url, patience, backoff_s=8).read([poster()])[0].text == "THE END"
    first, second = patience.waits
    assert 4 <= first <= 8
    assert 8 <= second <= 16


def test_waits_double_up_to_a_minute_and_end(endpoint: Endpoint) -> None:
    endpoint.answer = lambda request: refused(500, "broken")
    patience = Patience()
    told = message_of(engine_for(endpoint.url, patience, attempts=9))
    assert len(endpoint.requests) == 9
    for wait, longest in zip(patience.waits, [1, 2, 4, 8, 16, 32, 60, 60], strict=True):
        assert longest / 2 <= wait <= longest
    assert told == f"model '{MODEL}' at {endpoint.url}: status 500, 'broken' (given up at attempt 9)"


@pytest.mark.parametrize(
    ("asked", "wait"), [("7", 7), ("12.5", 12.5), (formatdate(NOW + 30, usegmt=True), 30), ("300", 300)]
)
def test_a_server_may_ask_to_wait(endpoint: Endpoint, asked: str, wait: float) -> None:
    endpoint.replies = [refused(429, headers={"Retry-After": asked})]
    patience = Patience()
    engine_for(endpoint.url, patience).read([poster()])
    assert patience.waits == [wait]


@pytest.mark.parametrize("asked", ["", "soon", "-5", "nan", "1e3", formatdate(NOW - 30, usegmt=True), "Mon, 99"])
def test_an_odd_wish_to_wait_is_ignored(endpoint: Endpoint, asked: str) -> None:
    endpoint.replies = [refused(429, headers={"Retry-After": asked})]
    patience = Patience()
    engine_for(endpoint.url, patience).read([poster()])
    assert len(patience.waits) == 1
    assert patience.waits[0] <= 1


def test_a_server_that_asks_for_an_hour_is_given_up(endpoint: Endpoint) -> None:
    endpoint.replies = [refused(429, "daily limit", {"Retry-After": "3600"})]
    assert "status 429, 'daily limit', wait 3,600 s (given up at attempt 1)" in message_of(engine_for(endpoint.url))


@pytest.mark.parametrize("status", [400, 401, 403, 404, 422, 302])
def test_a_refusal_says_at_once_what_to_check(endpoint: Endpoint, status: int) -> None:
    endpoint.replies = [refused(status, f"bad key {KEY}!\n" + "x" * 500)]
    told = message_of(engine_for(endpoint.url))
    assert len(endpoint.requests) == 1
    assert f"status {status}, 'bad key [key]! xxx" in told
    assert "environment variable REELTAG_VISION_KEY" in told
    assert "REELTAG_VISION_URL" in told
    assert MODEL in told
    assert len(told) < 500


@pytest.mark.parametrize(
    ("body", "told"),
    [
        (b'[{"error": {"code": 400, "message": "in a list"}}]', "'in a list'"),
        (b'{"error": "plain"}', "'plain'"),
        (b"<h1>Bad \xff gateway</h1>", "'<h1>Bad \ufffd gateway</h1>'"),
        (b"[]", "'[]'"),
        (b"\x1b[31m", "'\\x1b[31m'"),
        (b"", "''"),
    ],
)
def test_messages_of_servers_are_found(endpoint: Endpoint, body: bytes, told: str) -> None:
    endpoint.replies = [Reply(400, body)]
    assert f"status 400, {told};" in message_of(engine_for(endpoint.url))


def test_a_late_answer_is_tried_again_then_given_up(endpoint: Endpoint) -> None:
    def answer(request: Request) -> Reply:
        endpoint.gone.wait(5)
        return lines()

    endpoint.answer = answer
    budget = Budget()
    told = message_of(engine_for(endpoint.url, budget=budget, timeout_s=0.05, attempts=2, price_in=1))
    assert "no complete answer within 0.05 s (REELTAG_VISION_TIMEOUT_S) (given up at attempt 2)" in told
    assert budget.calls == 2
    assert budget.cost == pytest.approx(2 * 2000e-6)  # it may have been charged


def test_a_dripping_answer_is_late_too(endpoint: Endpoint) -> None:
    endpoint.answer = lambda request: Reply(body=b" " * 10_000, drip_s=0.01)
    assert "no complete answer within 0.1 s" in message_of(engine_for(endpoint.url, timeout_s=0.1, attempts=1))


def test_an_endless_answer_is_cut_off(endpoint: Endpoint) -> None:
    endpoint.answer = lambda request: Reply(body=b" " * 3_000_000)
    assert "more than 1,048,576 bytes" in message_of(engine_for(endpoint.url, attempts=1))


def test_nobody_listens() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    patience, budget = Patience(), Budget()
    engine = engine_for(f"http://127.0.0.1:{port}", patience, budget, attempts=3, price_in=1)
    assert "no connection, " in message_of(engine)
    assert len(patience.waits) == 2
    assert budget.cost == 0


def test_a_broken_connection_is_tried_again(endpoint: Endpoint) -> None:
    endpoint.replies = [Reply(body=b"short", headers={"Content-Length": "50", "Connection": "close"})]
    assert engine_for(endpoint.url, timeout_s=0.2).read([poster()])[0].text == "THE END"
    endpoint.replies = [Reply(body=b"no gzip", headers={"Content-Encoding": "gzip"})]
    assert engine_for(endpoint.url).read([poster()])[0].text == "THE END"


def test_a_garbled_answer_is_forgiven_once(endpoint: Endpoint) -> None:
    endpoint.replies = [said("I see a poster"), refused(500)]
    assert engine_for(endpoint.url).read([poster()])[0].text == "THE END"
    endpoint.replies = [said("I see"), refused(500), said(f"the {KEY} poster " + "y" * 200), lines("never asked")]
    told = refusal_of(engine_for(endpoint.url))
    assert len(endpoint.replies) == 1
    assert f"model '{MODEL}'" in told
    assert 'the answer must be {"lines": ["…"]}; got \'the [key] poster yyy' in told
    assert told.count("y") < 80
    assert "(given up at attempt 3)" in told


@pytest.mark.parametrize(
    ("reply", "told"),
    [
        (said(None, refusal="I cannot help"), "got 'I cannot help'"),
        (said(None, finish_reason="content_filter"), "got \"nothing (finish_reason 'content_filter')\""),
        (said([{"type": "text"}]), "got \"nothing (finish_reason 'stop')\""),
        (Reply(body=b'{"choices": []}'), "got '{\"choices\": []}'"),
    ],
)
def test_a_poster_may_be_refused(endpoint: Endpoint, reply: Reply, told: str) -> None:
    endpoint.answer = lambda request: reply if number_of(request) == 1 else lines("A")
    engine = engine_for(endpoint.url, parallel=1)
    first, second, third = engine.read([poster(i) for i in range(3)])
    assert (first.text, third.text) == ("A", "A")
    assert told in second.reason
    assert len(endpoint.requests) == 4


@pytest.mark.parametrize(
    ("reply", "told"),
    [
        (Reply(body=b"<html>"), "got '<html>'"),
        (Reply(body=b"[]"), "got '[]'"),
        (Reply(body=b'{"choices": [{"message": null}]}'), 'got \'{"choices": [{"message": null}]}\''),
    ],
)
def test_answers_of_something_else_are_errors(endpoint: Endpoint, reply: Reply, told: str) -> None:
    endpoint.answer = lambda request: reply
    assert told in message_of(engine_for(endpoint.url))
    assert len(endpoint.requests) == 2


@pytest.mark.parametrize("status", [400, 413, 422])
def test_a_rejected_request_is_of_the_poster_where_others_were_read(endpoint: Endpoint, status: int) -> None:
    endpoint.answer = lambda r: refused(status, "bad image") if number_of(r) == 1 else lines("A")
    engine = engine_for(endpoint.url, parallel=1)
    first, second = engine.read([poster(0), poster(1)])
    assert first.text == "A"
    assert f"status {status}, 'bad image'" in second.reason


def test_a_content_filter_is_of_the_poster(endpoint: Endpoint) -> None:
    body = {"error": {"message": "filtered", "code": "content_filter"}}
    endpoint.replies = [Reply(400, json.dumps(body).encode())]
    first, second = engine_for(endpoint.url, parallel=1).read([poster(0), poster(1)])
    assert "status 400, 'filtered'" in first.reason
    assert second.text == "THE END"


def test_refusals_one_after_another_stop_the_run(endpoint: Endpoint) -> None:
    endpoint.answer = lambda request: said("", finish_reason="length")
    engine, found = engine_for(endpoint.url, parallel=1), {}
    with pytest.raises(EncoderError, match=r"5 posters were refused one after another, the last so: .* cut off at 400"):
        engine.read_into([poster(i) for i in range(9)], found)
    assert len(endpoint.requests) == 5
    assert sorted(found) == [0, 1, 2, 3, 4]
    endpoint.replies = [lines("A")]  # one that is read, and the count begins again
    with pytest.raises(EncoderError, match="refused one after another"):
        engine.read([poster(i) for i in (5, 6, 7, 8, 9, 10, 11)])
    assert len(endpoint.requests) == 11


def test_an_answer_that_is_cut_off_names_the_setting(endpoint: Endpoint) -> None:
    endpoint.replies = [said('{"lines": ["A', finish_reason="length")]
    told = refusal_of(engine_for(endpoint.url))
    assert "cut off at 400 tokens; REELTAG_VISION_MAX_TOKENS allows longer ones" in told
    assert "REELTAG_VISION_REASONING_EFFORT=none" in told


# ---------------------------------------------------------------- caps


def test_requests_are_capped_repeated_ones_counted(endpoint: Endpoint) -> None:
    endpoint.replies = [refused(500)]
    budget = Budget()
    engine = engine_for(endpoint.url, budget=budget, max_calls=3, parallel=1)
    assert message_of(engine, 5) == (
        f"model '{MODEL}': the next request could go above the cap max_calls = 3 (2 posters were read with 3 requests);"
        " REELTAG_VISION_MAX_CALLS raises the cap"
    )
    assert len(endpoint.requests) == 3
    assert len(engine.read([poster(0), poster(1)])) == 2  # still known


def test_cost_is_added_up_from_the_answers_and_capped(endpoint: Endpoint) -> None:
    endpoint.answer = lambda request: lines("A", usage={"prompt_tokens": 3000, "completion_tokens": 100})
    budget = Budget()
    prices = {"price_in": 2.0, "price_out": 10.0, "max_tokens": 200, "parallel": 1}
    engine = engine_for(endpoint.url, budget=budget, max_cost=0.0245, **prices)
    told = message_of(engine, 9)
    # one poster costs 0.006 + 0.001; one more could cost 0.006 + 0.002, the longest answer allowed
    assert len(endpoint.requests) == 3
    assert budget.cost == pytest.approx(0.021)
    assert (
        "max_cost = 0.0245 (3 posters were read with 3 requests, 0.0210 spent, and the next could cost 0.0080)" in told
    )
    assert "REELTAG_VISION_MAX_COST raises the cap" in told


@pytest.mark.parametrize("parallel", [1, 8])
def test_requests_under_way_count_towards_the_cap(endpoint: Endpoint, parallel: int) -> None:
    endpoint.answer = lambda request: lines("A", usage={"prompt_tokens": 2000, "completion_tokens": 1000})
    budget = Budget()
    settings = {"price_in": 1.0, "price_out": 1.0, "max_tokens": 1000, "max_cost": 0.01, "parallel": parallel}
    message_of(engine_for(endpoint.url, budget=budget, **settings), 8)
    assert budget.calls == 3
    assert budget.cost == pytest.approx(0.009)


@pytest.mark.parametrize(
    "usage",
    [
        None,
        [],
        {},
        {"prompt_tokens": 5},
        {"prompt_tokens": "5", "completion_tokens": 1},
        {"prompt_tokens": -5, "completion_tokens": 1},
        {"prompt_tokens": True, "completion_tokens": 1.5},
    ],
)
def test_an_answer_without_readable_counts_costs_the_most_it_could(endpoint: Endpoint, usage: object) -> None:
    endpoint.replies = [lines("A", usage=usage)]
    budget = Budget()
    engine_for(endpoint.url, budget=budget, price_in=1.0, price_out=10.0).read([poster()])
    assert budget.cost == pytest.approx(2000e-6 + 4000e-6)


def test_refusals_cost_nothing_and_garbled_answers_do(endpoint: Endpoint) -> None:
    counts = {"prompt_tokens": 1000, "completion_tokens": 0}
    endpoint.replies = [refused(500), said("hm", usage=counts), lines("A", usage=counts)]
    budget = Budget()
    engine_for(endpoint.url, budget=budget, price_in=1.0).read([poster()])
    assert budget.cost == pytest.approx(0.002)
    assert (budget.calls, budget.posters) == (3, 1)


def test_engines_share_the_budget_of_the_process(endpoint: Endpoint) -> None:
    process_budget.cache_clear()
    config = VisionConfig(model=MODEL, base_url=endpoint.url, max_calls=1)
    VisionEngine(MODEL, config).read([poster()])
    with pytest.raises(EncoderError, match="max_calls = 1 "):
        VisionEngine(MODEL, config).read([poster()])
    process_budget.cache_clear()


# ---------------------------------------------------------------- key, name, fingerprint


def test_the_fingerprint_follows_what_changes_words_only(monkeypatch: pytest.MonkeyPatch) -> None:
    config = VisionConfig(model=MODEL)
    fingerprint = VisionEngine(MODEL, config).fingerprint
    assert fingerprint.startswith("vision-")
    same = {"timeout_s": 1.0, "attempts": 2, "max_calls": 1, "price_in": 1.0, "parallel": 1, "max_tokens": 5}
    for name, value in (same | {"key_variable": "OTHER", "base_url": config.base_url + "/"}).items():
        assert VisionEngine(MODEL, dataclasses.replace(config, **{name: value})).fingerprint == fingerprint, name
    monkeypatch.setenv("REELTAG_VISION_KEY", "another")
    assert VisionEngine(MODEL, config).fingerprint == fingerprint
    others = {"side": 512, "base_url": "https://other.example/v1", "reasoning_effort": "low"}
    changed = [dataclasses.replace(config, **{name: value}) for name, value in others.items()]
    different = {VisionEngine(MODEL, other).fingerprint for other in changed}
    different.add(VisionEngine("other", VisionConfig(model="other")).fingerprint)
    monkeypatch.setattr(vision, "PROMPT", "read")
    different.add(VisionEngine(MODEL, config).fingerprint)
    assert len(different | {fingerprint}) == 6


def test_the_name_is_fit_for_files() -> None:
    assert VisionEngine("google/gemini-2.5:x").name == "vision-google-gemini-2-5-x"


def test_the_config_must_be_of_the_same_model() -> None:
    with pytest.raises(ConfigError, match="must be the engine's model 'b'; got 'a'"):
        VisionEngine("b", VisionConfig(model="a"))


def test_the_key_is_nowhere_in_the_settings() -> None:
    engine = VisionEngine(MODEL)
    assert KEY not in repr(engine.config) + engine.fingerprint + repr(vars(engine))


def test_a_missing_key_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("REELTAG_VISION_KEY")
    with pytest.raises(EncoderError, match=r"environment variable REELTAG_VISION_KEY must hold the key .* not set"):
        VisionEngine(MODEL).read([poster()])


def test_a_key_that_cannot_be_sent_is_not_shown(endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REELTAG_VISION_KEY", f"{KEY}\n{KEY}")
    assert "ASCII characters without blanks" in message_of(engine_for(endpoint.url))
    assert endpoint.requests == []


def test_the_extra_is_named_when_httpx_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "httpx", None)
    engine = VisionEngine(MODEL)
    assert engine.fingerprint  # what is cached can still be used
    with pytest.raises(MissingExtraError, match=r"engine 'vision:test/model-1.5' needs .*'reeltag\[vision\]'"):
        engine.read([poster()])


def test_a_proxy_that_cannot_be_used_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALL_PROXY", "gopher://127.0.0.1:9")
    with pytest.raises(EncoderError, match="no connection can be prepared"):
        VisionEngine(MODEL).read([poster()])


# ---------------------------------------------------------------- settings


def test_settings_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = {
        "URL": "http://far.example:8000/v1",
        "ALLOW_HTTP": "1",
        "KEY_VARIABLE": "REELTAG_VISION_KEY_2",
        "KEY_2": "secret",
        "TIMEOUT_S": "2.5",
        "ATTEMPTS": "3",
        "BACKOFF_S": "0",
        "MAX_TOKENS": "800",
        "REASONING_EFFORT": "none",
        "SIDE": "512",
        "MAX_CALLS": "20",
        "MAX_COST": "1.5",
        "PRICE_IN": "0.1",
        "PRICE_OUT": "0.4",
        "PARALLEL": "2",
    }
    for name, value in settings.items():
        monkeypatch.setenv(f"REELTAG_VISION_{name}", value)
    assert VisionEngine(MODEL).config == VisionConfig(
        model=MODEL,
        base_url="http://far.example:8000/v1",
        allow_http=True,
        key_variable="REELTAG_VISION_KEY_2",
        timeout_s=2.5,
        attempts=3,
        backoff_s=0,
        max_tokens=800,
        reasoning_effort="none",
        side=512,
        max_calls=20,
        max_cost=1.5,
        price_in=0.1,
        price_out=0.4,
        parallel=2,
    )


def test_every_variable_is_documented() -> None:
    page = (Path(__file__).parents[3] / "docs" / "vision.md").read_text(encoding="utf-8")
    for variable in (KEY_VARIABLE, *VARIABLES.values()):
        assert f"`{variable}`" in page


def test_defaults_are_those_of_the_class() -> None:
    assert VisionConfig.from_environment(MODEL) == VisionConfig(model=MODEL)
    assert VisionConfig(model=MODEL).endpoint == (
        "https://generativelanguage.googleapis.com/v1beta/openai/chat/completions"
    )


@pytest.mark.parametrize(
    ("name", "value", "rule"),
    [
        ("MAX_CALLS", "many", "must be a whole number; got 'many'"),
        ("MAX_CALLS", "", "must be a whole number; got ''"),
        ("MAX_CALLS", "1_000", "must be a whole number; got '1_000'"),
        ("MAX_CALLS", "٣", "must be a whole number; got '٣'"),
        ("MAX_CALLS", "-1", "VisionConfig.max_calls must be between 0 and 1e+07; got -1"),
        ("ATTEMPTS", "0", "VisionConfig.attempts must be between 1 and 20; got 0"),
        ("ATTEMPTS", "2.0", "must be a whole number; got '2.0'"),
        ("ATTEMPTS", "9" * 5000, "must be a whole number; got '999"),
        ("MAX_COST", "12,5", "must be a number such as 12.5; got '12,5'"),
        ("MAX_COST", "nan", "must be a number such as 12.5; got 'nan'"),
        ("MAX_COST", "1e400", "must be a number such as 12.5; got '1e400'"),
        ("MAX_COST", "-0.5", "VisionConfig.max_cost must be between 0 and 1e+06; got -0.5"),
        ("TIMEOUT_S", "inf", "must be a number such as 12.5; got 'inf'"),
        ("TIMEOUT_S", "0", "VisionConfig.timeout_s must be between 0.01 and 3600; got 0.0"),
        ("SIDE", "63", "VisionConfig.side must be between 64 and 4096; got 63"),
        ("ALLOW_HTTP", "yes", "must be 0 or 1; got 'yes'"),
        ("REASONING_EFFORT", "much", "VisionConfig.reasoning_effort must be one of"),
        ("URL", "ftp://a.example", "must be an http(s) address with a host; got 'ftp://a.example'"),
        ("URL", "", "must be an http(s) address with a host; got ''"),
        ("URL", "https://", "must be an http(s) address with a host"),
        ("URL", "https://a.example:port", "must be an http(s) address with a host"),
        ("URL", "https://[::1", "must be an http(s) address with a host"),
        ("URL", "https://a b.example", "must be an http(s) address with a host"),
    ],
)
def test_a_wrong_variable_is_named_with_rule_and_value(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, rule: str
) -> None:
    monkeypatch.setenv(f"REELTAG_VISION_{name}", value)
    with pytest.raises(ConfigError) as caught:
        VisionEngine(MODEL)
    assert f"REELTAG_VISION_{name}" in str(caught.value)
    assert rule in str(caught.value)
    assert len(str(caught.value)) < 300


def test_an_unknown_variable_is_an_error_without_its_value(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REELTAG_VISION_MAXCOST", KEY)
    with pytest.raises(ConfigError, match="unknown environment variable REELTAG_VISION_MAXCOST; known: ") as caught:
        VisionEngine(MODEL)
    assert "REELTAG_VISION_MAX_COST" in str(caught.value)
    assert KEY not in str(caught.value)


@pytest.mark.parametrize("place", ["https://user:{}@a.example", "https://a.example/v1?key={}", "https://a.example#{}"])
def test_a_key_in_the_address_is_refused_and_not_shown(place: str) -> None:
    with pytest.raises(ConfigError, match="must have no user name, password, query or fragment") as caught:
        VisionConfig(model=MODEL, base_url=place.format(KEY))
    assert KEY not in str(caught.value)


def test_a_key_instead_of_its_variable_is_refused_and_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REELTAG_VISION_KEY_VARIABLE", KEY)
    with pytest.raises(ConfigError, match=r"REELTAG_VISION_KEY_VARIABLE: .* not the key itself") as caught:
        VisionEngine(MODEL)
    assert KEY not in str(caught.value)


@pytest.mark.parametrize("model", ["", "a b", "é", "x" * 201, "a\n"])
def test_a_model_must_have_a_plain_name(model: str) -> None:
    with pytest.raises(ConfigError, match="model must be 1 to 200 ASCII characters"):
        VisionEngine(model)


def test_plain_http_stays_on_this_machine() -> None:
    for url in ("http://localhost:11434/v1", "http://127.0.0.1:8000/v1", "http://[::1]:8000/v1", "HTTP://LOCALHOST/v1"):
        assert VisionConfig(model=MODEL, base_url=url).is_local
    for url in (
        "http://a.example/v1",
        "http://localhost.a.example/v1",
        "http://127.0.0.1.a.example",
        "http://10.0.0.1",
    ):
        with pytest.raises(
            ConfigError, match=r"must begin with https:// for another machine; .*REELTAG_VISION_ALLOW_HTTP"
        ):
            VisionConfig(model=MODEL, base_url=url)
        assert not VisionConfig(model=MODEL, base_url=url, allow_http=True).is_local


def test_a_cap_by_cost_needs_a_price() -> None:
    with pytest.raises(
        ConfigError, match=r"REELTAG_VISION_MAX_COST\) needs REELTAG_VISION_PRICE_IN or REELTAG_VISION_PRICE_OUT"
    ):
        VisionConfig(model=MODEL, max_cost=1.0)
    assert VisionConfig(model=MODEL, max_cost=1.0, price_out=0.1).max_cost == 1.0


def test_the_answer_asked_for_is_the_answer_understood() -> None:
    example = PROMPT[PROMPT.index('{"lines": []}') :].rstrip(".")
    assert understood(example).words == ()
    assert json.loads(example) == {"lines": []}
