"""CloudWatch's data points: how they are kept, and GetMetricData.

Upstream keeps every value of a datum as a data point of its own, in the order
of arrival and for two weeks, and looks at all of them before each request.
Here a datum is one data point, whatever number of values it has, those of a
metric are in the order of their time, and they are kept for three hours, as
long as CloudWatch keeps high-resolution ones.

Upstream's GetMetricData has no metric math, answers the oldest data first,
and for a metric without dimensions those of every dimension together. Here it
is evaluated as an alarm's is, over periods aligned as CloudWatch aligns them.
"""

import time
from bisect import bisect_left, bisect_right
from collections import Counter
from math import ceil

from ministack.services import cloudwatch

from .metric_alarm import points_of, solve
from .piece import Piece

# https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/cloudwatch_concepts.html#metrics-retention
_RETENTION = 3 * 3600
_EVICT_EVERY = 60


def _time(point: dict) -> float:
    return point["Timestamp"]


def _metric(stat: dict, period: int, start: float, end: float) -> dict:
    """The values of one metric by the begin of their period; None is no data."""
    points = points_of(stat["Metric"])
    windows = {begin: [] for begin in _begins(period, start, end)}
    for point in points[bisect_left(points, start, key=_time):bisect_left(points, end, key=_time)]:
        windows[int(point["Timestamp"] // period) * period].append(point)
    values = {}
    for begin, window in windows.items():
        statistics = cloudwatch._calc_stats(window)
        values[begin] = cloudwatch._stat_value(statistics, stat["Stat"], window) if statistics else None
    return values


def _begins(period: int, start: float, end: float) -> range:
    return range(int(start // period) * period, ceil(end), period)


def _results(request: dict) -> list[dict]:
    queries = request["MetricDataQueries"]
    start, end = cloudwatch._parse_ts(request["StartTime"]), cloudwatch._parse_ts(request["EndTime"])
    series = {
        q["Id"]: _metric(q["MetricStat"], int(q["MetricStat"].get("Period") or 60), start, end)
        for q in queries if q.get("MetricStat")
    }
    expressions = [q for q in queries if not q.get("MetricStat")]
    if expressions:
        periods = {int(q["MetricStat"].get("Period") or 60) for q in queries if q.get("MetricStat")}
        if len(periods) != 1:
            raise ValueError(f"metric math over the periods {sorted(periods)} is not supported here: use one")
        begins = _begins(periods.pop(), start, end)
        solved = {name: list(values.values()) for name, values in series.items()}
        solve(expressions, solved, len(begins))
        series.update({q["Id"]: dict(zip(begins, solved[q["Id"]])) for q in expressions})
    results = []
    for query in queries:
        if query.get("ReturnData", True):
            points = [(b, v) for b, v in series[query["Id"]].items() if v is not None]
            if request.get("ScanBy") != "TimestampAscending":
                points.reverse()
            results.append({
                "Id": query["Id"], "Label": query.get("Label", query["Id"]), "StatusCode": "Complete",
                "Timestamps": [cloudwatch._ts_iso(b) for b, _ in points], "Values": [v for _, v in points],
            })
    return results


def _mend_get() -> None:
    upstream = cloudwatch._get_metric_data

    def get(params, cbor_data, is_cbor, is_json=False):
        if not (is_cbor or is_json):  # no SDK speaks the Query protocol to CloudWatch any more
            return upstream(params, cbor_data, is_cbor, is_json)
        try:
            results = _results(cbor_data)
        except (ValueError, SyntaxError) as error:
            return cloudwatch._error("ValidationError", str(error), 400, use_json=is_json, use_cbor=is_cbor)
        if is_cbor:
            return cloudwatch._cbor_ok({"MetricDataResults": [cloudwatch._cbor_metric_data_result(r) for r in results]})
        return cloudwatch._json_ok({"MetricDataResults": results})

    cloudwatch._get_metric_data = get


def _has_no_math() -> bool:
    now = time.time()
    request = {"StartTime": now - 60, "EndTime": now, "MetricDataQueries": [{"Id": "e", "Expression": "1"}]}
    return b"not implemented" in cloudwatch._get_metric_data({}, request, False, True)[2]


def _mend_store() -> None:
    upstream, samples = cloudwatch._store_datum, cloudwatch._percentile_samples

    def store(namespace, name, dims, ts, unit, value, values, counts, stat_values):
        bucket = cloudwatch._metric_bucket((namespace, name, cloudwatch._dims_key(dims)))
        if bucket:
            dims = bucket[0]["Dimensions"]  # one for all
        if values:
            pairs = [(float(v), float(c)) for v, c in zip(values, counts or [1.0] * len(values))]
            total, count = sum(v * c for v, c in pairs), sum(c for _, c in pairs)
            bucket.append({
                "Timestamp": ts, "Unit": unit, "Dimensions": dims, "Value": total / count if count else 0.0,
                "_stat": {
                    "SampleCount": count, "Sum": total,
                    "Minimum": min(v for v, _ in pairs), "Maximum": max(v for v, _ in pairs),
                },
                "_values": pairs,
            })
        else:
            upstream(namespace, name, dims, ts, unit, value, values, counts, stat_values)
        if len(bucket) > 1 and bucket[-1]["Timestamp"] < bucket[-2]["Timestamp"]:
            late = bucket.pop()
            bucket.insert(bisect_right(bucket, late["Timestamp"], key=_time), late)

    def percentile_samples(points):
        merged, rest = Counter(), []
        for point in points:
            if "_values" in point:
                for value, count in point["_values"]:
                    merged[value] += count
            else:
                rest.append(point)
        others = samples(rest) if rest else []
        if others is None or any(value < 0 for value in merged):
            return None
        return list(merged.items()) + others or None

    cloudwatch._store_datum, cloudwatch._percentile_samples = store, percentile_samples


def _keeps_every_value() -> bool:
    key = ("loadbearing-probe", "m", cloudwatch._dims_key({}))
    try:
        cloudwatch._store_datum(key[0], key[1], {}, time.time(), "None", None, [1.0, 2.0], None, None)
        return len(cloudwatch._metrics[key]) > 1
    finally:
        del cloudwatch._metrics[key]


def _mend_retention() -> None:
    upstream = cloudwatch._evict_old_metrics
    last = 0.0

    def evict():
        nonlocal last
        if time.monotonic() - last >= _EVICT_EVERY:
            last = time.monotonic()
            upstream()

    cloudwatch.TWO_WEEKS_SECONDS = _RETENTION
    cloudwatch._evict_old_metrics = evict


PIECES = (
    Piece("CloudWatch's GetMetricData has no metric math", _has_no_math, _mend_get),
    Piece("CloudWatch keeps every value of a datum as a data point", _keeps_every_value, _mend_store),
    Piece(
        "CloudWatch looks at every data point of two weeks before each request",
        lambda: cloudwatch.TWO_WEEKS_SECONDS > _RETENTION, _mend_retention,
    ),
)
