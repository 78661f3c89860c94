"""TransformerEncoder on tiny models with random weights, against loops over tokens and layers."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch
from safetensors.numpy import load_file, save_file

from reeltag.encoders.transformer import TransformerEncoder
from reeltag.errors import EncoderError, MissingExtraError

from .tiny import LIMIT, in_single_precision, save_bert, save_clip, save_roberta

transformers = pytest.importorskip("transformers", reason="needs the extra 'text'")

TEXTS = ["a film of love", "war", "the robot meets the killer of paris", "love , rain . war , rain"]


@pytest.fixture(scope="module")
def bert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_bert(tmp_path_factory.mktemp("models") / "tiny.bert")


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_clip(tmp_path_factory.mktemp("models") / "clip")


@pytest.fixture(autouse=True)
def single_precision(monkeypatch: pytest.MonkeyPatch) -> None:
    in_single_precision(monkeypatch)


def encode(folder: Path, texts: list[str], batch_size: int = 32) -> npt.NDArray[np.float32]:
    return TransformerEncoder(str(folder), batch_size).encode(texts)[0]


@torch.no_grad()
def by_loop(folder: Path, text: str) -> npt.NDArray[np.float64]:
    """Mean of the last four layers over every token of one text on its own, made a unit vector."""
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    network = transformers.AutoModel.from_pretrained(folder).eval()
    tokens = tokenizer([text], truncation=True, max_length=LIMIT, return_tensors="pt")
    states = network(**tokens, output_hidden_states=True).hidden_states
    total = np.zeros(16)
    for layer in range(len(states) - 4, len(states)):
        for position in range(tokens["input_ids"].shape[1]):
            total += states[layer][0, position].double().numpy() / 4 / tokens["input_ids"].shape[1]
    return total / np.linalg.norm(total)


# ---------------------------------------------------------------- BERT


def test_mean_of_the_last_four_layers_over_the_tokens(bert: Path) -> None:
    found = encode(bert, TEXTS)
    assert found.dtype == np.float32
    for row, text in enumerate(TEXTS):
        np.testing.assert_allclose(found[row], by_loop(bert, text), atol=1e-5)


def test_the_first_layers_do_not_count(bert: Path) -> None:
    network = transformers.AutoModel.from_pretrained(bert)
    tokens = transformers.AutoTokenizer.from_pretrained(bert)(TEXTS[:1], return_tensors="pt")
    with torch.no_grad():
        states = network(**tokens, output_hidden_states=True).hidden_states
    assert len(states) == 6
    all_layers = torch.nn.functional.normalize(torch.stack(states).mean(dim=0).mean(dim=1), dim=1).numpy()
    assert np.abs(encode(bert, TEXTS[:1]) - all_layers).max() > 0.01


def test_padding_and_order_change_nothing(bert: Path) -> None:
    together = encode(bert, TEXTS)
    alone = np.vstack([encode(bert, [text]) for text in TEXTS])
    np.testing.assert_allclose(together, alone, atol=1e-5)
    for batch_size in (1, 2, 3):
        np.testing.assert_allclose(encode(bert, TEXTS, batch_size), together, atol=1e-5)
    np.testing.assert_allclose(encode(bert, TEXTS[::-1]), together[::-1], atol=1e-5)


def test_vectors_are_unit_and_tell_texts_apart(bert: Path) -> None:
    found = encode(bert, TEXTS)
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, atol=1e-5)
    assert np.abs(found[0] - found[1]).max() > 0.05


@pytest.mark.parametrize("model_max_length", [LIMIT, None])
def test_long_texts_are_cut_at_the_limit(model_max_length: int | None, tmp_path: Path) -> None:
    folder = save_bert(tmp_path / "bert", model_max_length=model_max_length)
    start = ["a", "film", "of", "love", ".", "a", "film", "of", "war", ".", "rain"]
    fitting, longer = " ".join(start[: LIMIT - 2]), " ".join(start[: LIMIT - 2] + ["killer"] * 50)
    found = encode(folder, [fitting, longer, " ".join(start[: LIMIT - 3])])
    np.testing.assert_allclose(found[0], found[1], atol=1e-5)
    assert np.abs(found[0] - found[2]).max() > 1e-3


def test_roberta_is_cut_at_the_places_it_has(tmp_path: Path) -> None:
    folder = save_roberta(tmp_path / "roberta")
    words = ["film"] * 5 + ["war"] * 5
    found = encode(folder, [" ".join(words), " ".join([*words, *["rain"] * 50]), " ".join(words[:-1])])
    np.testing.assert_allclose(found[0], found[1], atol=1e-5)
    assert np.abs(found[0] - found[2]).max() > 1e-3


def test_blank_texts_are_absent_and_zero(bert: Path) -> None:
    values, present = TransformerEncoder(str(bert)).encode(["", "war", " \n", "love"])
    assert present.tolist() == [False, True, False, True]
    assert (values[[0, 2]] == 0).all()
    np.testing.assert_allclose(values[1], by_loop(bert, "war"), atol=1e-5)
    nothing, nobody = TransformerEncoder(str(bert)).encode([])
    assert nothing.shape == (0, 16)
    assert nobody.shape == (0,)


def test_words_outside_the_vocabulary_are_read_as_unknown(bert: Path) -> None:
    values, present = TransformerEncoder(str(bert)).encode(["xylophone", "شیرین 🎬"])
    assert present.all()
    np.testing.assert_allclose(np.linalg.norm(values, axis=1), 1, atol=1e-5)


def test_width_and_name(bert: Path, clip: Path) -> None:
    assert TransformerEncoder(str(bert)).dim == 16
    assert TransformerEncoder(str(clip)).dim == 6
    assert TransformerEncoder(str(bert)).name == "tiny-bert"  # a dot would end the modality of a block name
    assert TransformerEncoder("org/model-v1.5").name == "model-v1-5"


def test_encoding_leaves_no_gradients_and_no_global_traces(bert: Path) -> None:
    encoder = TransformerEncoder(str(bert))
    state = torch.get_rng_state()
    first = encoder.encode(TEXTS)[0]
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.is_grad_enabled()
    np.testing.assert_array_equal(encoder.encode(TEXTS)[0], first)  # no dropout


def test_a_shallow_model_takes_the_layers_it_has(tmp_path: Path) -> None:
    found = encode(save_bert(tmp_path / "bert", n_layers=1), TEXTS)
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, atol=1e-5)


# ---------------------------------------------------------------- CLIP


@torch.no_grad()
def test_clip_is_read_at_its_projection(clip: Path) -> None:
    network = transformers.CLIPTextModelWithProjection.from_pretrained(clip).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(clip)
    found = encode(clip, TEXTS)
    for row, text in enumerate(TEXTS):
        tokens = tokenizer([text], truncation=True, max_length=LIMIT, return_tensors="pt")
        tokens.pop("token_type_ids", None)
        expected = network(**tokens).text_embeds[0].numpy()
        np.testing.assert_allclose(found[row], expected / np.linalg.norm(expected), atol=1e-5)


def test_clip_pads_cuts_and_skips_as_bert_does(clip: Path) -> None:
    together = encode(clip, TEXTS)
    np.testing.assert_allclose(together, np.vstack([encode(clip, [text]) for text in TEXTS]), atol=1e-5)
    long = encode(clip, ["a film of love . a film of war .", "a film of love . a film of war . " + "rain " * 40])
    assert np.isfinite(long).all()
    values, present = TransformerEncoder(str(clip)).encode(["", "war"])
    assert present.tolist() == [False, True]
    assert (values[0] == 0).all()


# ---------------------------------------------------------------- fingerprint


def test_fingerprint_follows_weights_vocabulary_and_precision(
    bert: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    same, other = save_bert(tmp_path / "same"), save_bert(tmp_path / "other", seed=1)
    first = TransformerEncoder(str(bert)).fingerprint
    assert first.startswith("transformer-")
    assert first == TransformerEncoder(str(same)).fingerprint
    assert first != TransformerEncoder(str(other)).fingerprint
    (same / "vocab.txt").write_text((same / "vocab.txt").read_text().replace("rain", "snow"))
    assert first != TransformerEncoder(str(same)).fingerprint
    monkeypatch.setattr("reeltag.encoders.transformer.device_and_precision", lambda: ("cpu", torch.bfloat16))
    assert first != TransformerEncoder(str(bert)).fingerprint
    assert first.rpartition("-torch.")[0] == TransformerEncoder(str(bert)).fingerprint.rpartition("-torch.")[0]


def test_half_precision_gives_nearly_the_same(bert: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    exact = encode(bert, TEXTS)
    monkeypatch.setattr("reeltag.encoders.transformer.device_and_precision", lambda: ("cpu", torch.bfloat16))
    found = encode(bert, TEXTS)
    assert found.dtype == np.float32
    assert ((found * exact).sum(axis=1) > 0.99).all()


# ---------------------------------------------------------------- refusals


def test_folder_that_is_not_there(tmp_path: Path) -> None:
    for name in (str(tmp_path / "missing"), "./missing", "~/missing"):
        with pytest.raises(EncoderError, match="does not exist"):
            _ = TransformerEncoder(name).dim


def test_folder_without_a_model(tmp_path: Path) -> None:
    with pytest.raises(EncoderError, match="cannot be loaded from"):
        _ = TransformerEncoder(str(tmp_path)).dim


@pytest.mark.parametrize("missing", ["model.safetensors", "config.json"])
def test_incomplete_folder(missing: str, tmp_path: Path) -> None:
    folder = save_bert(tmp_path / "bert")
    (folder / missing).unlink()
    with pytest.raises(EncoderError, match="cannot be loaded from"):
        _ = TransformerEncoder(str(folder)).dim


@pytest.mark.parametrize("file", ["model.safetensors", "config.json", "tokenizer.json"])
def test_damaged_folder(file: str, tmp_path: Path) -> None:
    folder = save_bert(tmp_path / "bert")
    path = folder / file
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(EncoderError, match="cannot be loaded from"):
        _ = TransformerEncoder(str(folder)).dim


def test_weights_of_another_shape(tmp_path: Path) -> None:
    folder = save_bert(tmp_path / "bert")
    config = folder / "config.json"
    config.write_text(config.read_text().replace('"hidden_size": 16', '"hidden_size": 8'))
    with pytest.raises(EncoderError, match="cannot be loaded from"):
        _ = TransformerEncoder(str(folder)).dim


def test_weights_that_are_missing_are_not_drawn_at_random(tmp_path: Path) -> None:
    folder = save_bert(tmp_path / "bert")
    weights = load_file(folder / "model.safetensors")
    headless = {name: value for name, value in weights.items() if not name.startswith("pooler.")}
    save_file(headless, folder / "model.safetensors", metadata={"format": "pt"})
    assert TransformerEncoder(str(folder)).encode(["war"])[1].all()  # the pooler is not read
    del headless["encoder.layer.3.output.dense.weight"]
    save_file(headless, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(EncoderError, match=r"lacks 1 of the weights, first encoder\.layer\.3\.output\.dense\.weight"):
        _ = TransformerEncoder(str(folder)).dim


def test_missing_extra_is_named(bert: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(MissingExtraError, match=r"'transformers', which is not installed: pip install"):
        TransformerEncoder(str(bert)).encode(["war"])
