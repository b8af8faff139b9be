"""How anomalies ended, and whether they were right: the labels that detectors learn from.

In: the anomalies' states, what cycle counts found. Out: rows of the lake's dataset anomalies.

confirmed: a person closed it with record-corrected; or it was resolved and a cycle count between a day before it was raised and its end
found another number than recorded, in its bin, or of its SKU where it names no bin. refuted: closed with record-right; or resolved
and every such count found what was recorded. unknown: it lives; it was closed as duplicate or other; or nobody counted.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import msgspec
import pyarrow as pa
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from inventorybot.domain.alerts import Anomaly
from inventorybot.wire.codec import from_ms
from ml.history.lake import SCHEMAS

CONFIRMED, REFUTED, UNKNOWN = "confirmed", "refuted", "unknown"
BY_PEOPLE = {"record-corrected": CONFIRMED, "record-right": REFUTED}
COUNTED_BEFORE = "INTERVAL 1 DAY"
"""A count that arrives late may have been taken before the anomaly was raised."""
_FLAT = (
    "id string, kind string, site string, bin string, sku string, raised_at timestamp, ended_at timestamp, status string, "
    "probability double, recorded long, estimate long, close_reason string"
)
_STATE = msgspec.json.Decoder(Anomaly)


def anomaly_rows(states: DataFrame, corrections: DataFrame) -> DataFrame:
    """Rows of the dataset anomalies.

    Args:
        states: id, state (JSON of `domain.alerts.Anomaly`).
        corrections: the lake's dataset of that name.
    """
    flat = states.select("state").mapInArrow(_flat, _FLAT)
    c = corrections.select(
        F.col("site").alias("c_site"), F.col("bin").alias("c_bin"), F.col("sku").alias("c_sku"), "counted_at",
        (F.col("found") != F.col("recorded")).alias("wrong"),
    )  # fmt: skip
    about = (F.col("site") == c["c_site"]) & (F.col("bin").isNull() | (F.col("bin") == c["c_bin"]))
    about &= F.col("sku").isNull() | (F.col("sku") == c["c_sku"])
    about &= c["counted_at"].between(F.col("raised_at") - F.expr(COUNTED_BEFORE), F.col("ended_at"))
    judged = flat.join(c, about, "left").groupBy(*flat.columns).agg(F.max("wrong").alias("wrong"))
    told = F.create_map(*[F.lit(word) for pair in BY_PEOPLE.items() for word in pair])[F.col("close_reason")]
    found = F.when(F.col("wrong"), CONFIRMED).when(~F.col("wrong"), REFUTED).otherwise(UNKNOWN)
    outcome = F.when(F.col("status") == "closed", F.coalesce(told, F.lit(UNKNOWN)))
    outcome = outcome.when(F.col("status") == "resolved", found).otherwise(UNKNOWN)
    return judged.withColumn("outcome", outcome).withColumn("day", F.to_date("raised_at")).drop("wrong")


def _flat(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    columns = pa.schema([f for f in SCHEMAS["anomalies"] if f.name not in ("outcome", "day")])
    for batch in batches:
        yield pa.RecordBatch.from_pylist([_row(_STATE.decode(s)) for s in batch.column(0).to_pylist()], schema=columns)


def _row(a: Anomaly) -> dict[str, object]:
    return {
        "id": a.id, "kind": a.kind, "site": a.site, "bin": a.bin, "sku": a.sku, "raised_at": from_ms(a.raised_at),
        "ended_at": None if a.live else from_ms(a.updated_at), "status": str(a.status),
        "probability": a.knowledge.probability, "recorded": a.knowledge.recorded, "estimate": a.knowledge.estimate,
        "close_reason": a.close_reason,
    }  # fmt: skip
