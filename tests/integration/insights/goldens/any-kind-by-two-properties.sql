-- any-kind-by-two-properties
-- {'p0': 10, 'p1': [1728000000000, 1728086400000], 'p2': 'plan', 'p3': 0, 'p4': 'p', 'p5': 1728000000000, 'p6': 1728172800000}

SELECT event, event_kind, shown, is_rest, bucket, toFloat64(sum(amount)) AS value
FROM
(
    SELECT
        event_kind,
        place > {p0:Int64} AS is_rest,
        if(is_rest, emptyArrayString(), split) AS shown,
        point.1 AS event,
        point.2 AS bucket,
        point.3 AS amount,
        point.4 AS people
    FROM
    (
        SELECT
            event_kind,
            split,
            points,
            row_number() OVER (
                PARTITION BY event_kind ORDER BY total DESC, arrayStringConcat(split, '\0') ASC
            ) AS place
        FROM
        (
            SELECT
                event_kind,
                split,
                groupArray((event, bucket, amount, people)) AS points,
                sum(toFloat64(amount)) AS total
            FROM (
SELECT
    cell.1 AS event,
    cell.2 AS event_kind,
    [toString(split_0), toString(split_1)] AS split,
    bucket,
    cell.4 AS amount,
    cell.5 AS people
FROM (
WITH (true) AS match_0
SELECT
    roundDown(toUnixTimestamp64Milli(occur_time), {p1:Array(Int64)}) AS bucket,
    os AS split_0,
    substring(custom_properties[{p2:String}], 2) AS split_1,
    kind AS row_kind,
    [({p3:Int64}, toString(row_kind), countIf(true), toFloat64(countIf(true)), 0)] AS measured
FROM events
WHERE project_id = {p4:String} AND occur_time >= fromUnixTimestamp64Milli({p5:Int64}, 'UTC') AND occur_time < fromUnixTimestamp64Milli({p6:Int64}, 'UTC') AND true AND (match_0)
GROUP BY bucket, split_0, split_1, row_kind
)
ARRAY JOIN measured AS cell
WHERE cell.3 > 0
)
            GROUP BY event_kind, split
        )
    )
    ARRAY JOIN points AS point
)
GROUP BY event, event_kind, shown, is_rest, bucket
