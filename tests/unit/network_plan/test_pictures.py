"""A plan as pictures: every site and number that there is room for can be read in them. Run: pytest tests/unit/network_plan"""

from __future__ import annotations

import re
from pathlib import Path
from xml.etree import ElementTree

import pytest

from inventorybot.domain.network_plan import Flow, Horizon, SitePrice
from inventorybot.errors import SetupError
from ml.planning import pictures
from ml.planning.generate import Sizes, generate
from ml.planning.result import write_result
from ml.planning.run import plan

MONDAY = 1_794_787_200_000  # 2026-11-16T00:00:00Z
HORIZON = Horizon(MONDAY, 7 * 86_400_000)


def words(svg: bytes) -> list[str]:
    """What a picture says: matplotlib notes each text beside the glyphs that draw it."""
    ElementTree.fromstring(svg)
    return re.findall(r"<!-- (.*?) -->", svg.decode())


def test_prices_name_every_site_and_week_and_the_dearest_site_stands_first() -> None:
    found = [SitePrice(s, t, worth, 0.25) for s, worth in (("BER1", 3.0), ("MUC1", 12.5)) for t in range(2)]
    said = words(pictures.prices(found, HORIZON))
    assert {"BER1", "MUC1", "16 Nov", "23 Nov", "12.5", "3.00", "0.25"} <= set(said)
    assert said.index("MUC1") < said.index("BER1")
    assert any("per m³" in text for text in said)


def test_many_sites_are_cut_to_those_that_can_be_read_and_the_title_says_so() -> None:
    found = [SitePrice(f"S{n:03d}", 0, float(n), 0.0) for n in range(100)]
    said = words(pictures.prices(found))
    assert any("30 dearest of 100 sites" in text for text in said)
    assert "S099" in said
    assert "S069" not in said


def test_flows_of_all_periods_add_up_from_the_supplier_first() -> None:
    found = [
        Flow("MUC1", "BER1", 0, 7.0, 1.0),
        Flow("supplier", "MUC1", 0, 40.0, 1.0),
        Flow("supplier", "MUC1", 1, 2.0, 1.0),
    ]
    said = words(pictures.flows(found))
    assert {"7.00", "42.0", "from", "to", "units"} <= set(said)
    assert said.index("supplier") < said.index("MUC1")


def test_a_plan_in_which_nothing_moves_says_so() -> None:
    assert "nothing" in words(pictures.flows([]))


@pytest.mark.parametrize(("value", "said"), [(0.004, "0"), (0.03, "0.03"), (12.34, "12.3"), (120, "120"), (126_400, "126k"),
                                            (12_100, "12.1k"), (3_400_000, "3.4M")])  # fmt: skip
def test_a_number_fits_its_cell(value: float, said: str) -> None:
    assert pictures._short(value) == said


def test_the_tables_of_a_plan_are_drawn_into_a_folder(tmp_path: Path) -> None:
    instance = generate(Sizes(20, 3, 2, layers=2), 1)
    write_result(plan(instance, device="cpu"), instance, tmp_path / "plan")
    drawn = pictures.draw(tmp_path / "plan", tmp_path / "pictures")
    assert [path.name for path in drawn] == ["prices.svg", "flows.svg"]
    assert set(instance.site.tolist()) <= set(words(drawn[0].read_bytes()))
    assert "supplier" in words(drawn[1].read_bytes())
    with pytest.raises(SetupError, match="holds no plan"):
        pictures.draw(tmp_path, tmp_path)
