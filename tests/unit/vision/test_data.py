"""Reading bins, and a split that keeps before/after pairs together. Run: pytest tests/unit/vision/test_data.py"""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import pytest

from inventorybot.errors import SetupError
from ml.vision.data import Bin, data_hash, read_bins, split_of


def folder(path: Path, records: dict[str, dict[str, int]], index: str = "") -> Path:
    """An ABID folder: id -> {asin: quantity}."""
    for name in ("bin-images", "metadata"):
        (path / name).mkdir(parents=True)
    for bin_id, lines in records.items():
        (path / "bin-images" / f"{bin_id}.jpg").write_bytes(b"picture " + bin_id.encode())
        data = {asin: {"asin": asin, "name": "x", "quantity": n} for asin, n in lines.items()}
        record = {"BIN_FCSKU_DATA": data, "EXPECTED_QUANTITY": sum(lines.values())}
        (path / "metadata" / f"{bin_id}.json").write_text(json.dumps(record))
    if index:
        (path / "index.csv").write_text(index)
    return path


def groups(bins: list[Bin]) -> dict[str, str]:
    return {b.id: b.pair_group for b in bins}


def test_neighbouring_ids_that_share_a_product_are_one_group(tmp_path: Path) -> None:
    #  id     07   08   09   10   11
    #  holds  A    A,B  B    C    B      07-08-09 are a chain; 10 shares nothing; 11 is no neighbour of 09
    records = {"07": {"A": 1}, "08": {"A": 1, "B": 2}, "09": {"B": 1}, "10": {"C": 4}, "11": {"B": 1}}
    assert groups(read_bins([folder(tmp_path / "a", records)])) == {
        "07": "07",
        "08": "07",
        "09": "07",
        "10": "10",
        "11": "11",
    }


def test_neighbours_that_lie_in_two_files_are_still_one_group(tmp_path: Path) -> None:
    a, b = folder(tmp_path / "a", {"00001": {"A": 1}}), folder(tmp_path / "b", {"00002": {"A": 2}})
    assert groups(read_bins([a, b])) == {"00001": "00001", "00002": "00001"}


def test_a_whole_group_lies_on_one_side_of_the_split(tmp_path: Path) -> None:
    records = {f"{i:05}": {f"A{i // 2}": 1} for i in range(400)}
    bins = read_bins([folder(tmp_path / "a", records)])
    side = {b.pair_group: b.split for b in bins}
    assert all(side[b.pair_group] == b.split for b in bins)
    assert len(side) == 200
    assert 5 <= sum(s == "val" for s in side.values()) <= 45  # 11 % of 200, generously


def test_the_split_of_a_group_depends_on_nothing_but_its_name() -> None:
    assert [split_of(g) for g in ("00001", "00002")] == [split_of(g) for g in ("00001", "00002")]
    assert {split_of(str(i)) for i in range(100)} == {"train", "val"}


def test_an_index_decides_where_there_is_one(tmp_path: Path) -> None:
    index = "id,expected_quantity,split,pair_group\n1,2,val,9\n2,2,train,8\n"
    bins = read_bins([folder(tmp_path / "a", {"1": {"A": 2}, "2": {"A": 2}}, index)])
    assert [(b.split, b.pair_group) for b in bins] == [("val", "9"), ("train", "8")]


def test_a_zip_reads_as_the_folder_does(tmp_path: Path) -> None:
    source = folder(tmp_path / "a", {"1": {"A": 25}, "2": {}})
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as z:
        for file in source.rglob("*.*"):
            z.write(file, file.relative_to(source))
    for bins in (read_bins([source]), read_bins([tmp_path / "a.zip"])):
        assert [(b.quantity, b.label, b.asins, b.jpeg()) for b in bins] == [
            (25, 20, 1, b"picture 1"),
            (0, 0, 0, b"picture 2"),
        ]


def test_the_data_hash_changes_with_a_label_and_with_a_picture(tmp_path: Path) -> None:
    first = data_hash(read_bins([folder(tmp_path / "a", {"1": {"A": 1}})]))
    assert first == data_hash(read_bins([folder(tmp_path / "b", {"1": {"A": 1}})]))
    assert first != data_hash(read_bins([folder(tmp_path / "c", {"1": {"A": 2}})]))
    (tmp_path / "a" / "bin-images" / "1.jpg").write_bytes(b"another")
    assert first != data_hash(read_bins([tmp_path / "a"]))


def test_a_bin_without_a_record_can_be_read_but_has_no_label(tmp_path: Path) -> None:
    source = folder(tmp_path / "a", {"1": {"A": 1}})
    (source / "metadata" / "1.json").unlink()
    (it,) = read_bins([source])
    assert it.jpeg() == b"picture 1"
    with pytest.raises(SetupError, match=r"metadata/1\.json"):
        _ = it.label


def test_what_is_no_abid_folder_is_refused_in_words(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("x")
    for path, words in (
        (tmp_path / "none", "does not exist"),
        (tmp_path / "text", "neither"),
        (tmp_path, "no bin-images"),
    ):
        with pytest.raises(SetupError, match=words):
            read_bins([path])
