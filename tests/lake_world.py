"""A lake with a daily table made of a story, for tests. In: a `Story`, perhaps other prices. Out: a folder that Lake reads."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from ml.anomaly.story import Story
from ml.history.lake import SCHEMAS, Lake

WHOLE = ("sold", "received", "returned", "written_off", "adjusted", "recorded")


def lake_of(story: Story, folder: Path) -> Lake:
    """Writes the story as `build-history` would: a file a day, a slot from its first day with any booking or stock on."""
    schema = pa.schema([field for field in SCHEMAS["daily"] if field.name != "day"])
    seen = np.maximum.accumulate((story.recorded != 0) | (story.received > 0) | (story.sold > 0), axis=1)
    for column in range(story.days):
        rows = np.flatnonzero(seen[:, column])
        counted = story.counted[rows, column]
        values = {name: getattr(story, name)[rows, column].astype(np.int64) for name in WHOLE} | {
            "site": story.site[rows], "sku": story.sku[rows], "in_stock": (story.recorded[rows, column] > 0).astype(float),
            "counted": pa.array([None if np.isnan(c) else int(c) for c in counted], pa.int64()),
            "censored": story.recorded[rows, column] <= 0, "price": pa.nulls(len(rows), pa.float64()),
        }  # fmt: skip
        place = folder / "daily" / f"day={story.day(column).isoformat()}"
        place.mkdir(parents=True)
        pq.write_table(pa.table({name: values[name] for name in schema.names}, schema=schema), place / "part.parquet")
    return Lake(str(folder))
