-- one-event
-- {'p0': 'a', 'p1': 'n', 'p2': 5.0, 'p3': [1728000000000, 1728086400000], 'p4': 0, 'p5': 'p', 'p6': 1728000000000, 'p7': 1728172800000}

SELECT event, event_kind, split, false AS is_rest, bucket, toFloat64(amount) AS value
FROM (
SELECT
    cell.1 AS event,
    cell.2 AS event_kind,
    emptyArrayString() AS split,
    bucket,
    cell.4 AS amount,
    cell.5 AS people
FROM (
WITH ((kind = {p0:String} AND ifNull(if(isFinite(toFloat64OrNull(substring(custom_properties[{p1:String}], 2))), toFloat64OrNull(substring(custom_properties[{p1:String}], 2)), NULL) > {p2:Float64}, false))) AS match_0
SELECT
    roundDown(toUnixTimestamp64Milli(occur_time), {p3:Array(Int64)}) AS bucket,
    
    [({p4:Int64}, {p0:String}, countIf(true), toFloat64(countIf(true)), 0)] AS measured
FROM events
WHERE project_id = {p5:String} AND occur_time >= fromUnixTimestamp64Milli({p6:Int64}, 'UTC') AND occur_time < fromUnixTimestamp64Milli({p7:Int64}, 'UTC') AND true AND (match_0)
GROUP BY bucket
)
ARRAY JOIN measured AS cell
WHERE cell.3 > 0
)
