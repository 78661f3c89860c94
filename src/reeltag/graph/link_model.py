"""A trained scorer: the two tables, what their rows are asked for, and the folder they are kept in."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from reeltag.config import check_choice, from_json, to_json
from reeltag.errors import ArtefactError, ConfigError, GraphError
from reeltag.files import write_json
from reeltag.graph.scorers import SCORERS, Scorer, Side
from reeltag.graph.stored import read_object, read_tensors

_SCHEMA = 1


@dataclass(frozen=True, eq=False)
class LinkModel:
    """A scorer and its tables.

    Attributes:
        scorer: The scorer.
        entities: (n_entities, scorer.entity_width), float32.
        relations: (n_relations, scorer.relation_width), twice as many rows when the scorer is reciprocal.
    """

    scorer: Scorer
    entities: torch.Tensor
    relations: torch.Tensor

    @property
    def n_entities(self) -> int:
        """Rows of the entity table."""
        return len(self.entities)

    @property
    def n_relations(self) -> int:
        """Relations of the graph (reverse ones not counted)."""
        return len(self.relations) // (2 if self.scorer.reciprocal else 1)

    @torch.no_grad()
    def scores(
        self,
        known: torch.Tensor,
        relation: torch.Tensor,
        side: Side,
        candidates: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Score candidates for the missing side of some links.

        Args:
            known: Ids of the known entities, (k,).
            relation: Ids of the relations, (k,).
            side: The side that is missing.
            candidates: Ids of the candidates, (n,); every entity when None.

        Returns:
            (k, n), higher is more plausible.
        """
        rows = self.entities if candidates is None else self.entities[candidates]
        out = torch.empty(len(known), len(rows))
        known, relation = known.to(self.entities.device), relation.to(self.entities.device)
        for where in self._one_relation_each(relation):
            asked_side, relation_rows = asked(self.scorer, relation[where], side, self.n_relations)
            prepared = self._prepared(relation_rows)
            query = self.scorer.query(self.entities[known[where]].unsqueeze(0), prepared, asked_side)
            out[where] = self.scorer.against(query, prepared, rows.unsqueeze(0))[0]
        return out

    @torch.no_grad()
    def score(self, head: torch.Tensor, relation: torch.Tensor, tail: torch.Tensor) -> torch.Tensor:
        """Return the scores (k,) of whole links given by ids (k,), asked for by their tails."""
        out = torch.empty(len(head))
        head, relation, tail = (ids.to(self.entities.device) for ids in (head, relation, tail))
        for where in self._one_relation_each(relation):
            prepared = self._prepared(relation[where])
            query = self.scorer.query(self.entities[head[where]].unsqueeze(0), prepared, "tail")
            out[where] = self.scorer.paired(query, prepared, self.entities[tail[where]].unsqueeze(0))[0]
        return out

    def _prepared(self, relation_rows: torch.Tensor) -> torch.Tensor:
        """Return prepared relations (1, k, any width), or one for all where they are too wide to be copied."""
        rows = relation_rows[:1] if self.scorer.one_relation else relation_rows
        return self.scorer.prepare(self.relations.index_select(0, rows)).unsqueeze(0)

    def _one_relation_each(self, relation: torch.Tensor) -> list[torch.Tensor | slice]:
        """Return the parts of a query that can be asked at once."""
        if not self.scorer.one_relation:
            return [slice(None)]
        return [torch.nonzero(relation == value).flatten() for value in torch.unique(relation)]

    def save(self, folder: Path) -> None:
        """Write ``link_model.json`` and ``link_model.safetensors`` into a folder."""
        folder.mkdir(parents=True, exist_ok=True)
        tensors = {"entities": self.entities, "relations": self.relations} | network_tensors(self.scorer)
        save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, folder / "link_model.safetensors")
        data = {"schema": _SCHEMA, "scorer": self.scorer.name, "settings": scorer_settings(self.scorer)}
        write_json(folder / "link_model.json", data)

    @classmethod
    def load(cls, folder: Path) -> LinkModel:
        """Read what ``save`` wrote.

        Raises:
            ArtefactError: The folder holds no link model, one of another version, or tables that do not fit.
        """
        path = folder / "link_model.json"
        if not path.is_file():
            raise ArtefactError(f"{folder}: holds no trained link model ({path.name} is missing)")
        data = read_object(path)
        if data.get("schema") != _SCHEMA:
            raise ArtefactError(f"{path}: schema must be {_SCHEMA}; got {data.get('schema')!r}")
        try:
            scorer = open_scorer(data.get("scorer"), data.get("settings"))
        except ConfigError as error:
            raise ArtefactError(f"{path}: {error}") from None
        tensors = read_tensors(folder / "link_model.safetensors")
        own = network_tensors(scorer)
        expected = {"entities", "relations", *own}
        if set(tensors) != expected:
            wrong = ", ".join(sorted(set(tensors) ^ expected))
            raise ArtefactError(f"{folder}: unknown or missing tensors for the scorer {scorer.name}: {wrong}")
        if any(tensors[name].shape != tensor.shape for name, tensor in own.items()):
            raise ArtefactError(f"{folder}: the network does not fit the scorer {scorer.name} and its settings")
        load_network(scorer, tensors)
        model = cls(scorer, tensors["entities"], tensors["relations"])
        widths = (model.entities.shape[1:], model.relations.shape[1:])
        if widths != ((scorer.entity_width,), (scorer.relation_width,)):
            shown = " and ".join(str(tuple(table.shape)) for table in (model.entities, model.relations))
            raise ArtefactError(f"{folder}: tables of shapes {shown} do not fit the scorer {scorer.name}")
        return model


def asked(scorer: Scorer, relation: torch.Tensor, side: Side, n_relations: int) -> tuple[Side, torch.Tensor]:
    """Return the side and relation rows to ask for: a reciprocal scorer asks for the tail of the reverse relation."""
    if scorer.reciprocal and side == "head":
        return "tail", relation + n_relations
    return side, relation


def open_scorer(name: Any, settings: Any = None) -> Scorer:
    """Return a scorer by name.

    Raises:
        ConfigError: The name or a setting is unknown, or a value is out of range.
    """
    check_choice("scorer", "name", name, SCORERS)
    scorer: Scorer = from_json(SCORERS[name], settings or {}, f"settings of {name}")
    return scorer


def scorer_settings(scorer: Scorer) -> dict[str, Any]:
    """Return the settings of a scorer as JSON values."""
    return to_json(scorer)


def network_tensors(scorer: Scorer) -> dict[str, torch.Tensor]:
    """Return the tensors of the scorer's network, named ``network.…``."""
    return {} if scorer.network is None else {f"network.{k}": v for k, v in scorer.network.state_dict().items()}


def load_network(scorer: Scorer, tensors: dict[str, torch.Tensor]) -> None:
    """Load ``network_tensors`` into a scorer's network and set it to evaluation mode."""
    if scorer.network is not None:
        prefix = "network."
        own = {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
        scorer.network.load_state_dict(own)
        scorer.network.eval()


def check_fits(model: LinkModel, n_entities: int, n_relations: int, source: str) -> None:
    """Raise GraphError unless the model's tables have the rows of a graph."""
    if (model.n_entities, model.n_relations) != (n_entities, n_relations):
        raise GraphError(
            f"the model knows {model.n_entities:,} entities and {model.n_relations} relations, but {source} has "
            f"{n_entities:,} and {n_relations}: it was trained on another graph"
        )
