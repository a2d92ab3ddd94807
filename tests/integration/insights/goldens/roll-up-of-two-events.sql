-- roll-up-of-two-events
-- {'p0': [0], 'p1': [1], 'p2': 'a', 'p3': 'b', 'p4': 86400000, 'p5': [1728000000000, 1728086400000], 'p6': 0, 'p7': 1, 'p8': 'p', 'p9': '$__total__', 'p10': 20000, 'p11': 20001}

SELECT event, event_kind, split, false AS is_rest, bucket, multiIf(
    has({p0:Array(Int64)}, event), toFloat64(amount),
    has({p1:Array(Int64)}, event), toFloat64(finalizeAggregation(people)),
    ifNull(amount / nullIf(finalizeAggregation(people), 0), 0)) AS value
FROM (
SELECT
    cell.1 AS event,
    cell.2 AS event_kind,
    emptyArrayString() AS split,
    bucket,
    cell.4 AS amount,
    cell.5 AS people
FROM (
WITH ((kind = {p2:String})) AS match_0,
    ((kind = {p3:String}) AND cookieless = 0) AS match_1
SELECT
    roundDown(toInt64(day) * {p4:Int64}, {p5:Array(Int64)}) AS bucket,
    
    [({p6:Int64}, {p2:String}, countIf(match_0), sumIf(event_count, match_0), uniqMergeStateIf(visitors, match_0)),
({p7:Int64}, {p3:String}, countIf(match_1), sumIf(event_count, match_1), uniqMergeStateIf(visitors, match_1))] AS measured
FROM dashboard_event_rollup_daily
WHERE project_id = {p8:String} AND dimension = {p9:String}
    AND toInt64(day) BETWEEN {p10:Int64} AND {p11:Int64} AND (((kind = {p2:String})) OR ((kind = {p3:String}) AND cookieless = 0))
GROUP BY bucket
)
ARRAY JOIN measured AS cell

)
