"""Reads bins in the layout of the Amazon Bin Image Dataset: pictures, records, and a split that does not leak.

In: folders, zips or S3 places (s3://BUCKET or s3://BUCKET/FOLDER, read without credentials, as the public bucket is) that
hold `bin-images/ID.jpg`, `metadata/ID.json` and, perhaps, `index.csv` (id, split, pair_group). Out: `Bin`s: label, record lines, split, pair group; their JPEG bytes on demand. `metadata/` may be missing: then the
bins can be counted but have no label.

Ids n and n+1 are often one bin before and after an event (40.7 % share an ASIN): split apart they leak from train to
validation. Where there is no index, such neighbours get one `pair_group`, and whole groups are dealt to the splits.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
import math
import os
import zipfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Self

from inventorybot.domain.counting import MAX_COUNT
from inventorybot.errors import SetupError

VAL_PERMILLE = 112
"""Share of pair groups, in thousandths, that goes to validation where no index.csv says otherwise."""


@dataclass(frozen=True, slots=True)
class Line:
    """One line of a bin's record: a SKU (the metadata key, which is not always an ASIN) and its quantity."""

    sku: str
    asin: str
    name: str
    quantity: int
    volume: float | None = None  # cubic inches of one item; None: not on record
    weight: float | None = None  # pounds of one item; None: not on record


@dataclass(frozen=True, slots=True)
class Bin:
    """One bin: where its picture is, what its record says (`quantity` None: no record), and which split it is in."""

    id: str
    source: BinSource
    quantity: int | None
    lines: tuple[Line, ...] = ()
    split: str = ""
    pair_group: str = ""

    @property
    def label(self) -> int:
        """The class to learn: EXPECTED_QUANTITY, 20 standing for 20 or more."""
        if self.quantity is None:
            raise SetupError(f"bin {self.id} of {self.source.path} has no metadata/{self.id}.json, so no label")
        return min(self.quantity, MAX_COUNT)

    @property
    def asins(self) -> int:
        """Number of distinct products on the record: the baseline that needs no picture."""
        return len({line.asin for line in self.lines})

    def jpeg(self) -> bytes:
        return self.source.read(f"bin-images/{self.id}.jpg")


@dataclass(frozen=True, slots=True, eq=False)
class BinSource:
    """A folder, zip or S3 place in the ABID layout, opened once. `bucket`: its file system, where it is on S3."""

    path: Path | str
    archive: zipfile.ZipFile | None = field(default=None, repr=False)
    bucket: Any = field(default=None, repr=False)

    @classmethod
    def open(cls, path: str | Path) -> Self:
        """Raises: SetupError: there is nothing at `path`, or it is none of the three."""
        if str(path).startswith("s3:/"):
            return cls(str(path).removeprefix("s3:").strip("/"), bucket=_anonymous_s3())
        path = Path(path)
        if path.is_dir():
            return cls(path)
        if not path.exists():
            raise SetupError(f"{path} does not exist: give a folder or zip with bin-images/ and metadata/ inside")
        try:
            return cls(path, zipfile.ZipFile(path))
        except zipfile.BadZipFile as e:
            raise SetupError(f"{path} is neither a folder nor a zip file") from e

    def read(self, name: str) -> bytes:
        """Raises: KeyError, OSError: there is no such file."""
        if self.bucket is not None:
            return bytes(self.bucket.cat_file(f"{self.path}/{name}"))
        return self.archive.read(name) if self.archive else (Path(self.path) / name).read_bytes()

    def read_many(self, names: Sequence[str]) -> list[bytes]:
        """Several files, in order; from S3 many at once, because each alone takes a round trip."""
        if self.bucket is None or not names:
            return [self.read(name) for name in names]
        found = self.bucket.cat([f"{self.path}/{name}" for name in names])
        return [bytes(found[f"{self.path}/{name}"]) for name in names]

    def names(self, folder: str, suffix: str) -> list[str]:
        """Sorted stems of the files `folder/*suffix`. Raises: SetupError: the bucket cannot be listed."""
        found: Iterable[str]
        if self.bucket is not None:
            found = self._listed(folder)
        elif self.archive:
            found = (n for n in self.archive.namelist() if n.startswith(folder + "/"))
        else:
            found = (p.name for p in (Path(self.path) / folder).glob("*" + suffix))
        return sorted(Path(n).stem for n in found if n.endswith(suffix))

    def _listed(self, folder: str) -> list[str]:
        try:
            return [str(n) for n in self.bucket.ls(f"{self.path}/{folder}", detail=False)]
        except FileNotFoundError:
            return []
        except OSError as e:  # also what s3fs makes of a refusal
            raise SetupError(f"s3://{self.path} cannot be listed without credentials: {e}") from e

    def index(self) -> dict[str, dict[str, str]]:
        """Rows of index.csv by id; empty where there is none."""
        try:
            text = self.read("index.csv").decode()
        except (KeyError, FileNotFoundError):
            return {}
        return {row["id"]: row for row in csv.DictReader(io.StringIO(text))}


