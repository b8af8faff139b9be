"""Datasets of the lake as Spark reads and writes them.

In: a lake, frames. Out: partitions that are replaced whole, a file a day, its rows in a fixed order: the same rows are the same file.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import date

import pyarrow as pa
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql.types import StructType

from ml.history.lake import DEMAND, SCHEMAS, Lake

_SPARK = {
    pa.string(): "string", pa.int64(): "long", pa.float64(): "double", pa.bool_(): "boolean", pa.date32(): "date",
    pa.timestamp("us", tz="UTC"): "timestamp",
}  # fmt: skip
ORDER: dict[str, Sequence[str]] = {
    "movements": ("site", "bin", "occurred_at", "event_id"),
    "daily": ("site", "sku"),
    "levels": ("site", "bin", "sku"),
    "corrections": ("site", "bin", "sku", "counted_at", "found"),
    "counts": ("site", "bin", "captured_at", "image_id"),
    "anomalies": ("raised_at", "id"),
}
"""How the rows of a day lie in its file."""


def spark_schema(dataset: str) -> StructType:
    """A dataset's columns in Spark's types, `day` included."""
    schema = StructType()
    for field in SCHEMAS[dataset]:
        schema.add(field.name, _SPARK[field.type])
    return schema


def load(
    spark: SparkSession, lake: Lake, dataset: str, first: date | None = None, last: date | None = None
) -> DataFrame:
    """Rows of a dataset from day `first` to `last`, both included; none where the lake has none."""
    schema = spark_schema(dataset)
    if not lake.has(dataset):
        return spark.createDataFrame([], schema)
    frame = spark.read.schema(schema).parquet(lake.spark_path(dataset))
    for bound, keep in ((first, F.col("day") >= F.lit(first)), (last, F.col("day") <= F.lit(last))):
        frame = frame.where(keep) if bound is not None else frame
    return frame


def replace_days(frame: DataFrame, lake: Lake, dataset: str, days: Iterable[date]) -> None:
    """Make a dataset hold, of these days, exactly these rows.

    Args:
        frame: rows of these days and no others; columns are put in order, and missing ones are empty.
    """
    schema = spark_schema(dataset)
    have = set(frame.columns)
    columns = [F.col(f.name) if f.name in have else F.lit(None).cast(f.dataType).alias(f.name) for f in schema]
    rows = frame.select(*columns).repartition("day").sortWithinPartitions("day", *ORDER[dataset])
    rows.write.mode("overwrite").partitionBy("day").parquet(lake.spark_path(dataset))
    written = {row["day"] for row in frame.select("day").distinct().collect()}
    for day in sorted(set(days) - written):
        if lake.has(dataset, day):
            lake.files.rm(lake.path(dataset, day), recursive=True)


def load_demand(spark: SparkSession, lake: Lake, since: date, until: date) -> DataFrame:
    """`lake.read_demand`, in Spark: the daily rows, and the imported sales where there are none.

    Args: since, until: first and last day, both included.
    """
    own, imported = (load(spark, lake, name, since, until).select(*DEMAND) for name in ("daily", "sales"))
    return own.unionByName(imported.join(own, ["site", "sku", "day"], "left_anti").select(*DEMAND))
