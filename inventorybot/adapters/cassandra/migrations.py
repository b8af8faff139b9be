"""The tables, as numbered steps that are applied once each. docs/cassandra.md tells who reads what, and why it is so.

In: a session. Out: a keyspace at the newest version. Run: `inventorybot migrate`; running it again changes nothing.
A released step is never edited: a change is a new step.

Rows that change (levels, evidence, anomalies) are written `USING TIMESTAMP revision` (domain/ledger.py): the newer
arrival wins, whoever writes last. They are updated in place for ever: leveled compaction keeps a read to about one
SSTable. Rows that never change (ledger, counts, dead letters) carry their arrival in Kafka as write time, so that a
repeat writes the same cell and time windows (TWCS) mean what they say: old SSTables are left alone, expired ones
dropped unread. Weeks or months bound every growing partition.
"""

from __future__ import annotations

_SERIES = "compaction = {'class': 'TimeWindowCompactionStrategy', 'compaction_window_unit': 'DAYS', 'compaction_window_size': '%d'}"
_LEVELED = "compaction = {'class': 'LeveledCompactionStrategy'}"
_YEAR_S = 365 * 86_400
_DAY_S = 86_400

STEPS: tuple[tuple[str, ...], ...] = (
    (
        # Levels, read by bin. A site's bins share 16 partitions (bucket: crc32 of the bin): a bin is a slice of one, and a
        # batch of updates is a few mutations. Every batch marks one row a bin with the revision its levels contain.
        f"""CREATE TABLE level_by_bin (
            site text, bucket int, bin text, sku text,
            on_hand bigint, revision bigint, last_occurred_at timestamp, counted_at timestamp, below_zero_since bigint,
            applied bigint, first_month int,
            PRIMARY KEY ((site, bucket), bin, sku)) WITH {_LEVELED}""",
        # The same levels, read by SKU; bucket: crc32 of the SKU.
        f"""CREATE TABLE level_by_sku (
            site text, bucket int, sku text, bin text,
            on_hand bigint, revision bigint, counted_at timestamp,
            PRIMARY KEY ((site, bucket), sku, bin)) WITH {_LEVELED}""",
        # Every fact, for ever; week: of occurred_at, since the epoch; a partition holds a week of a bucket's bins.
        f"""CREATE TABLE ledger_by_bin (
            site text, bucket int, week int, bin text, occurred_at timestamp, event_id text,
            sku text, kind text, quantity bigint, revision bigint, source text, to_bin text, reason text,
            PRIMARY KEY ((site, bucket, week), bin, occurred_at, event_id))
            WITH CLUSTERING ORDER BY (bin ASC, occurred_at DESC, event_id ASC) AND {_SERIES % 30}""",
        # What was ever seen: kind 'site' (site ''), 'bin' and 'sku' (of a site), 16 shards each so that no partition
        # grows past some 10,000 names at a large site.
        f"""CREATE TABLE catalogue (
            kind text, site text, shard int, name text,
            first_event_id text, first_seen_at timestamp,
            PRIMARY KEY ((kind, site, shard), name)) WITH {_LEVELED}""",
        # What the looks at a bin add up to: one row a bin, rewritten at each look.
        f"""CREATE TABLE evidence_by_bin (
            site text, bin text, applied bigint, state text,
            PRIMARY KEY ((site, bin))) WITH {_LEVELED}""",
        # Every count for a year: the labelled pictures of the next model, and the story behind an anomaly.
        # Frozen lists: a repeat of an unfrozen one with the same write time would append to it.
        f"""CREATE TABLE count_by_bin (
            site text, bin text, month int, captured_at timestamp, image_id text,
            p frozen<list<double>>, prior frozen<list<double>>, model text, image_at text, image_url text,
            recorded bigint, probability_wrong double,
            PRIMARY KEY ((site, bin, month), captured_at, image_id))
            WITH CLUSTERING ORDER BY (captured_at DESC, image_id ASC) AND default_time_to_live = {_YEAR_S}
            AND {_SERIES % 14}""",
        # An anomaly as it stands, and as JSON the steps that led there: a partition an anomaly.
        f"""CREATE TABLE anomaly (
            id text, revision bigint static, state text static,
            step_revision bigint, step text,
            PRIMARY KEY ((id), step_revision)) WITH {_LEVELED}""",
        # The list of all: newest first, by site and the month it was raised in.
        f"""CREATE TABLE anomaly_by_month (
            site text, month int, raised_at timestamp, id text, revision bigint, state text,
            PRIMARY KEY ((site, month), raised_at, id))
            WITH CLUSTERING ORDER BY (raised_at DESC, id DESC) AND {_LEVELED}""",
        # The list of those that ask for work; a row is deleted when its anomaly ends, so a partition stays short.
        f"""CREATE TABLE anomaly_live (
            site text, raised_at timestamp, id text, revision bigint, state text,
            PRIMARY KEY ((site), raised_at, id))
            WITH CLUSTERING ORDER BY (raised_at DESC, id DESC) AND {_LEVELED}""",
        # Which (site, month) the lists have: one partition, a row a site a month.
        f"""CREATE TABLE anomaly_bucket (
            scope text, month int, site text,
            PRIMARY KEY ((scope), month, site)) WITH CLUSTERING ORDER BY (month DESC, site ASC) AND {_LEVELED}""",
        # The index to inventory.dead-letters, for as long as that topic keeps the bytes; a day a partition.
        f"""CREATE TABLE dead_letter_by_day (
            day int, at timestamp, topic text, partition int, offset bigint,
            code text, path text, reason text, letter_offset bigint, replayed_at timestamp,
            PRIMARY KEY ((day), at, topic, partition, offset))
            WITH CLUSTERING ORDER BY (at DESC, topic ASC, partition ASC, offset ASC)
            AND default_time_to_live = {30 * _DAY_S} AND {_SERIES % 1}""",
        # Which incarnation of a topic its offsets belong to; a handful of rows, the only table with LWT.
        f"""CREATE TABLE topic_epoch (
            topic text, epoch int, topic_id text, partitions int,
            PRIMARY KEY ((topic), epoch)) WITH {_LEVELED}""",
    ),
    (
        # What each site will be asked for in a period, read a site and a period at a time by the planner; 16 shards so
        # that a partition has some 6,000 SKUs at the most. Told anew every night until the period has come.
        f"""CREATE TABLE forecast_by_site (
            site text, period timestamp, shard int, sku text,
            mean double, q05 double, q25 double, q50 double, q75 double, q95 double, model text, made_at timestamp,
            PRIMARY KEY ((site, period, shard), sku)) WITH default_time_to_live = {_YEAR_S} AND {_LEVELED}""",
        # Which periods have forecasts of a site.
        f"""CREATE TABLE forecast_period (
            site text, period timestamp,
            PRIMARY KEY ((site), period)) WITH default_time_to_live = {_YEAR_S} AND {_LEVELED}""",
        # How a network plan stands, as JSON: a row a plan, written at most three times.
        f"""CREATE TABLE plan (
            id text, state text,
            PRIMARY KEY ((id))) WITH default_time_to_live = {_YEAR_S} AND {_LEVELED}""",
        # The list of all plans, newest first, by the month in which they were asked for.
        f"""CREATE TABLE plan_by_month (
            month int, asked_at timestamp, id text, state text,
            PRIMARY KEY ((month), asked_at, id))
            WITH CLUSTERING ORDER BY (asked_at DESC, id DESC) AND default_time_to_live = {_YEAR_S} AND {_LEVELED}""",
        # What came out of a plan, written once. Prices: sites times periods a partition.
        f"""CREATE TABLE plan_price (
            id text, site text, period int, storage double, flow double,
            PRIMARY KEY ((id), site, period)) WITH default_time_to_live = {_YEAR_S} AND {_SERIES % 14}""",
        # Flows: the lanes of one period a partition.
        f"""CREATE TABLE plan_flow (
            id text, period int, from_site text, to_site text, units double, m3 double,
            PRIMARY KEY ((id, period), from_site, to_site))
            WITH default_time_to_live = {_YEAR_S} AND {_SERIES % 14}""",
        # Its pictures, SVG of some 100 kB.
        f"""CREATE TABLE plan_picture (
            id text, name text, svg blob,
            PRIMARY KEY ((id), name)) WITH default_time_to_live = {_YEAR_S} AND {_SERIES % 14}""",
    ),
    (
        # The restock recommendations of a SKU at a site, one a day, newest first. body: as it was worked out, written once;
        # steps: what people did, only by lightweight transactions on `version`, which guards all days of the partition.
        f"""CREATE TABLE restock (
            site text, sku text, day int, version int static, body text, steps text, sent_at timestamp,
            PRIMARY KEY ((site, sku), day))
            WITH CLUSTERING ORDER BY (day DESC) AND default_time_to_live = {_YEAR_S} AND {_LEVELED}""",
        # Where the recommendation of an id lies.
        f"""CREATE TABLE restock_id (
            id text, site text, sku text, day int,
            PRIMARY KEY ((id))) WITH default_time_to_live = {_YEAR_S} AND {_LEVELED}""",
        # Which SKUs of a site have one of a day; shard: crc32 of the SKU.
        f"""CREATE TABLE restock_by_day (
            site text, day int, shard int, sku text,
            PRIMARY KEY ((site, day, shard), sku)) WITH default_time_to_live = {_YEAR_S} AND {_LEVELED}""",
        # Which (day, site) the list has: one partition, a row a site a day.
        f"""CREATE TABLE restock_day (
            scope text, day int, site text,
            PRIMARY KEY ((scope), day, site))
            WITH CLUSTERING ORDER BY (day DESC, site ASC) AND default_time_to_live = {_YEAR_S} AND {_LEVELED}""",
        # Which ones of a site may be approved and not yet received; `restock` tells which are.
        f"""CREATE TABLE restock_under_way (
            site text, sku text, day int,
            PRIMARY KEY ((site), sku, day)) WITH default_time_to_live = {_YEAR_S} AND {_LEVELED}""",
    ),
    (
        # When the newest forecasts of a site were made: whoever holds stock against them sees that there are newer ones.
        f"""CREATE TABLE forecast_made (
            site text, made_at timestamp,
            PRIMARY KEY ((site))) WITH default_time_to_live = {_YEAR_S} AND {_LEVELED}""",
        # What was last said of stock against forecast: a row a SKU and kind of anomaly, of those of which there ever was
        # something to say; bucket: crc32 of the SKU.
        f"""CREATE TABLE stock_watch (
            site text, bucket int, sku text, kind text, state text,
            PRIMARY KEY ((site, bucket), sku, kind)) WITH {_LEVELED}""",
    ),
)