def _anonymous_s3() -> Any:
    """AWS_ENDPOINT_URL names another store than AWS, as for every AWS tool."""
    import fsspec

    return fsspec.filesystem("s3", anon=True, endpoint_url=os.environ.get("AWS_ENDPOINT_URL"), skip_instance_cache=True)


def read_jpegs(bins: Sequence[Bin]) -> list[bytes]:
    """The pictures of some bins, in order; those on S3 are fetched many at once."""
    found: dict[tuple[int, str], bytes] = {}
    for source in {id(b.source): b.source for b in bins}.values():
        ids = [b.id for b in bins if b.source is source]
        data = source.read_many([f"bin-images/{i}.jpg" for i in ids])
        found |= {(id(source), i): d for i, d in zip(ids, data, strict=True)}
    return [found[id(b.source), b.id] for b in bins]


def read_bins(paths: Sequence[str | Path]) -> list[Bin]:
    """All bins of some folders and zips, sorted by id, split and grouped.

    Args: paths: folders, zips, or s3://BUCKET[/FOLDER] (which `Path` spells s3:/BUCKET).
    Raises: SetupError: a path cannot be read, or holds no bin-images/*.jpg.
    """
    bins: list[Bin] = []
    for path in paths:
        source = BinSource.open(path)
        index = source.index()
        records = set(source.names("metadata", ".json"))
        ids = source.names("bin-images", ".jpg")
        if not ids:
            raise SetupError(f"{path} holds no bin-images/*.jpg: it is not in the ABID layout")
        with_record = [bin_id for bin_id in ids if bin_id in records]
        texts = dict(zip(with_record, source.read_many([f"metadata/{i}.json" for i in with_record]), strict=True))
        for bin_id in ids:
            row = index.get(bin_id, {})
            quantity, lines = _record(json.loads(texts[bin_id])) if bin_id in texts else (None, ())
            bins.append(Bin(bin_id, source, quantity, lines, row.get("split", ""), row.get("pair_group", "")))
    bins.sort(key=lambda b: (b.id.zfill(12), str(b.source.path)))
    return list(_split(bins))


def _record(metadata: dict[str, Any]) -> tuple[int, tuple[Line, ...]]:
    lines = tuple(
        Line(
            key,
            str(item.get("asin") or key),
            str(item.get("name") or ""),
            int(item.get("quantity") or 0),
            _volume(item),
            _value(item, "weight"),
        )
        for key, item in (metadata.get("BIN_FCSKU_DATA") or {}).items()
    )
    return int(metadata["EXPECTED_QUANTITY"]), lines


def _value(item: dict[str, Any], name: str) -> float | None:
    """A measure such as {"unit": "IN", "value": 1.2}; None where it is missing, null or not above 0."""
    value = (item.get(name) or {}).get("value")
    return float(value) if isinstance(value, int | float) and value > 0 else None


def _volume(item: dict[str, Any]) -> float | None:
    sides = [_value(item, side) for side in ("height", "length", "width")]
    return math.prod(s for s in sides if s is not None) if None not in sides else None


def _split(bins: list[Bin]) -> Iterator[Bin]:
    """Fills in `pair_group` and `split` where the index gave none."""
    group, before = "", None
    for it in bins:
        twin = before is not None and _adjacent(before, it)
        group = it.pair_group or (group if twin else it.id)
        before = it
        yield replace(it, pair_group=group, split=it.split or split_of(group))


def _adjacent(a: Bin, b: Bin) -> bool:
    """Whether `b` may be the same bin as `a`, one event later: the next id, and a product in common."""
    if not (a.id.isdigit() and b.id.isdigit() and int(b.id) - int(a.id) in (0, 1)):
        return False
    return bool({line.asin for line in a.lines} & {line.asin for line in b.lines})


def split_of(group: str) -> str:
    """The split of a pair group, `train` or `val`; depends on its name only, so adding bins moves none."""
    return "val" if int.from_bytes(hashlib.sha256(group.encode()).digest()[:4]) % 1000 < VAL_PERMILLE else "train"


def data_hash(bins: Sequence[Bin]) -> str:
    """sha256 over id, label, split and picture of every bin in order: names exactly what a model was trained on."""
    total = hashlib.sha256()
    for it, jpeg in zip(bins, read_jpegs(bins), strict=True):
        total.update(f"{it.id}:{it.label}:{it.split}:{hashlib.sha256(jpeg).hexdigest()}\n".encode())
    return total.hexdigest()
