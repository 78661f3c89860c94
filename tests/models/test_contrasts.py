"""Every contrast of ``CONTRASTS`` against one contract, and each against its formula by hand."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn
from torch.nn.functional import binary_cross_entropy_with_logits, normalize

from reeltag.config import to_json
from reeltag.errors import ConfigError, ModelError
from reeltag.losses import label_contrast, weighted_contrast
from reeltag.models.contrasts import CONTRASTS, contrast_config, knn_probabilities

DIM, N_LABELS, N_MODALITIES = 8, 5, 3
SMALL: dict[str, dict[str, Any]] = {
    "gcacl": {"label_dim": 6},
    "mulcon": {"label_dim": 6, "projection_dim": 4},
    "mcl": {"label_dim": 6, "projection_dim": 4},
    "mltc": {"projection_dim": 4},
    "cgmvae": {"label_dim": 6, "hidden": 8, "latent": 3, "embedding_dim": 7, "dropout": 0.0},
}
WITH_LABELS = ("gcacl", "mulcon", "mcl", "cgmvae")

Batch = tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]


def build(name: str, label_width: int = 0, **settings: Any) -> nn.Module:
    torch.manual_seed(0)
    made = CONTRASTS[name](DIM, N_LABELS, contrast_config(name, SMALL[name] | settings), label_width)
    assert isinstance(made, nn.Module)
    return made


def batch(n: int = 6) -> Batch:
    """Return fused, tokens, present and targets; the second title has no labels and no modality."""
    generator = torch.Generator().manual_seed(1)
    fused = torch.randn(n, DIM, generator=generator, requires_grad=True)
    tokens = torch.randn(n, N_MODALITIES, DIM, generator=generator, requires_grad=True)
    present = (torch.rand(n, N_MODALITIES, generator=generator) < 0.7).float()
    targets = (torch.rand(n, N_LABELS, generator=generator) < 0.5).float()
    targets[0, 0] = 1
    targets[1:2], present[1:2] = 0, 0
    return fused, tokens, present, targets


def loss_of(contrast: nn.Module, given: Batch) -> torch.Tensor:
    torch.manual_seed(3)
    loss: torch.Tensor = contrast(*given)
    return loss


def assert_sound(contrast: nn.Module, given: Batch) -> None:
    loss = loss_of(contrast, given)
    assert loss.shape == ()
    assert loss.dtype == torch.float32
    assert torch.isfinite(loss)
    assert loss.requires_grad
    loss.backward()
    for parameter in contrast.parameters():
        assert parameter.grad is None or torch.isfinite(parameter.grad).all()
    for values in given[:2]:
        assert values.grad is None or torch.isfinite(values.grad).all()


# ---------------------------------------------------------------- the contract


@pytest.mark.parametrize("name", CONTRASTS)
def test_loss_is_a_finite_scalar_and_reaches_every_parameter(name: str) -> None:
    contrast, given = build(name), batch()
    assert_sound(contrast, given)
    for key, parameter in contrast.named_parameters():
        assert parameter.grad is not None, key
        # keys of an attention may all share a bias without any effect
        assert parameter.grad.any() or key == "attention.key.bias", key


@pytest.mark.parametrize("name", CONTRASTS)
def test_loss_reaches_what_it_reads_of_titles(name: str) -> None:
    fused, tokens, present, targets = batch()
    loss_of(build(name), (fused, tokens, present, targets)).backward()
    read, other = (tokens, fused) if name == "mulcon" else (fused, tokens)
    assert read.grad is not None
    assert read.grad.any()
    assert other.grad is None


@pytest.mark.parametrize("name", CONTRASTS)
def test_batch_of_one_title(name: str) -> None:
    assert_sound(build(name), batch(1))


@pytest.mark.parametrize("n", [1, 4])
@pytest.mark.parametrize("name", CONTRASTS)
def test_titles_without_labels(name: str, n: int) -> None:
    fused, tokens, present, targets = batch(n)
    assert_sound(build(name), (fused, tokens, present, torch.zeros_like(targets)))


@pytest.mark.parametrize("name", CONTRASTS)
def test_titles_that_all_have_all_labels(name: str) -> None:
    fused, tokens, present, targets = batch()
    assert_sound(build(name), (fused, tokens, present, torch.ones_like(targets)))


@pytest.mark.parametrize("name", CONTRASTS)
def test_fused_vectors_of_nothing(name: str) -> None:
    fused, tokens, present, targets = batch()
    nothing = [torch.zeros_like(values).requires_grad_() for values in (fused, tokens)]
    assert_sound(build(name), (nothing[0], nothing[1], torch.zeros_like(present), targets))


@pytest.mark.parametrize("n", [1, 6])
@pytest.mark.parametrize("name", CONTRASTS)
def test_autocast_gives_single_precision_and_nearly_the_same(name: str, n: int) -> None:
    exact = loss_of(build(name), batch(n))
    fused, tokens, present, targets = batch(n)
    contrast = build(name)
    with torch.autocast("cpu", torch.bfloat16):
        assert_sound(contrast, (fused, tokens, present, targets))
        half = loss_of(contrast, (fused.bfloat16(), tokens.bfloat16(), present, targets))
    assert half.dtype == torch.float32
    torch.testing.assert_close(half, exact, rtol=0.1, atol=0.05)


@pytest.mark.parametrize("name", CONTRASTS)
def test_loss_comes_down_in_training(name: str) -> None:
    contrast, (fused, tokens, present, targets) = build(name), batch(6)
    fused, tokens = nn.Parameter(fused.detach()), nn.Parameter(tokens.detach())
    optimizer = torch.optim.Adam([*contrast.parameters(), fused, tokens], 0.02)
    before = float(loss_of(contrast, (fused, tokens, present, targets)).detach())
    for _ in range(30):
        optimizer.zero_grad()
        loss_of(contrast, (fused, tokens, present, targets)).backward()
        optimizer.step()
    assert float(loss_of(contrast, (fused, tokens, present, targets)).detach()) < before


@pytest.mark.parametrize("name", CONTRASTS)
def test_same_seed_gives_the_same_loss(name: str) -> None:
    torch.testing.assert_close(loss_of(build(name), batch()), loss_of(build(name), batch()), rtol=0, atol=0)


@pytest.mark.parametrize("label_width", [0, 9])
@pytest.mark.parametrize("name", CONTRASTS)
def test_parameters_can_be_read_back_without_the_graph(name: str, label_width: int) -> None:
    trained = build(name, label_width)
    trained.start(torch.randn(N_LABELS, label_width) if label_width else None)
    fresh = build(name, label_width)
    fresh.load_state_dict(trained.state_dict())
    torch.testing.assert_close(loss_of(fresh, batch()), loss_of(trained, batch()))


@pytest.mark.parametrize("name", CONTRASTS)
def test_defaults_are_those_of_an_empty_object(name: str) -> None:
    assert contrast_config(name, {}) == CONTRASTS[name].config_class()
    assert contrast_config(name, to_json(contrast_config(name, SMALL[name]))) == contrast_config(name, SMALL[name])
    CONTRASTS[name](DIM, N_LABELS)


# ---------------------------------------------------------------- label vectors


@pytest.mark.parametrize("name", WITH_LABELS)
def test_label_vectors_of_a_graph_are_taken(name: str) -> None:
    contrast, vectors = build(name, 9), torch.randn(N_LABELS, 9)
    contrast.start(vectors)
    torch.testing.assert_close(contrast.labels(), vectors)
    before = loss_of(contrast, batch())
    contrast.start(None)
    torch.testing.assert_close(loss_of(contrast, batch()), before)


@pytest.mark.parametrize("shape", [(N_LABELS, 6), (4, 9), (9,)])
@pytest.mark.parametrize("name", WITH_LABELS)
def test_label_vectors_of_another_shape_are_refused(name: str, shape: tuple[int, ...]) -> None:
    with pytest.raises(ModelError, match=r"label vectors must have shape \(5, 9\); got"):
        build(name, 9).start(torch.zeros(shape))


@pytest.mark.parametrize("name", WITH_LABELS)
def test_label_vectors_that_do_not_learn_stay(name: str) -> None:
    contrast = build(name, learn_labels=False)
    loss_of(contrast, batch()).backward()
    assert contrast.labels.vectors.grad is None
    assert contrast.state_dict().keys() == build(name).state_dict().keys()


def test_random_label_vectors_have_about_unit_length() -> None:
    lengths = CONTRASTS["gcacl"](DIM, 50).labels().norm(dim=1)  # type: ignore[attr-defined]
    assert ((lengths > 0.7) & (lengths < 1.3)).all()


# ---------------------------------------------------------------- settings


@pytest.mark.parametrize("name", CONTRASTS)
def test_unknown_setting_is_named(name: str) -> None:
    with pytest.raises(ConfigError, match=f"{name} settings: unknown setting 'temprature'; known: "):
        contrast_config(name, {"temprature": 0.1})


@pytest.mark.parametrize(
    ("name", "setting", "value"),
    [
        ("gcacl", "temperature", 0.0),
        ("gcacl", "label_dim", 0),
        ("gcacl", "negatives", "some"),
        ("mulcon", "temperature", 0.0),
        ("mulcon", "contrast_weight", -1.0),
        ("mulcon", "n_heads", 0),
        ("mcl", "margin", 5.0),
        ("mcl", "separation", -1.0),
        ("mcl", "projection_dim", 0),
        ("mltc", "temperature", 0.0),
        ("mltc", "overlap", "dice"),
        ("mltc", "projection_dim", 0),
        ("cgmvae", "latent", 0),
        ("cgmvae", "hidden", 1),
        ("cgmvae", "dropout", 1.0),
        ("cgmvae", "temperature", 0.0),
        ("cgmvae", "kl_weight", -1.0),
    ],
)
def test_values_out_of_range_are_refused(name: str, setting: str, value: Any) -> None:
    with pytest.raises(ConfigError, match=setting):
        contrast_config(name, {setting: value})


def test_unknown_contrast_is_refused() -> None:
    with pytest.raises(ConfigError, match="must be one of gcacl, mulcon, mcl, mltc, cgmvae; got 'simclr'"):
        contrast_config("simclr", {})


def test_heads_must_divide_the_width() -> None:
    with pytest.raises(ConfigError, match="n_heads must divide the width 8 of the tokens; got 3"):
        build("mulcon", n_heads=3)


# ---------------------------------------------------------------- gcacl


@pytest.mark.parametrize("normalise", [False, True])
def test_gcacl_maps_centroids_and_labels_by_one_map(normalise: bool) -> None:
    contrast, (fused, tokens, present, targets) = build("gcacl", normalise=normalise), batch()
    raw, costs = contrast.labels(), []
    of_batch = targets.any(0)
    for x, row in zip(fused, targets, strict=True):
        if not row.any():
            continue
        centroid, others = contrast.map(raw[row > 0].mean(0)), contrast.map(raw[(row == 0) & of_batch])
        vectors = torch.cat([centroid[None], others])
        keep = normalize if normalise else lambda values, dim: values
        products = keep(vectors, dim=1) @ keep(x, dim=0)
        costs.append(-torch.log_softmax(products / 0.1, 0)[0])
    torch.testing.assert_close(contrast(fused, tokens, present, targets), torch.stack(costs).mean())


def test_gcacl_as_in_the_authors_code_moves_titles_only() -> None:
    contrast, given = build("gcacl", learn_labels=False), batch()
    loss_of(contrast, given).backward()
    assert all(parameter.grad is None for parameter in contrast.parameters())
    assert given[0].grad is not None
    assert given[0].grad.any()


# ---------------------------------------------------------------- mulcon


def attention_by_hand(attention: nn.Module, labels: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
    """Return the features of one title from the tokens it has, head by head."""
    query, width = attention.query(labels), DIM // attention.n_heads
    answers = []
    for head in range(attention.n_heads):
        part = slice(head * width, (head + 1) * width)
        scores = query[:, part] @ attention.key(tokens)[:, part].T / width**0.5
        answers.append(torch.softmax(scores, 1) @ attention.value(tokens)[:, part])
    x = attention.norms[0](query + attention.out(torch.cat(answers, 1)))
    out: torch.Tensor = attention.norms[1](x + torch.relu(attention.last(x)))
    return out


@torch.no_grad()
def test_mulcon_attends_to_present_tokens_only() -> None:
    contrast, (_, tokens, present, _) = build("mulcon"), batch()
    found = contrast.attention(contrast.labels(), tokens, present)
    assert found.shape == (6, N_LABELS, DIM)
    for row in range(6):
        if present[row].any():
            own = tokens[row][present[row] > 0]
            torch.testing.assert_close(found[row], attention_by_hand(contrast.attention, contrast.labels(), own))
    unread = torch.where(present.unsqueeze(-1) > 0, tokens, torch.inf)
    torch.testing.assert_close(contrast.attention(contrast.labels(), unread, present), found)


@torch.no_grad()
def test_mulcon_is_cross_entropy_plus_half_the_contrast() -> None:
    contrast, (fused, tokens, present, targets) = build("mulcon"), batch()
    views = contrast.attention(contrast.labels(), tokens, present)
    logits = torch.stack([views[:, c] @ contrast.weight[c] + contrast.bias[c] for c in range(N_LABELS)], 1)
    pairs = [(row, c) for row in range(6) for c in range(N_LABELS) if targets[row, c]]
    vectors = torch.stack([normalize(contrast.projection.layers(views[row, c]), dim=0) for row, c in pairs])
    expected = binary_cross_entropy_with_logits(logits, targets) * N_LABELS  # summed over labels
    expected += 0.5 * label_contrast(vectors, torch.tensor([c for _, c in pairs]), temperature=0.2)
    torch.testing.assert_close(contrast(fused, tokens, present, targets), expected)


# ---------------------------------------------------------------- mcl


@torch.no_grad()
def test_mcl_gathers_one_vector_per_label_of_a_title() -> None:
    contrast, (fused, tokens, present, targets) = build("mcl", margin=2.0, separation=0.5), batch()
    gates = torch.sigmoid(contrast.gate(contrast.labels()))
    vectors: dict[int, list[torch.Tensor]] = {}
    for row in range(6):
        for c in range(N_LABELS):
            if targets[row, c]:
                own = normalize(contrast.projection(fused[row] * gates[c]), dim=0)
                vectors.setdefault(c, []).append(own)
    centres = {c: torch.stack(own).mean(0) for c, own in vectors.items()}
    spread = torch.stack([(v - centres[c]).square().sum() for c, own in vectors.items() for v in own]).mean()
    gaps = [(centres[a] - centres[b]).square().sum() for a in centres for b in centres if a < b]
    lack = torch.stack([(2.0 - gap).clamp(min=0) for gap in gaps]).mean()
    torch.testing.assert_close(contrast(fused, tokens, present, targets), spread + 0.5 * lack)


# ---------------------------------------------------------------- mltc


@torch.no_grad()
@pytest.mark.parametrize("overlap", ["jaccard", "shared"])
def test_mltc_weighs_positives_by_overlap(overlap: str) -> None:
    contrast, (fused, tokens, present, targets) = build("mltc", overlap=overlap), batch()
    weights = torch.zeros(6, 6)
    for i in range(6):
        for j in range(6):
            shared, either = (targets[i] * targets[j]).sum(), (targets[i] + targets[j]).clamp(max=1).sum()
            weights[i, j] = shared if overlap == "shared" else shared / either.clamp(min=1)
    vectors = contrast.projection(fused)
    torch.testing.assert_close(vectors.norm(dim=1), torch.ones(6))
    torch.testing.assert_close(contrast(fused, tokens, present, targets), weighted_contrast(vectors, weights))


def test_neighbours_speak_as_near_as_they_are() -> None:
    generator = torch.Generator().manual_seed(0)
    queries, memory = (normalize(torch.randn(n, 4, generator=generator), dim=1) for n in (3, 10))
    labels = (torch.rand(10, 2, generator=generator) < 0.5).float()
    found = knn_probabilities(queries, memory, labels, 4, 0.2)
    for row in range(3):
        near = sorted(((float(queries[row] @ memory[m]), m) for m in range(10)), reverse=True)[:4]
        weights = torch.softmax(torch.tensor([similarity for similarity, _ in near]) / 0.2, 0)
        expected = sum(weight * labels[m] for weight, (_, m) in zip(weights, near, strict=True))
        torch.testing.assert_close(found[row], expected)
    assert ((found >= 0) & (found <= 1)).all()


def test_neighbours_of_a_small_memory() -> None:
    memory, labels = torch.eye(2), torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    torch.testing.assert_close(knn_probabilities(memory, memory, labels, 1, 0.1), labels)
    even = normalize(torch.ones(1, 2), dim=1)
    torch.testing.assert_close(knn_probabilities(even, memory, labels, 50, 0.1), torch.full((1, 2), 0.5))


@pytest.mark.parametrize(("size", "k"), [(0, 5), (3, 0)])
def test_neighbours_need_a_memory(size: int, k: int) -> None:
    with pytest.raises(ModelError, match=f"got {size} titles and k = {k}"):
        knn_probabilities(torch.eye(2), torch.zeros(size, 2), torch.zeros(size, 3), k, 0.1)


# ---------------------------------------------------------------- cgmvae

NONE = {"decoding_weight": 0.0, "kl_weight": 0.0, "contrast_weight": 0.0}


@pytest.mark.parametrize("weight", NONE)
def test_cgmvae_is_the_sum_of_its_weighed_parts(weight: str) -> None:
    parts = {part: loss_of(build("cgmvae", **(NONE | {part: 1.0})), batch()) for part in NONE}
    assert float(loss_of(build("cgmvae", **NONE), batch()).detach()) == 0
    weights = dict.fromkeys(NONE, 1.0) | {weight: 2.5}
    whole = loss_of(build("cgmvae", **weights), batch())
    torch.testing.assert_close(whole, sum(weights[part] * value for part, value in parts.items()))


@torch.no_grad()
@pytest.mark.parametrize("part", ["decoding_weight", "contrast_weight"])
def test_cgmvae_decodes_titles_and_priors(part: str) -> None:
    contrast, (fused, tokens, present, targets) = build("cgmvae", **(NONE | {part: 1.0})), batch()
    points = {"title": torch.tensor([0.5, -1.0, 2.0]), "prior": torch.tensor([-3.0, 1.0, 0.0])}
    for encoder, point in ((contrast.title_encoder, points["title"]), (contrast.label_encoder, points["prior"])):
        encoder[-1].weight.zero_()
        encoder[-1].bias.copy_(torch.cat([point, torch.full((3,), -50.0)]))  # points that hardly vary
    likelihood: dict[str, list[torch.Tensor]] = {"title": [], "prior": []}
    contrasts = []
    for source, point in points.items():
        for x, row in zip(fused, targets, strict=True):
            decoded = normalize(contrast.decoder(torch.cat([x, point])), dim=0)
            logits = contrast.embedding(contrast.labels()) @ decoded
            if source == "title" or row.any():
                likelihood[source].append(binary_cross_entropy_with_logits(logits, row, reduction="sum"))
            if row.any():
                contrasts.append(-torch.log_softmax(logits, 0)[row > 0].mean())
    expected = {
        "decoding_weight": 2 * torch.stack(likelihood["title"]).mean() + torch.stack(likelihood["prior"]).mean(),
        "contrast_weight": torch.stack(contrasts).mean(),
    }
    torch.testing.assert_close(contrast(fused, tokens, present, targets), expected[part], rtol=2e-3, atol=0)


def test_cgmvae_draws_by_the_global_seed() -> None:
    contrast, given = build("cgmvae"), batch()
    first = loss_of(contrast, given)
    torch.manual_seed(8)
    assert not torch.allclose(contrast(*given), first)
    torch.testing.assert_close(loss_of(contrast, given), first)


def test_cgmvae_of_wild_representations_stays_finite() -> None:
    fused, tokens, present, targets = batch()
    assert_sound(build("cgmvae"), ((fused * 1e4).detach().requires_grad_(), tokens, present, targets))
