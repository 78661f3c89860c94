"""Word pieces and CLIP's patches on tiny random models, against transformers called by hand."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from reeltag.encoders.clip import ClipEncoder
from reeltag.encoders.contract import PatchEncoder, PieceEncoder
from reeltag.encoders.patches import averaged
from reeltag.encoders.sentence import SentenceEncoder
from reeltag.encoders.store import FeatureStore
from reeltag.encoders.transformer import TransformerEncoder
from reeltag.errors import EncoderError

from .pictures import picture
from .tiny import LIMIT, in_single_precision, save_bert, save_clip, save_clip_whole, save_sentence

transformers = pytest.importorskip("transformers", reason="needs the extra 'text'")

TEXTS = ["a film of love", "", "war", "the robot meets the killer of paris in the rain of the robot", "  "]
KINDS: dict[str, tuple[Callable[..., Path], type[Any]]] = {
    "bert": (save_bert, TransformerEncoder),
    "sentence": (save_sentence, SentenceEncoder),
    "clip": (save_clip, TransformerEncoder),
}


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("pieces")
    return {name: save(folder / name) for name, (save, _) in KINDS.items()} | {
        "clip-whole": save_clip_whole(folder / "clip-whole")
    }


@pytest.fixture(autouse=True)
def single_precision(monkeypatch: pytest.MonkeyPatch) -> None:
    in_single_precision(monkeypatch)


def opened(folders: dict[str, Path], name: str) -> Any:
    return KINDS[name][1](str(folders[name]), batch_size=2)


@torch.no_grad()
def states_by_hand(folder: Path, name: str, text: str) -> np.ndarray:
    """Return the last hidden states without padding: of the word pieces, and for CLIP of the last token before them."""
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    loader = transformers.CLIPTextModelWithProjection if name == "clip" else transformers.AutoModel
    network = loader.from_pretrained(folder).eval()
    tokens = tokenizer([text], truncation=True, max_length=LIMIT, return_tensors="pt")
    tower = network.text_model if name == "clip" else network
    states = tower(**tokens).last_hidden_state[0]
    pieces = states[1:-1].numpy()
    return np.concatenate([states[-1:].numpy(), pieces]) if name == "clip" else pieces


@pytest.mark.parametrize("name", KINDS)
def test_pieces_are_the_last_hidden_states(folders: dict[str, Path], name: str) -> None:
    encoder = opened(folders, name)
    assert isinstance(encoder, PieceEncoder)
    found = encoder.encode_pieces(TEXTS)
    assert [len(tokens) > 0 for tokens in found] == [True, False, True, True, False]
    for text, tokens in zip(TEXTS, found, strict=True):
        assert tokens.dtype == np.float16
        assert tokens.shape[1] == encoder.token_dim == 16
        if text.strip():
            np.testing.assert_allclose(tokens, states_by_hand(folders[name], name, text), atol=5e-3)


@pytest.mark.parametrize("name", KINDS)
def test_every_token_knows_its_place(folders: dict[str, Path], name: str) -> None:
    encoder = opened(folders, name)
    for text in (TEXTS[0], TEXTS[3]):
        spans = encoder.pieces(text)
        assert len(spans) == len(encoder.encode_pieces([text])[0])
        words = [text[start:end] for start, end in spans if end > start]
        assert words == text.split()[: len(words)]
        assert len(spans) - len(words) == (name == "clip")
        assert (spans[0][0] == spans[0][1]) == (name == "clip")
    assert len(encoder.pieces(TEXTS[3])) == LIMIT - (1 if name == "clip" else 2)


def test_the_token_of_the_whole_text_survives_a_limit(folders: dict[str, Path], tmp_path: Path) -> None:
    encoder = opened(folders, "clip")
    values, seen = FeatureStore(tmp_path).encode_pieces(encoder, [TEXTS[0], TEXTS[3]], 2).read()
    assert seen.all()
    for row, text in enumerate((TEXTS[0], TEXTS[3])):
        expected = states_by_hand(folders["clip"], "clip", text)
        np.testing.assert_allclose(values[row], expected[:2], atol=5e-3)
        assert [text[a:b] for a, b in encoder.pieces(text)[:2]] == ["", text.split()[0]]


def test_a_model_without_network_has_no_pieces(folders: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    encoder = SentenceEncoder(str(folders["sentence"]))
    monkeypatch.setitem(encoder.__dict__, "_loaded", [object()])
    with pytest.raises(EncoderError, match="no network over word pieces"):
        _ = encoder.token_dim


def test_vectors_have_no_part_in_it(folders: dict[str, Path]) -> None:
    encoder = opened(folders, "bert")
    before = encoder.encode(TEXTS)[0]
    encoder.encode_pieces(TEXTS)
    np.testing.assert_array_equal(encoder.encode(TEXTS)[0], before)


# ---------------------------------------------------------------- CLIP's patches


@torch.no_grad()
def test_clip_patches_are_the_normed_states(folders: dict[str, Path]) -> None:
    encoder = ClipEncoder(str(folders["clip-whole"]), batch_size=2)
    assert isinstance(encoder, PatchEncoder)
    images = [picture(seed, (20 + 4 * seed, 40)) for seed in range(3)]
    found = encoder.encode_patches(images, 7)
    assert found.dtype == np.float16
    assert found.shape == (3, 4, encoder.token_dim) == (3, 4, 16)
    network = transformers.CLIPModel.from_pretrained(folders["clip-whole"]).eval()
    processor = transformers.CLIPImageProcessorPil.from_pretrained(folders["clip-whole"])
    for image, tokens in zip(images, found, strict=True):
        pixels = processor([image], return_tensors="pt")["pixel_values"]
        states = network.vision_model(pixel_values=pixels).last_hidden_state[0, 1:]
        np.testing.assert_allclose(tokens, network.vision_model.post_layernorm(states), atol=5e-3)
    coarse = encoder.encode_patches(images, 1)
    cells = found.astype(np.float32).transpose(0, 2, 1).reshape(3, 16, 2, 2)
    np.testing.assert_allclose(coarse, averaged(cells, 1), atol=5e-3)
    assert encoder.encode_patches([], 7).shape == (0, 4, 16)


def test_clip_sees_the_middle_square(folders: dict[str, Path]) -> None:
    encoder = ClipEncoder(str(folders["clip-whole"]))
    places = encoder.patch_places(picture(size=(20, 40)), 7)  # twice as high as wide: the middle half is seen
    np.testing.assert_allclose(
        places, [(0, 0.25, 0.5, 0.5), (0.5, 0.25, 1, 0.5), (0, 0.5, 0.5, 0.75), (0.5, 0.5, 1, 0.75)]
    )
    wide = encoder.patch_places(picture(size=(64, 16)), 1)
    np.testing.assert_allclose(wide, [(0.375, 0, 0.625, 1)])
