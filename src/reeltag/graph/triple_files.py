r"""Knowledge graphs in files: a folder of ours, Parquet, tab-separated text, and OpenKE's folder of numbers.

Text and Parquet files name their entities and relations, which are numbered in order of first appearance (head before
tail, training triples before held-out ones where they have a file each); OpenKE's files bring their own numbers. All
kinds of such graphs are ``entity``. Files are read block by block, and no triple becomes a Python object, so that
twenty million of them fit a small machine. A triple that stands twice in a split is kept once.

In error messages rows are lines counted from 1, a header line or OpenKE's count not counted. Blank lines are skipped.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import numpy as np
import polars as pl
import pyarrow.parquet as pq

from reeltag.catalogue.fields import SPLIT_ALIASES
from reeltag.catalogue.parquet import DAMAGE, first_line, open_parquet
from reeltag.errors import CatalogueError, GraphError, shown
from reeltag.files import atomic_file, atomic_folder
from reeltag.graph.destinations import FILE_NAMES, TEXT_SUFFIXES, check_place
from reeltag.graph.tables import Vocabulary, fault
from reeltag.graph.text_lines import counted_lines, parse_numbers, read_lines, refuse_blank, split_cells
from reeltag.graph.triples import ENTITY_COLUMNS, HEAD_FILE, PLACES, RELATION_COLUMNS, SPLITS, KnowledgeGraph, Triples

_KIND = "entity"
_ROWS_AT_ONCE = 1_000_000
_HEADERS = (PLACES, ("h", "r", "t"), ("subject", "predicate", "object"), ("source", "relation", "target"))


def read_graph(path: str | Path) -> KnowledgeGraph:
    """Read a knowledge graph.

    Args:
        path: A folder that ``KnowledgeGraph.save`` wrote; a ``.parquet`` file of text columns head, relation, tail and
            optionally split; a ``.tsv`` or ``.txt`` file of three tab-separated columns, with or without the header
            ``head relation tail``, ``h r t``, ``subject predicate object`` or ``source relation target`` in any case
            (and ``split``); a folder of ``train``, ``valid`` and ``test`` files of such text;
            or an OpenKE folder (``entity2id.txt``, ``relation2id.txt``, ``train2id.txt``, …), whose triples are
            written head, tail, relation.

    Returns:
        The graph; every triple is of the split train where the file names none.

    Raises:
        GraphError: The file cannot be read or a row breaks a rule; the message names file, row, field, rule and value.
    """
    path = Path(path)
    if not path.exists():
        raise GraphError(f"{path}: cannot be read (no such file or folder)")
    try:
        if path.is_dir():
            return _read_folder(path)
        if path.suffix.lower() not in (".parquet", *TEXT_SUFFIXES):
            raise GraphError(f"{path}: a knowledge graph is a folder, or a file .parquet, .tsv or .txt")
        names = _Names(str(path))
        names.read(path)
    except OSError as error:
        raise GraphError(f"{error.filename or path}: cannot be read ({error.strerror or error})") from None
    return names.graph()


def write_graph(graph: KnowledgeGraph, path: str | Path, format: str) -> None:
    """Write a knowledge graph, whole or not at all.

    In files of names an entity is called by its key, or ``kind:key`` where two kinds share a key.

    Args:
        graph: The graph.
        path: Where to; a graph that is there is replaced, anything else is refused, see ``check_place``.
        format: ``folder`` keeps everything. ``parquet`` is one file of columns head, relation, tail, split. ``tsv`` is
            one file with a header when the path ends in ``.tsv`` or ``.txt``, else a folder of ``train.tsv``,
            ``valid.tsv`` and ``test.tsv`` without (a first triple that reads like a header gets one above it).
            ``openke`` is a folder of numbered files. The last three lose kinds and display names; ``parquet`` and
            ``tsv`` also lose entities without triples.

    Raises:
        GraphError: There is no such format, the path does not fit it or holds something else, or a name cannot be
            written in it.
    """
    path = Path(path)
    check_place(path, format)
    if format != "folder" and not len(graph.train):
        raise GraphError(f"{graph.source}: a graph without training triples can only be written as a folder")
    if format == "folder":
        graph.save(path)
    elif format == "parquet":
        _write_parquet(graph, path)
    elif format == "openke":
        _write_openke(graph, path)
    elif path.suffix.lower() in TEXT_SUFFIXES:
        _write_text(graph, path)
    else:
        _write_texts(graph, path)


class _Names:
    """A graph in the making, whose files name entities and relations."""

    def __init__(self, source: str) -> None:
        self.source = source
        self.entities, self.relations = Vocabulary(), Vocabulary()
        self.parts: dict[str, list[Triples]] = {split: [] for split in SPLITS}

    def read(self, path: Path, split: str | None = None) -> None:
        """Add the triples of a file; ``split`` is theirs, or None when the file may say."""
        blocks = _parquet_blocks(path) if path.suffix.lower() == ".parquet" else _text_blocks(path, split is None)
        for block in blocks:
            ends = block.select(ends=pl.concat_list("head", "tail")).explode("ends")["ends"]
            entities = self.entities.add(ends).reshape(-1, 2)
            triples = Triples(entities[:, 0], self.relations.add(block["relation"]), entities[:, 1])
            if "split" not in block.columns:
                self.parts[split or "train"].append(triples)
                continue
            splits = _known_splits(block, path)
            for name in SPLITS:
                self.parts[name].append(triples.take((splits == name).to_numpy()))

    def graph(self) -> KnowledgeGraph:
        """Return the graph of all that was read."""
        splits = {name: Triples.concatenate(parts).unique() for name, parts in self.parts.items()}
        return _named_graph(self.entities.names, self.relations.names, splits, self.source)


def _named_graph(entities: pl.Series, relations: pl.Series, splits: dict[str, Triples], source: str) -> KnowledgeGraph:
    if not len(splits["train"]):
        raise GraphError(f"{source}: must hold at least one training triple; got none")
    kind = pl.lit(_KIND)
    return KnowledgeGraph(
        entities.alias("key").to_frame().with_columns(name="key", kind=kind).select(ENTITY_COLUMNS),
        relations.alias("name").to_frame().with_columns(head_kind=kind, tail_kind=kind).select(RELATION_COLUMNS),
        splits,
        source,
    )


def _read_folder(path: Path) -> KnowledgeGraph:
    if (path / HEAD_FILE).exists():
        return KnowledgeGraph.load(path)
    if (path / "entity2id.txt").exists():
        return _read_openke(path)
    names = _Names(str(path))
    for split, stems in FILE_NAMES.items():
        files = [file for stem in stems for suffix in TEXT_SUFFIXES if (file := path / f"{stem}{suffix}").exists()]
        if len(files) > 1:
            raise GraphError(f"{path}: must have one file per split; got {', '.join(file.name for file in files)}")
        if split == "train" and not files:
            raise GraphError(
                f"{path}: a folder of a knowledge graph must hold {HEAD_FILE}, entity2id.txt (OpenKE), train.tsv or "
                "train.txt; got none of them"
            )
        for file in files:
            names.read(file, split)
    return names.graph()


def _text_blocks(path: Path, may_have_splits: bool) -> Iterator[pl.DataFrame]:
    """Yield the triples of a tab-separated file: columns row (from 1), head, relation, tail and maybe split."""
    columns: tuple[str, ...] = PLACES
    header = 0
    for number, lines in enumerate(read_lines(path)):
        block = lines
        if number == 0 and len(lines):
            found = _header(lines["line"][0])
            if found:
                columns, header, block = found, 1, lines.slice(1)
                if len(found) > len(PLACES) and not may_have_splits:
                    raise GraphError(f"{path}: a file of one split must have no column 'split'")
        yield split_cells(block.with_columns(pl.col("row") + (1 - header)), columns, path)


def _header(line: str) -> tuple[str, ...] | None:
    """Return the columns that a header line names; None when the line is no header."""
    cells = tuple(line.strip().lower().split("\t"))
    is_header = cells[:3] in _HEADERS and cells[3:] in ((), ("split",))
    return (*PLACES, *cells[3:]) if is_header else None


def _known_splits(block: pl.DataFrame, path: Path) -> pl.Series:
    """Return the split of every row under its own name, once all are known to have one."""
    splits = block["split"].str.strip_chars().str.to_lowercase().replace(SPLIT_ALIASES)
    wrong = block.filter(~splits.is_in(SPLITS)).head(1)
    if len(wrong):
        rule = "must be one of train, valid, validation, dev, test"
        raise fault(str(path), wrong["row"][0], "split", rule, shown(wrong["split"][0]))
    return splits


def _parquet_blocks(path: Path) -> Iterator[pl.DataFrame]:
    """Yield the triples of a Parquet file: columns row (from 1), head, relation, tail and maybe split."""
    first = 1
    try:
        with open_parquet(path) as file:
            names = file.schema_arrow.names
            columns = (*PLACES, "split") if "split" in names else PLACES
            missing = [column for column in columns if names.count(column) != 1]
            if missing:
                raise GraphError(f"{path}: must have one column {missing[0]!r}; columns: {', '.join(names)}")
            for batch in file.iter_batches(batch_size=_ROWS_AT_ONCE, columns=list(columns)):
                batch.validate(full=True)
                frame = pl.DataFrame(pl.from_arrow(batch)).with_row_index("row", offset=first)
                for column in columns:
                    if frame.schema[column] not in (pl.String, pl.Categorical, pl.Enum):
                        raise fault(str(path), None, column, "must hold texts", str(frame.schema[column]))
                frame = frame.with_columns(pl.col(columns).cast(pl.String))
                refuse_blank(frame, columns, path)
                yield frame
                first += len(frame)
    except CatalogueError as error:
        raise GraphError(str(error)) from None
    except DAMAGE as error:
        raise GraphError(f"{path}: damaged after row {first - 1:,} ({first_line(error)})") from None


# ---------------------------------------------------------------- OpenKE


def _read_openke(folder: Path) -> KnowledgeGraph:
    entities = _openke_names(folder / "entity2id.txt")
    relations = _openke_names(folder / "relation2id.txt")
    splits = {}
    for split, stems in FILE_NAMES.items():
        path = folder / f"{stems[0]}2id.txt"
        there = split == "train" or path.exists()
        splits[split] = _openke_triples(path, len(entities), len(relations)) if there else Triples.empty()
    return _named_graph(entities, relations, splits, str(folder))


def _openke_names(path: Path) -> pl.Series:
    """Return the names of an OpenKE file in the order of their ids."""
    frame = pl.concat([split_cells(block, ("name", "id"), path) for block in counted_lines(path)])
    ids = parse_numbers(frame, "id", len(frame), path)
    for field in ("id", "name"):
        repeats = frame.filter(~frame[field].is_first_distinct()).head(1)
        if len(repeats):
            raise fault(str(path), repeats["row"][0], field, "must be unique", shown(repeats[field][0]))
    return frame["name"].gather(np.argsort(ids))


def _openke_triples(path: Path, n_entities: int, n_relations: int) -> Triples:
    bounds = {"head": n_entities, "relation": n_relations, "tail": n_entities}
    parts = []
    for block in counted_lines(path):
        lines = block.with_columns(pl.col("line").str.strip_chars().str.replace_all(r"[ \t]+", "\t"))
        frame = split_cells(lines, ("head", "tail", "relation"), path)
        parts.append(Triples(*(parse_numbers(frame, place, bounds[place], path) for place in PLACES)))
    return Triples.concatenate(parts).unique()


# ---------------------------------------------------------------- writing


def _entity_names(graph: KnowledgeGraph) -> pl.Series:
    """Return how entities are called in files of names: key, or ``kind:key`` where two kinds share a key."""
    names = graph.entities.select(
        name=pl.when(pl.col("key").is_duplicated()).then(pl.col("kind") + ":" + pl.col("key")).otherwise("key")
    )["name"]
    if names.is_duplicated().any():
        repeated = names.filter(names.is_duplicated())[0]
        raise GraphError(f"{graph.source}: two entities would be written as {shown(repeated)}; use the format folder")
    return names


def _refuse_breaks(names: pl.Series, graph: KnowledgeGraph) -> pl.Series:
    broken = names.filter(names.str.contains(r"[\t\n\r]"))
    if len(broken):
        raise GraphError(
            f"{graph.source}: a name in a text file must hold no tab and no line break; got {shown(broken[0])}"
        )
    return names


def _name_blocks(graph: KnowledgeGraph, split: str, entities: pl.Series) -> Iterator[pl.DataFrame]:
    triples, relations = graph.splits[split], graph.relations["name"]
    for start in range(0, len(triples), _ROWS_AT_ONCE):
        part = triples.take(slice(start, start + _ROWS_AT_ONCE))
        names = {place: relations if place == "relation" else entities for place in PLACES}
        yield pl.DataFrame({place: names[place].gather(getattr(part, place)) for place in PLACES})


def _write_parquet(graph: KnowledgeGraph, path: Path) -> None:
    entities = _entity_names(graph)
    with atomic_file(path) as temporary:
        writer = None
        for split in graph.splits:
            for block in _name_blocks(graph, split, entities):
                table = block.with_columns(split=pl.lit(split)).to_arrow()
                writer = writer or pq.ParquetWriter(temporary, table.schema)
                writer.write_table(table)
        if writer:
            writer.close()


def _write_text(graph: KnowledgeGraph, path: Path) -> None:
    entities = _refuse_breaks(_entity_names(graph), graph)
    _refuse_breaks(graph.relations["name"], graph)
    with atomic_file(path) as temporary, temporary.open("wb") as file:
        file.write(("\t".join((*PLACES, "split")) + "\n").encode())
        for split in graph.splits:
            for block in _name_blocks(graph, split, entities):
                _write_cells(block.with_columns(split=pl.lit(split)), file)


def _write_texts(graph: KnowledgeGraph, folder: Path) -> None:
    entities = _refuse_breaks(_entity_names(graph), graph)
    _refuse_breaks(graph.relations["name"], graph)
    with atomic_folder(folder) as temporary:
        for split in graph.splits:
            with (temporary / f"{FILE_NAMES[split][0]}.tsv").open("wb") as file:
                for number, block in enumerate(_name_blocks(graph, split, entities)):
                    if number == 0 and _header("\t".join(block.row(0))):  # else it would be read as one
                        file.write(("\t".join(PLACES) + "\n").encode())
                    _write_cells(block, file)


def _write_openke(graph: KnowledgeGraph, folder: Path) -> None:
    names = {"entity2id": _entity_names(graph), "relation2id": graph.relations["name"]}
    with atomic_folder(folder) as temporary:
        for stem, column in names.items():
            frame = _refuse_breaks(column, graph).to_frame().with_columns(id=pl.int_range(len(column)))
            with _counted_file(temporary / f"{stem}.txt", len(frame)) as file:
                _write_cells(frame, file)
        for split, triples in graph.splits.items():
            with _counted_file(temporary / f"{FILE_NAMES[split][0]}2id.txt", len(triples)) as file:
                _write_cells(triples.frame().select("head", "tail", "relation"), file, " ")


@contextmanager
def _counted_file(path: Path, n: int) -> Iterator[IO[bytes]]:
    with path.open("wb") as file:
        file.write(f"{n}\n".encode())
        yield file


def _write_cells(frame: pl.DataFrame, file: IO[bytes], separator: str = "\t") -> None:
    for part in frame.iter_slices(_ROWS_AT_ONCE):
        file.write(part.write_csv(None, separator=separator, include_header=False, quote_style="never").encode())
