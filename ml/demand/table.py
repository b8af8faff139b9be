"""Reads a table of sales and finds its columns by name.

In: Parquet or CSV with any of the names in ALIASES, in any case. Out: a frame with the columns store, item, period, units
and, where given, category, price, promotion flags, stock-out flags and chosen covariates; untouched values.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd

from inventorybot.errors import SetupError

ALIASES: dict[str, tuple[str, ...]] = {
    "store": ("store", "store_id", "store_nbr", "shop", "shop_id", "site", "site_id", "location", "location_id", "warehouse",
              "outlet", "agency", "branch", "dc"),
    "item": ("item", "item_id", "item_nbr", "sku", "sku_id", "product", "product_id", "article", "article_id", "asin", "upc",
             "stockcode", "stock_code", "material", "brand", "family"),
    "period": ("week", "date", "month", "day", "period", "week_start", "week_starting", "week_ending", "ds", "d", "wm_yr_wk",
               "yearmonth", "year_month", "yearweek", "year_week", "yyyymm", "datetime", "timestamp", "invoicedate",
               "invoice_date", "order_date", "time", "t"),
    "units": ("units", "unit_sales", "units_sold", "sales_units", "quantity", "qty", "sales", "sold", "volume", "demand",
              "item_cnt_day", "move", "y", "value", "count"),
    "category": ("category", "category_id", "cat", "cat_id", "department", "dept", "dept_id", "class", "group",
                 "product_group", "subcategory"),
    "price": ("price", "unit_price", "sell_price", "price_actual", "item_price", "unitprice", "sales_price", "avg_price",
              "average_price", "actual_price"),
    "stockout": ("stockout", "stock_out", "out_of_stock", "oos", "is_stockout", "stockout_flag"),
    "on_hand": ("on_hand", "stock", "inventory", "stock_level", "inventory_level", "onhand"),
}  # fmt: skip
"""Names under which each column is found, first come first served; `d` and `sales` are tried late."""

PROMOTIONS = ("promo", "promotion", "promotions", "on_promotion", "onpromotion", "is_promo", "on_deal", "deal", "featured",
              "feature", "display", "discount", "promo_flag")  # fmt: skip
"""Numeric columns that are taken as promotion covariates wherever they are found."""


@dataclass(frozen=True, slots=True)
class Columns:
    """Which column of a table is what; "" where there is none.

    Args: covariates: further numeric columns that models may use, promotions among them.
    """

    store: str
    item: str
    period: str
    units: str
    category: str = ""
    price: str = ""
    stockout: str = ""
    on_hand: str = ""
    covariates: tuple[str, ...] = ()
    notes: tuple[str, ...] = field(default=())


def read_table(path: Path) -> pd.DataFrame:
    """A Parquet or CSV file (also .csv.gz, and separated by ; or tab) as it stands.

    Raises: SetupError: no such file, another ending, unreadable, or without rows.
    """
    if not path.is_file():
        raise SetupError(f"{path} is no file: name a Parquet or CSV table of sales")
    name = path.name.lower()
    try:
        if name.endswith((".parquet", ".pq")):
            frame = pd.read_parquet(path)
        elif name.endswith((".csv", ".csv.gz", ".tsv", ".txt")):
            frame = _read_csv(path)
        else:
            raise SetupError(f"{path} ends neither in .parquet nor in .csv")
    except (ValueError, OSError, pd.errors.ParserError) as e:
        raise SetupError(f"{path} cannot be read as a table: {str(e).splitlines()[0]}") from e
    if frame.empty:
        raise SetupError(f"{path} has no rows")
    if not isinstance(frame.index, pd.RangeIndex):
        frame = frame.reset_index()
    return frame


def _read_csv(path: Path) -> pd.DataFrame:
    with pd.io.common.get_handle(path, "r", compression="infer", errors="replace") as opened:
        head = opened.handle.readline()
    separator = max(",;\t|", key=head.count)
    # names of stores and items keep their leading zeros; "NA" may be a store
    names = [c.strip().strip('"') for c in head.strip().lstrip("\ufeff").split(separator)]
    texts = {c: "string" for c in names if c.lower() in ALIASES["store"] + ALIASES["item"] + ALIASES["category"]}
    frame = pd.read_csv(
        path, sep=separator, dtype=texts, low_memory=False, encoding="utf-8-sig", encoding_errors="replace",
        skipinitialspace=True, decimal="," if separator == ";" else ".",
    )  # fmt: skip
    return frame.rename(columns={c: str(c).strip() for c in frame.columns})


def find_columns(frame: pd.DataFrame, named: dict[str, str] | None = None, covariates: tuple[str, ...] = ()) -> Columns:
    """Finds each column by the name a person gave it, else by its aliases.

    Args:
        frame: the table.
        named: role (a key of ALIASES) to column name, where told; "" means none.
        covariates: further numeric columns to use.
    Raises: SetupError: a named column is missing, or periods or units cannot be found.
    """
    lower = {str(c).lower(): str(c) for c in reversed(frame.columns)}
    found: dict[str, str] = {}
    for role, aliases in ALIASES.items():
        told = (named or {}).get(role, "")
        if told:
            found[role] = _present(told, lower, role)
        else:
            taken = set(found.values()) | {str(v) for v in (named or {}).values()}
            found[role] = next((lower[a] for a in aliases if a in lower and lower[a] not in taken), "")
    for role, option in (("period", "--period"), ("units", "--units")):
        if not found[role]:
            raise SetupError(
                f"no column for {role} among {', '.join(map(str, frame.columns))}: name one with {option} "
                f"(found by itself: {', '.join(ALIASES[role][:6])}, …)"
            )
    used = set(found.values())
    promotions = [lower[p] for p in PROMOTIONS if p in lower and lower[p] not in used]
    chosen = [_present(c, lower, "covariate") for c in covariates]
    numeric = tuple(c for c in dict.fromkeys([*promotions, *chosen]) if _numeric(frame[c]))
    notes = [f"column {c!r} is not numeric and is not used" for c in chosen if c not in numeric]
    notes += [f"no column for {r}: all rows are one {r}" for r in ("store", "item") if not found[r]]
    return Columns(**found, covariates=numeric, notes=tuple(notes))


def _present(name: str, lower: dict[str, str], role: str) -> str:
    if name.lower() not in lower:
        raise SetupError(f"column {name!r}, named for {role}, is not in the table: it has {', '.join(lower.values())}")
    return lower[name.lower()]


def _numeric(values: pd.Series) -> bool:
    return bool(numbers(values).notna().sum() >= 0.5 * values.notna().sum() > 0)


def numbers(values: pd.Series) -> pd.Series:
    """A column as float64, also where thousands are set apart: 1,234.5, or 1.234,5; NaN where a value is no number."""
    found = pd.to_numeric(values, errors="coerce").astype(np.float64)
    if pd.api.types.is_numeric_dtype(values) or not bool((found.isna() & values.notna()).any()):
        return found
    text = values.astype("string").str.strip()
    if bool(text.str.fullmatch(r"[-+]?\d{1,3}(\.\d{3})+,\d+").any()):  # one such value tells how the column is written
        text = text.str.replace(".", "").str.replace(",", ".")
    else:
        text = text.str.replace(",", "").where(text.str.fullmatch(r"[-+]?\d{1,3}(,\d{3})+(\.\d+)?"), text)
    return pd.to_numeric(text, errors="coerce").astype(np.float64)
