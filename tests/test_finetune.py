"""Fine-tuning on tiny models with random weights: what is read, what is learned, what the folder holds, resuming."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.sparse as sp
import torch

from encoders.tiny import LIMIT, in_single_precision, save_bert, save_clip, save_roberta, save_sentence
from finetuning import Row, plot_rows, plots
from reeltag.catalogue import Catalogue
from reeltag.encoders import TextEncoder
from reeltag.encoders.contract import titles_seen_by
from reeltag.encoders.sentence import SentenceEncoder
from reeltag.encoders.store import FeatureStore
from reeltag.encoders.transformer import TransformerEncoder
from reeltag.encoders.tunable import open_tunable, train_last_layers
from reeltag.errors import (
    ArtefactError,
    CatalogueError,
    ConfigError,
    EncoderError,
    LabelError,
    ModelError,
    ReeltagError,
    SplitError,
)
from reeltag.features import Values
from reeltag.finetune import (
    EpochReport,
    FinetuneConfig,
    Finetuned,
    choose_titles,
    finetune,
    grouped_batches,
    neighbour_agreement,
)
from reeltag.finetune.trainer import FinetuneRun, rate_factor
from reeltag.leaks import check_fitted
from reeltag.pipeline import FeaturePipeline
from reeltag.progress import silent
from reeltag.recipes import FeatureConfig
from samples import files_of

pytest.importorskip("transformers", reason="needs the extra 'text'")
pytest.importorskip("sentence_transformers", reason="needs the extra 'text'")

TEXTS = ["a film of love", "war", "the robot meets the killer of paris", "love , rain . war , rain"]
TINY = FinetuneConfig(
    labels=("genres",), min_count=2, epochs=2, batch_size=12, learning_rate=3e-3, measured=6, nearest_instead=True
)


@pytest.fixture(autouse=True)
def single_precision(monkeypatch: pytest.MonkeyPatch) -> None:
    in_single_precision(monkeypatch)
    monkeypatch.setattr("reeltag.encoders.tunable.device_and_precision", lambda: ("cpu", torch.float32))


@pytest.fixture(scope="module")
def bert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_bert(tmp_path_factory.mktemp("models") / "tiny.bert")


@pytest.fixture(scope="module")
def sentence(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_sentence(tmp_path_factory.mktemp("models") / "tiny.sentence")


def config_of(folder: Path, **changes: Any) -> FinetuneConfig:
    kind = "sentence" if (folder / "modules.json").is_file() else "transformer"
    return replace(TINY, encoder=f"{kind}:{folder}", **changes)


def opened(spec: str) -> TextEncoder:
    kind, _, folder = spec.partition(":")
    return SentenceEncoder(folder) if kind == "sentence" else TransformerEncoder(folder)


def encoded(spec: str, texts: list[str] = TEXTS) -> Values:
    return opened(spec).encode(texts)[0]


def weights_of(folder: Path) -> dict[str, torch.Tensor]:
    from safetensors.torch import load_file

    return dict(load_file(folder / "model.safetensors"))


def changed(change: Callable[[Row], Row | None]) -> Catalogue:
    new = [change(dict(row)) for row in plot_rows()]
    return plots(row for row in new if row is not None)


# ---------------------------------------------------------------- the encoder while it is trained


def kinds(folder: Path) -> dict[str, Path]:
    return {
        "sentence": save_sentence(folder / "sentence"),
        "transformer": save_bert(folder / "bert"),
        "roberta": save_roberta(folder / "roberta"),
        "clip": save_clip(folder / "clip"),
    }


@pytest.mark.parametrize("name", ["sentence", "transformer", "roberta", "clip"])
def test_vectors_in_training_are_those_of_the_encoder(name: str, tmp_path: Path) -> None:
    spec = config_of(kinds(tmp_path)[name]).encoder
    encoder = open_tunable(spec)
    found = encoder.vectors(TEXTS)
    assert found.requires_grad
    np.testing.assert_allclose(found.detach().numpy(), encoded(spec), atol=1e-5)
    long = encoder.vectors(["love " * 60]).detach().numpy()
    np.testing.assert_allclose(long, encoded(spec, ["love " * 60]), atol=1e-5)


@pytest.mark.parametrize("name", ["sentence", "transformer", "roberta", "clip"])
def test_a_saved_encoder_gives_the_vectors_that_the_loss_saw(name: str, tmp_path: Path) -> None:
    encoder = open_tunable(config_of(kinds(tmp_path)[name]).encoder)
    with torch.no_grad():
        for parameter in encoder.network.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=0.05)
        expected = encoder.vectors(TEXTS).numpy()
    encoder.save(tmp_path / "saved")
    np.testing.assert_allclose(encoded(f"{encoder.kind}:{tmp_path / 'saved'}"), expected, atol=1e-5)


@pytest.mark.parametrize("name", ["sentence", "transformer"])
def test_a_limit_on_pieces_is_saved(name: str, tmp_path: Path) -> None:
    spec = config_of(kinds(tmp_path)[name]).encoder
    words = ["love", "war", "rain", "paris", "killer", "robot", "film"]
    encoder = open_tunable(spec, 5)  # three words, and the marks of beginning and end
    assert encoder.limit == 5
    with torch.no_grad():
        whole, cut = encoder.vectors([" ".join(words), " ".join(words[:3])])
    torch.testing.assert_close(whole, cut)
    encoder.save(tmp_path / "saved")
    found = encoded(f"{encoder.kind}:{tmp_path / 'saved'}", [" ".join(words)])
    np.testing.assert_allclose(found[0], whole.numpy(), atol=1e-5)
    assert np.abs(encoded(spec, [" ".join(words)]) - found).max() > 1e-3
    assert open_tunable(spec, 10_000).limit == LIMIT


def test_a_default_prompt_is_read_as_at_encoding(sentence: Path, tmp_path: Path) -> None:
    from sentence_transformers import SentenceTransformer

    model = SentenceTransformer(str(sentence), prompts={"plot": "film of "}, default_prompt_name="plot", device="cpu")
    model.save_pretrained(str(tmp_path / "prompted"), create_model_card=False)
    spec = f"sentence:{tmp_path / 'prompted'}"
    found = open_tunable(spec).vectors(TEXTS).detach().numpy()
    np.testing.assert_allclose(found, encoded(spec), atol=1e-5)
    assert np.abs(found - encoded(f"sentence:{sentence}")).max() > 1e-3


def test_half_precision_is_near_single_precision(bert: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = open_tunable(f"transformer:{bert}").vectors(TEXTS).detach().numpy()
    monkeypatch.setattr("reeltag.encoders.tunable.device_and_precision", lambda: ("cpu", torch.bfloat16))
    half = open_tunable(f"transformer:{bert}")
    found = half.vectors(TEXTS)
    assert found.dtype == torch.float32
    assert next(half.network.parameters()).dtype == torch.float32
    assert 0 < np.abs(found.detach().numpy() - expected).max() < 0.1


def names_trained(network: torch.nn.Module) -> set[str]:
    return {name for name, parameter in network.named_parameters() if parameter.requires_grad}


def test_the_last_layers_alone_can_be_trained(bert: Path, sentence: Path) -> None:
    network = open_tunable(f"transformer:{bert}").network
    train_last_layers(network, 2)
    assert {name.split(".")[2] for name in names_trained(network) if name.startswith("encoder")} == {"3", "4"}
    assert not any(name.startswith("embeddings") for name in names_trained(network))
    train_last_layers(network, 0)
    assert names_trained(network) == {name for name, _ in network.named_parameters()}
    with pytest.raises(ConfigError, match="layers must be at most 5, which the encoder has; got 6"):
        train_last_layers(network, 6)
    whole = open_tunable(f"sentence:{sentence}").network
    train_last_layers(whole, 1)
    assert {name.split(".layer.")[1][0] for name in names_trained(whole) if ".layer." in name} == {"4"}
    with pytest.raises(EncoderError, match="layers of this encoder cannot be told apart"):
        train_last_layers(torch.nn.Linear(2, 2), 1)


def test_the_projection_behind_the_last_layer_is_trained_with_it(tmp_path: Path) -> None:
    network = open_tunable(f"transformer:{save_clip(tmp_path / 'clip')}").network
    train_last_layers(network, 1)
    trained = names_trained(network)
    assert {"text_projection.weight", "text_model.final_layer_norm.weight"} <= trained
    assert not any(".layers.0." in name or "embeddings" in name for name in trained)


# ---------------------------------------------------------------- which titles are read


def ids_of(catalogue: Catalogue, *splits: str) -> set[str]:
    return {
        title_id
        for title_id, split in zip(catalogue.ids, catalogue.frame["split"], strict=True)
        if (split or "background") in splits
    }


def test_only_training_titles_are_read() -> None:
    films = plots()
    found = choose_titles(films, TINY, 0)
    assert set(found.learned.ids) == ids_of(films, "train")
    assert set(found.neighbours.ids) <= ids_of(films, "train")
    assert set(found.validation.ids) <= ids_of(films, "validation")
    assert len(found.validation) == 6
    assert found.labels == ("genres:War", "genres:Romance", "genres:Thriller")
    wider = choose_titles(films, replace(TINY, background=True), 0)
    assert set(wider.learned.ids) == ids_of(films, "train", "background")


def test_titles_of_no_split_are_background() -> None:
    films = changed(lambda row: row | {"split": None if row["split"] == "background" else row["split"]})
    assert set(choose_titles(films, TINY, 0).learned.ids) == ids_of(films, "train")
    wider = choose_titles(films, replace(TINY, background=True), 0)
    assert set(wider.learned.ids) == ids_of(films, "train", "background")


def test_titles_without_plot_or_known_labels_are_left_out() -> None:
    def change(row: Row) -> Row:
        if row["id"] == "train00":
            row["plot"] = "  "
        if row["id"] == "train01":
            row["genres"] = []
        if row["id"] == "train02":
            row["genres"] = ["Unheard-of"]  # a label on too few titles
        return row

    found = choose_titles(changed(change), TINY, 0)
    assert ids_of(plots(), "train") - set(found.learned.ids) == {"train00", "train01", "train02"}
    assert found.labels == ("genres:War", "genres:Romance", "genres:Thriller")


def test_labels_of_several_fields_stand_side_by_side() -> None:
    def change(row: Row) -> Row:
        return row | ({"genres": []} if row["id"] == "train00" else {})

    found = choose_titles(changed(change), replace(TINY, labels=("genres", "tags")), 0)
    assert all(label.startswith("genres:") for label in found.labels[:3])
    assert set(found.labels[3:]) == {"tags:loud", "tags:quiet", "tags:slow"}
    assert found.learned.ids[0] == "train00"  # its tags are known
    by_id = {row["id"]: row for row in plot_rows()}
    for title_id, row in zip(found.learned.ids, found.learned.targets.toarray(), strict=True):
        own = by_id[title_id]
        expected = {f"tags:{tag}" for tag in own["tags"]}
        expected |= {f"genres:{genre}" for genre in own["genres"] if title_id != "train00"}
        assert {found.labels[column] for column in np.flatnonzero(row)} == expected


def test_so_many_titles_are_drawn_by_the_seed() -> None:
    config = replace(TINY, titles=10, measured=1)
    one, same, other = (choose_titles(plots(), config, seed) for seed in (0, 0, 1))
    assert len(one.learned) == 10
    assert one.learned.ids == same.learned.ids != other.learned.ids
    assert len(one.validation) == 1
    assert len(choose_titles(plots(), replace(TINY, measured=1), 0).neighbours) == 10
    none = choose_titles(plots(), replace(TINY, measured=0), 0)
    assert (len(none.validation), len(none.neighbours)) == (0, 0)
    assert len(choose_titles(plots(), replace(TINY, titles=1000), 0).learned) == 36


@pytest.mark.parametrize(
    ("films", "config", "error", "message"),
    [
        (plots().frame.drop("split"), TINY, SplitError, "has no column 'split'; an encoder must be fine-tuned on"),
        (
            changed(lambda row: row | {"split": "test"}),
            TINY,
            SplitError,
            "no title of split train has a plot and words",
        ),
        (changed(lambda row: row | {"plot": None}), TINY, SplitError, "no title of split train has a plot and words"),
        (plots(), replace(TINY, labels=("moods",)), CatalogueError, "no column 'moods'"),
        (plots(), replace(TINY, labels=("keywords",)), SplitError, "has a plot and words in keywords"),
        (plots(), replace(TINY, min_count=500), LabelError, "no label of field 'genres' is on at least 500"),
        (changed(lambda row: row | {"genres": ["War"]}), TINY, LabelError, "titles have all the same labels in genres"),
    ],
)
def test_catalogues_that_teach_nothing(
    films: Any, config: FinetuneConfig, error: type[ReeltagError], message: str
) -> None:
    catalogue = films if isinstance(films, Catalogue) else Catalogue.from_frame(films)
    with pytest.raises(error, match=message):
        choose_titles(catalogue, config, 0)


# ---------------------------------------------------------------- batches


def long_tail(n: int = 300, n_labels: int = 40) -> sp.csr_matrix:
    random = np.random.default_rng(1)
    share = 0.5 / np.arange(1, n_labels + 1)
    targets = (random.random((n, n_labels)) < share).astype(np.float32)
    targets[:, 0] = np.maximum(targets[:, 0], targets.sum(axis=1) == 0)
    return sp.csr_matrix(targets)


def test_every_title_is_in_one_batch() -> None:
    for n, batch_size, group_size in ((300, 32, 4), (300, 7, 50), (5, 32, 2), (33, 32, 3)):
        found = grouped_batches(long_tail(n), batch_size, group_size, np.random.default_rng(0))
        assert len(found) == math.ceil(n / batch_size)
        assert sorted(np.concatenate(found).tolist()) == list(range(n))
        assert sorted(map(len, found))[1:] == [batch_size] * (len(found) - 1)


def rare_pairs(batches: list[np.ndarray[Any, Any]], targets: sp.csr_matrix) -> int:
    """Count the pairs of a batch that share one of the rarer labels."""
    rare = targets.toarray()[:, 10:]
    return sum(int(np.triu((rare[rows] @ rare[rows].T) > 0, 1).sum()) for rows in batches)


def test_titles_with_rare_labels_meet_more_often_than_by_chance() -> None:
    targets = long_tail()
    random = np.random.default_rng(0)
    grouped = grouped_batches(targets, 32, 4, random)
    by_chance = np.array_split(random.permutation(300), 10)
    assert rare_pairs(grouped, targets) > 2 * rare_pairs(by_chance, targets)


def test_batches_follow_the_random_numbers_and_come_in_random_order() -> None:
    one, same, other = (grouped_batches(long_tail(), 32, 4, np.random.default_rng(seed)) for seed in (0, 0, 1))
    assert all(np.array_equal(a, b) for a, b in zip(one, same, strict=True))
    assert any(not np.array_equal(a, b) for a, b in zip(one, other, strict=True))
    places = {
        [len(rows) for rows in grouped_batches(long_tail(33), 32, 4, np.random.default_rng(seed))].index(1)
        for seed in range(20)
    }
    assert places == {0, 1}


def test_titles_without_labels_are_batched_too() -> None:
    found = grouped_batches(sp.csr_matrix((5, 3), dtype=np.float32), 2, 2, np.random.default_rng(0))
    assert Counter(np.concatenate(found).tolist()) == Counter(range(5))


# ---------------------------------------------------------------- the measure


def test_agreement_against_a_loop() -> None:
    random = np.random.default_rng(0)
    vectors, others = random.normal(size=(7, 4)), random.normal(size=(20, 4))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    others /= np.linalg.norm(others, axis=1, keepdims=True)
    targets, other_targets = (random.random((n, 5)) < 0.4 for n in (7, 20))
    targets[0] = False
    expected = []
    for row in range(7):
        near = sorted(range(20), key=lambda other: float(np.linalg.norm(vectors[row] - others[other])))[:3]
        for other in near:
            a, b = set(np.flatnonzero(targets[row])), set(np.flatnonzero(other_targets[other]))
            expected.append(len(a & b) / len(a | b) if a | b else 0.0)
    sparse = [sp.csr_matrix(part.astype(np.float32)) for part in (targets, other_targets)]
    found = neighbour_agreement(
        vectors.astype(np.float32), sparse[0], others.astype(np.float32), sparse[1], n_neighbours=3
    )
    assert found == pytest.approx(sum(expected) / len(expected))


def test_agreement_of_few_and_of_none() -> None:
    one = sp.csr_matrix(np.ones((1, 2), np.float32))
    vector = np.ones((1, 1), np.float32)
    assert neighbour_agreement(vector, one, vector, one) == 1
    assert math.isnan(neighbour_agreement(vector[:0], one[:0], vector, one))
    assert math.isnan(neighbour_agreement(vector, one, vector[:0], one[:0]))


def test_agreement_does_not_mind_the_block(monkeypatch: pytest.MonkeyPatch) -> None:
    random = np.random.default_rng(0)
    vectors = random.normal(size=(9, 4)).astype(np.float32)
    targets = sp.csr_matrix((random.random((9, 5)) < 0.5).astype(np.float32))
    whole = neighbour_agreement(vectors, targets, vectors, targets, 2)
    monkeypatch.setattr("reeltag.finetune.agreement._BLOCK", 4)
    assert neighbour_agreement(vectors, targets, vectors, targets, 2) == pytest.approx(whole)


# ---------------------------------------------------------------- training


def test_the_learning_rate_rises_and_falls_in_lines() -> None:
    found = [rate_factor(step, 10, 0.4) for step in range(10)]
    assert found == pytest.approx([0.2, 0.4, 0.6, 0.8, 1, 5 / 6, 4 / 6, 3 / 6, 2 / 6, 1 / 6])
    assert [rate_factor(step, 4, 0) for step in range(4)] == pytest.approx([1, 0.75, 0.5, 0.25])
    assert rate_factor(0, 1, 0.9) > 0


@torch.no_grad()
def loss_of_all_triplets(spec: str, margin: float = 0.2) -> float:
    """Mean over every anchor, positive and negative of the training titles, mined or not."""
    learned = choose_titles(plots(), TINY, 0).learned
    distances = np.linalg.norm((vectors := encoded(spec, learned.texts))[:, None] - vectors[None], axis=2)
    labels = [set(np.flatnonzero(row)) for row in learned.targets.toarray()]
    n, found = len(labels), []
    for anchor in range(n):
        shared = [len(labels[anchor] & other) for other in labels]
        for positive in range(n):
            if positive == anchor or not shared[positive]:
                continue
            found += [
                max(0.0, distances[anchor, positive] - distances[anchor, negative] + margin)
                for negative in range(n)
                if negative != anchor and shared[negative] < shared[positive]
            ]
    return float(np.mean(found))


@pytest.mark.parametrize("objective", ["triplet", "bce"])
def test_loss_falls_and_neighbours_agree_more(objective: str, tmp_path: Path) -> None:
    shallow = save_bert(tmp_path / "shallow", n_layers=2)
    config = config_of(shallow, epochs=12, objective=objective, measured=12, learning_rate=0.02)
    told: list[EpochReport] = []
    seen: list[tuple[str, int, int]] = []
    found = finetune(
        plots(), tmp_path / "out", config=config, report=told.append, progress=lambda *args: seen.append(args)
    )
    assert [entry.epoch for entry in found.history] == list(range(13))
    assert tuple(told) == found.history
    assert found.history[0].loss is None
    losses = [entry.loss for entry in found.history[1:]]
    assert losses[-1] < 0.9 * losses[0]  # type: ignore[operator]
    assert found.history[-1].agreement > found.history[0].agreement + 0.1  # type: ignore[operator]
    assert loss_of_all_triplets(found.encoder) < 0.5 * loss_of_all_triplets(config.encoder)
    assert [entry for entry in seen if entry[0] == "fine-tuning"] == [("fine-tuning", n, 36) for n in range(1, 37)]


@pytest.fixture(scope="module")
def tuned(bert: Path, tmp_path_factory: pytest.TempPathFactory) -> Finetuned:
    out = tmp_path_factory.mktemp("tuned") / "encoder"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("reeltag.encoders.tunable.device_and_precision", lambda: ("cpu", torch.float32))
        patch.setattr("reeltag.encoders.transformer.device_and_precision", lambda: ("cpu", torch.float32))
        return finetune(plots(), out, config=config_of(bert))


def folder_of(found: Finetuned) -> Path:
    return Path(found.encoder.partition(":")[2])


def test_weights_move_and_the_folder_opens(bert: Path, tuned: Finetuned) -> None:
    before, after = weights_of(bert), weights_of(folder_of(tuned))
    assert set(before) == set(after)
    still = {name for name in before if torch.equal(before[name], after[name])}
    assert still == {name for name in before if name.startswith("pooler.")}  # which pooling does not read
    assert tuned.encoder.startswith("transformer:")
    assert np.abs(encoded(tuned.encoder) - encoded(f"transformer:{bert}")).max() > 0.01
    np.testing.assert_allclose(np.linalg.norm(encoded(tuned.encoder), axis=1), 1, atol=1e-5)


def test_a_folder_that_lacks_weights_does_not_open(tuned: Finetuned, tmp_path: Path) -> None:
    import shutil

    from safetensors.torch import save_file

    broken = tmp_path / "broken"
    shutil.copytree(folder_of(tuned), broken)
    kept = weights_of(broken)
    del kept["encoder.layer.4.output.dense.weight"]
    save_file(kept, broken / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(EncoderError, match="lacks 1 of the weights"):
        encoded(f"transformer:{broken}")


def test_the_folder_says_what_it_has_learned_from(bert: Path, tuned: Finetuned) -> None:
    data = json.loads((folder_of(tuned) / "fitted_on.json").read_text("utf-8"))
    assert set(data["ids"]) == ids_of(plots(), "train")
    assert data["settings"]["labels"] == ["genres"]
    assert data["seed"] == 0
    assert data["encoder"]["fingerprint"] == TransformerEncoder(str(bert)).fingerprint
    assert data["labels"] == list(tuned.labels) == ["genres:War", "genres:Romance", "genres:Thriller"]
    assert data["catalogue"] == {"source": "plots.jsonl", "fingerprint": plots().fingerprint()}
    assert set(data["versions"]) == {"reeltag", "torch", "transformers", "sentence-transformers"}
    assert [told["epoch"] for told in data["history"]] == [0, 1, 2]
    assert not (folder_of(tuned).parent / "encoder.checkpoint").exists()
    assert titles_seen_by(TransformerEncoder(str(folder_of(tuned)))) == data["ids"]
    assert titles_seen_by(TransformerEncoder(str(bert))) == []
    assert titles_seen_by("no encoder") == []


def test_tuning_on_remembers_the_titles_of_before(sentence: Path, tmp_path: Path) -> None:
    config = config_of(sentence, epochs=1, titles=12, measured=0)
    first = finetune(plots(), tmp_path / "first", config=config)
    assert first.encoder == f"sentence:{tmp_path / 'first'}"
    second = finetune(plots(), tmp_path / "second", config=replace(config, encoder=first.encoder), seed=1)
    one, both = (titles_seen_by(opened(found.encoder)) for found in (first, second))
    assert set(one) < set(both)
    assert len(both) == len(set(both))


@pytest.mark.parametrize("text", ["{", "[]", "{}", '{"ids": "t1"}', '{"ids": [1]}'])
def test_a_damaged_list_of_titles_is_named(text: str, tmp_path: Path) -> None:
    (tmp_path / "fitted_on.json").write_text(text)
    with pytest.raises(EncoderError, match=r"fitted_on\.json: must be JSON with the ids of titles"):
        TransformerEncoder(str(tmp_path)).titles_seen()


def test_test_titles_change_nothing(bert: Path, tuned: Finetuned, tmp_path: Path) -> None:
    def other(row: Row) -> Row:
        return row | ({} if row["split"] in ("train", "validation") else {"plot": "rain", "genres": ["War", "Noir"]})

    finetune(changed(other), tmp_path / "out", config=config_of(bert))
    a, b = weights_of(tmp_path / "out"), weights_of(folder_of(tuned))
    assert all(torch.equal(a[name], b[name]) for name in b)


def test_validation_titles_do_not_teach(bert: Path, tuned: Finetuned, tmp_path: Path) -> None:
    found = finetune(
        changed(lambda row: None if row["split"] == "validation" else row), tmp_path / "out", config=config_of(bert)
    )
    assert [told.agreement for told in found.history] == [None] * 3
    a, b = weights_of(tmp_path / "out"), weights_of(folder_of(tuned))
    assert all(torch.equal(a[name], b[name]) for name in b)


def test_the_seed_matters_and_the_callers_random_numbers_do_not(bert: Path, tuned: Finetuned, tmp_path: Path) -> None:
    torch.manual_seed(123)
    state = torch.get_rng_state()
    finetune(plots(), tmp_path / "same", config=config_of(bert))
    assert torch.equal(torch.get_rng_state(), state)
    finetune(plots(), tmp_path / "other", config=config_of(bert), seed=1)
    name = "encoder.layer.4.output.dense.weight"
    own = weights_of(folder_of(tuned))[name]
    assert torch.equal(weights_of(tmp_path / "same")[name], own)
    assert not torch.equal(weights_of(tmp_path / "other")[name], own)


def test_frozen_layers_stay(sentence: Path, tmp_path: Path) -> None:
    finetune(plots(), tmp_path / "out", config=config_of(sentence, layers=1, epochs=1))
    before, after = weights_of(sentence), weights_of(tmp_path / "out")
    moved = {name for name in before if not torch.equal(before[name], after[name])}
    assert moved == {name for name in before if ".layer.4." in f".{name}"}


def test_a_diverging_loss_is_named(bert: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "reeltag.finetune.trainer.multilabel_triplet", lambda vectors, *_, **__: vectors.sum() * float("nan")
    )
    with pytest.raises(ModelError, match="the loss is nan at step 1; lower the learning rate"):
        finetune(plots(), tmp_path / "out", config=config_of(bert))
    assert not (tmp_path / "out").exists()


# ---------------------------------------------------------------- interruption


class StoppedError(Exception):
    pass


def stop_at(step: int) -> Callable[[str, int, int], None]:
    def progress(stage: str, done: int, total: int) -> None:
        if (stage, done) == ("fine-tuning", step):
            raise StoppedError

    return progress


@pytest.mark.parametrize(("objective", "step"), [("triplet", 1), ("triplet", 3), ("bce", 5)])
def test_an_interrupted_run_ends_as_if_it_had_not_been(
    objective: str, step: int, sentence: Path, tmp_path: Path
) -> None:
    config = config_of(sentence, objective=objective, checkpoint_every_s=0.0)
    whole = finetune(plots(), tmp_path / "whole", config=config)
    with pytest.raises(StoppedError):
        finetune(plots(), tmp_path / "out", config=config, progress=stop_at(step))
    assert not (tmp_path / "out").exists()
    steps: list[int] = []
    again = finetune(
        plots(), tmp_path / "out", config=config,
        progress=lambda stage, done, _: steps.append(done) if stage == "fine-tuning" else None,
    )  # fmt: skip
    assert steps == list(range(max(step, 1), 7))  # the step that was cut off is done again
    assert again.history == whole.history
    one, other = weights_of(tmp_path / "whole"), weights_of(tmp_path / "out")
    assert all(torch.equal(one[name], other[name]) for name in one)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "whole"]


def test_a_run_that_was_done_but_not_written_is_written(
    bert: Path, tuned: Finetuned, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr("reeltag.finetune.write_json", stop_at_once)
        with pytest.raises(StoppedError):
            finetune(plots(), tmp_path / "out", config=config_of(bert))
    assert [path.name for path in tmp_path.iterdir()] == ["out.checkpoint"]
    monkeypatch.setattr(FinetuneRun, "_step", stop_at_once)
    finetune(plots(), tmp_path / "out", config=config_of(bert))
    a, b = weights_of(tmp_path / "out"), weights_of(folder_of(tuned))
    assert all(torch.equal(a[name], b[name]) for name in b)


def stop_at_once(*_: object, **__: object) -> None:
    raise StoppedError


def test_a_checkpoint_of_another_run_is_refused(bert: Path, tmp_path: Path) -> None:
    config = config_of(bert, checkpoint_every_s=0.0)
    with pytest.raises(StoppedError):
        finetune(plots(), tmp_path / "out", config=config, progress=stop_at(4))
    for name, changes in (
        ("settings", {"config": replace(config, margin=0.3)}),
        ("seed", {"seed": 1}),
        ("catalogue", {"catalogue": plots(plot_rows()[1:])}),
    ):
        given: dict[str, Any] = {"catalogue": plots(), "config": config} | changes
        with pytest.raises(ArtefactError, match=f"belongs to a run with another {name}; remove it"):
            finetune(given.pop("catalogue"), tmp_path / "out", **given)
    rarely = replace(config, checkpoint_every_s=1e6)  # which changes nothing of the result
    assert len(finetune(plots(), tmp_path / "out", config=rarely).history) == 3


def test_a_damaged_checkpoint_is_named(bert: Path, tmp_path: Path) -> None:
    config = config_of(bert, checkpoint_every_s=0.0)
    with pytest.raises(StoppedError):
        finetune(plots(), tmp_path / "out", config=config, progress=stop_at(2))
    file = tmp_path / "out.checkpoint" / "checkpoint.json"
    data = json.loads(file.read_text())
    for history in ({}, {"total": 0.0, "reports": [1]}, {"total": "much", "reports": []}):
        file.write_text(json.dumps(data | {"history": history}))
        with pytest.raises(ArtefactError, match=r"out\.checkpoint: the checkpoint is incomplete or damaged; remove it"):
            finetune(plots(), tmp_path / "out", config=config)


# ---------------------------------------------------------------- what taggers see


def test_the_cache_never_mixes_the_encoder_with_what_it_was(bert: Path, tuned: Finetuned, tmp_path: Path) -> None:
    same_name = save_bert(tmp_path / "encoder")
    before, after = TransformerEncoder(str(same_name)), TransformerEncoder(str(folder_of(tuned)))
    assert before.name == after.name
    assert before.fingerprint != after.fingerprint
    store = FeatureStore(tmp_path / "cache")
    old, new = store.encode(before, TEXTS)[0], store.encode(after, TEXTS)[0]
    np.testing.assert_allclose(new, encoded(tuned.encoder), atol=1e-6)
    assert np.abs(old - new).max() > 0.01
    weights = folder_of(tuned) / "model.safetensors"
    copied = tmp_path / "weights alone"
    copied.mkdir()
    for name, content in files_of(bert).items():
        (copied / name).write_bytes(weights.read_bytes() if name == weights.name else content)
    assert TransformerEncoder(str(copied)).fingerprint not in (before.fingerprint, after.fingerprint)


def test_the_leak_check_sees_what_the_encoder_has_learned_from(tuned: Finetuned) -> None:
    config = FeatureConfig(modalities=("plot",), plot_encoders=("tfidf", tuned.encoder))
    films = plots()
    training = films.take(films.rows_of("train"))
    pipeline = FeaturePipeline(config).fit(training, training, np.zeros((len(training), 1), np.float32))
    assert set(pipeline.fitted_on_) == {"vocabulary of plot", "encoder of plot"}
    assert set(pipeline.fitted_on_["encoder of plot"]) == ids_of(films, "train")
    turned = films.with_splits(["test" if split == "train" else "train" for split in films.frame["split"]])
    clean, leaky = (
        {check.part: check for check in check_fitted(pipeline.fitted_on_, catalogue)}["encoder of plot"]
        for catalogue in (films, turned)
    )
    assert clean.severity == "ok"
    assert set(leaky.test_ids) == ids_of(films, "train")
    assert leaky.severity == "serious"


def test_encoders_as_published_add_nothing_to_the_leak_check(bert: Path) -> None:
    config = FeatureConfig(modalities=("plot",), plot_encoders=(f"transformer:{bert}",))
    films = plots()
    pipeline = FeaturePipeline(config).fit(films, films, np.zeros((len(films), 1), np.float32))
    assert pipeline.fitted_on_ == {}


# ---------------------------------------------------------------- refusals


def test_a_folder_that_is_there_is_refused_before_any_work(bert: Path, tuned: Finetuned, tmp_path: Path) -> None:
    before = files_of(folder_of(tuned))
    with pytest.raises(ArtefactError, match="encoder: exists and is not an empty folder; choose another folder"):
        finetune(plots(), folder_of(tuned), config=replace(TINY, encoder="transformer:nowhere"))
    assert files_of(folder_of(tuned)) == before
    (tmp_path / "file").write_text("x")
    with pytest.raises(ArtefactError, match="file: exists and is not an empty folder"):
        finetune(plots(), tmp_path / "file", config=config_of(bert))


@pytest.mark.parametrize("spec", ["tfidf", "bert", "sentence", "transformer:", "minilm:x", "clip:x", ""])
def test_encoders_that_cannot_be_fine_tuned(spec: str, tmp_path: Path) -> None:
    with pytest.raises(EncoderError, match=f"text encoder '{spec}' cannot be fine-tuned; those that can: minilm, "):
        finetune(plots(), tmp_path / "out", config=replace(TINY, encoder=spec))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("kind", ["sentence", "transformer"])
def test_encoders_that_are_not_there(kind: str, tmp_path: Path) -> None:
    with pytest.raises(EncoderError, match="does not exist"):
        finetune(plots(), tmp_path / "out", config=replace(TINY, encoder=f"{kind}:{tmp_path / 'gone'}"))
    (tmp_path / "empty").mkdir()
    with pytest.raises(EncoderError, match="cannot be loaded from"):
        finetune(plots(), tmp_path / "out", config=replace(TINY, encoder=f"{kind}:{tmp_path / 'empty'}"))


@pytest.mark.parametrize(
    ("setting", "value", "message"),
    [
        ("epochs", 0, "between 1 and"),
        ("batch_size", 2, "between 3 and"),
        ("group_size", 1, "between 2 and"),
        ("learning_rate", 0, "between 1e-09 and"),
        ("margin", 0, "between 1e-06 and 2"),
        ("warmup", 1, "between 0 and 0.9"),
        ("titles", -1, "between 0 and"),
        ("max_pieces", 2, "between 3 and"),
        ("objective", "mse", "must be one of triplet, bce; got 'mse'"),
        ("labels", (), "must name list fields, each once"),
        ("labels", ("tags", "tags"), "must name list fields, each once"),
    ],
)
def test_settings_out_of_range(setting: str, value: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=rf"FinetuneConfig\.{setting} .*{message}"):
        replace(TINY, **{setting: value})


def test_a_seed_out_of_range(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"finetune\.seed must be between 0"):
        finetune(plots(), tmp_path / "out", config=TINY, seed=-1, progress=silent)
