-- roll-up-by-country
-- {'p0': [], 'p1': [0], 'p2': 10, 'p3': 'b', 'p4': 86400000, 'p5': [1728000000000, 1728086400000], 'p6': 0, 'p7': 'p', 'p8': '$country', 'p9': 20000, 'p10': 20001}

SELECT event, event_kind, shown, is_rest, bucket, multiIf(
    has({p0:Array(Int64)}, event), toFloat64(sum(amount)),
    has({p1:Array(Int64)}, event), toFloat64(finalizeAggregation(uniqMergeState(people))),
    ifNull(sum(amount) / nullIf(finalizeAggregation(uniqMergeState(people)), 0), 0)) AS value
FROM
(
    SELECT
        event_kind,
        place > {p2:Int64} AS is_rest,
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
                sum(multiIf(
    has({p0:Array(Int64)}, event), toFloat64(amount),
    has({p1:Array(Int64)}, event), toFloat64(finalizeAggregation(people)),
    ifNull(amount / nullIf(finalizeAggregation(people), 0), 0))) AS total
            FROM (
SELECT
    cell.1 AS event,
    cell.2 AS event_kind,
    [toString(split_0)] AS split,
    bucket,
    cell.4 AS amount,
    cell.5 AS people
FROM (
WITH ((kind = {p3:String}) AND cookieless = 0) AS match_0
SELECT
    roundDown(toInt64(day) * {p4:Int64}, {p5:Array(Int64)}) AS bucket,
    value AS split_0,
    [({p6:Int64}, {p3:String}, countIf(true), sumIf(event_count, true), uniqMergeStateIf(visitors, true))] AS measured
FROM dashboard_event_rollup_daily
WHERE project_id = {p7:String} AND dimension = {p8:String}
    AND toInt64(day) BETWEEN {p9:Int64} AND {p10:Int64} AND (((kind = {p3:String}) AND cookieless = 0))
GROUP BY bucket, split_0
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
