"""GetMetricData: metric math, and how long data points are kept.

Upstream answers every expression with "not implemented". Here it is evaluated
as an alarm's is, over periods aligned as CloudWatch aligns them. Upstream also
looks at every data point it holds before each request, and holds them for two
weeks: here those of the last three hours are kept, as long as CloudWatch keeps
high-resolution ones.
"""

import time
from math import ceil

from ministack.services import cloudwatch

from .metric_alarm import solve
from .piece import Piece

# https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/cloudwatch_concepts.html#metrics-retention
_RETENTION = 3 * 3600
_EVICT_EVERY = 60


def _metric(stat: dict, begins: list[int], period: int, start: float, end: float) -> list:
    """The values of one metric in the periods that begin then."""
    metric = stat["Metric"]
    wanted = cloudwatch._dims_key(cloudwatch._dims_from_list(metric.get("Dimensions") or []))
    points = cloudwatch._metrics.get((metric["Namespace"], metric["MetricName"], wanted)) or []
    windows = {begin: [] for begin in begins}
    for point in points:
        if start <= point["Timestamp"] < end:
            windows[int(point["Timestamp"] // period) * period].append(point)
    values = []
    for window in windows.values():
        statistics = cloudwatch._calc_stats(window)
        values.append(cloudwatch._stat_value(statistics, stat["Stat"], window) if statistics else None)
    return values


def _results(request: dict) -> list[dict]:
    queries = request["MetricDataQueries"]
    start, end = cloudwatch._parse_ts(request["StartTime"]), cloudwatch._parse_ts(request["EndTime"])
    stats = [q for q in queries if q.get("MetricStat")]
    periods = {int(q["MetricStat"].get("Period") or 60) for q in stats}
    if len(periods) != 1:
        raise ValueError(f"metric math over the periods {sorted(periods)} is not supported here: use one")
    period = periods.pop()
    begins = list(range(int(start // period) * period, ceil(end), period))
    series = {q["Id"]: _metric(q["MetricStat"], begins, period, start, end) for q in stats}
    solve([q for q in queries if not q.get("MetricStat")], series, len(begins))
    results = []
    for query in queries:
        if query.get("ReturnData", True):
            points = [(b, v) for b, v in zip(begins, series[query["Id"]]) if v is not None]
            results.append({
                "Id": query["Id"], "Label": query.get("Label", query["Id"]), "StatusCode": "Complete",
                "Timestamps": [cloudwatch._ts_iso(b) for b, _ in points], "Values": [v for _, v in points],
            })
    return results


def _mend_math() -> None:
    upstream = cloudwatch._get_metric_data

    def get(params, cbor_data, is_cbor, is_json=False):
        if not any(q.get("Expression") for q in (cbor_data or {}).get("MetricDataQueries") or []):
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
    Piece("CloudWatch's GetMetricData has no metric math", _has_no_math, _mend_math),
    Piece(
        "CloudWatch looks at every data point of two weeks before each request",
        lambda: cloudwatch.TWO_WEEKS_SECONDS > _RETENTION, _mend_retention,
    ),
)
