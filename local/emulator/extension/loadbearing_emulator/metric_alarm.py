"""CloudWatch alarms: dimensions, missing data, and metric math.

Upstream refuses an alarm on metric math in CloudFormation, and evaluates any
other over every dimension of its metric together, so that one fleet's errors
raise the other's alarm. Here an alarm is evaluated as CloudWatch documents it,
except that its periods end now and not on the minute: an alarm of a short
drill fires when its data says so. The alarms of scaling policies are left to
the local runtime, which evaluates them at its own pace and sets their state.
"""

import ast
import asyncio
import logging
import time
from bisect import bisect_right

from ministack.services import cloudwatch
from ministack.services.cloudformation import provisioners

from .piece import Piece

logger = logging.getLogger("loadbearing")

Series = list  # one value, or None for no data, for each period, oldest first

_BREACHES = {
    "GreaterThanOrEqualToThreshold": lambda value, threshold: value >= threshold,
    "GreaterThanThreshold": lambda value, threshold: value > threshold,
    "LessThanThreshold": lambda value, threshold: value < threshold,
    "LessThanOrEqualToThreshold": lambda value, threshold: value <= threshold,
}
_ARITHMETIC = {
    ast.Add: lambda a, b: a + b,
    ast.Sub: lambda a, b: a - b,
    ast.Mult: lambda a, b: a * b,
    ast.Div: lambda a, b: a / b if b else None,
}
_COMPARISONS = {
    ast.Gt: lambda a, b: float(a > b),
    ast.GtE: lambda a, b: float(a >= b),
    ast.Lt: lambda a, b: float(a < b),
    ast.LtE: lambda a, b: float(a <= b),
    ast.Eq: lambda a, b: float(a == b),
    ast.NotEq: lambda a, b: float(a != b),
}
_ACROSS = {"MAX": max, "MIN": min, "SUM": sum, "AVG": lambda values: sum(values) / len(values)}


def points_of(metric: dict) -> list[dict]:
    """The data points of a metric, by time."""
    wanted = cloudwatch._dims_key(cloudwatch._dims_from_list(metric.get("Dimensions") or []))
    return cloudwatch._metrics.get((metric["Namespace"], metric["MetricName"], wanted)) or []


def _metric(stat: dict, periods: int, now: float) -> Series:
    """The values of one metric in the last periods."""
    points, period = points_of(stat["Metric"]), int(stat["Period"])
    edges = [bisect_right(points, now - i * period, key=lambda p: p["Timestamp"]) for i in range(periods, 0, -1)]
    values = []
    for begin, end in zip(edges, edges[1:] + [len(points)]):
        window = points[begin:end]
        statistics = cloudwatch._calc_stats(window)
        values.append(cloudwatch._stat_value(statistics, stat["Stat"], window) if statistics else None)
    return values


def _math(expression: str, series: dict[str, Series], periods: int) -> Series:
    """Evaluate the part of CloudWatch's metric math that alarms use.

    Arithmetic, comparisons, MAX, MIN, SUM and AVG over an array, FILL with a
    number, and IF. Raises ValueError for anything else.
    """

    def each(function, *operands):
        return [None if None in values else function(*values) for values in zip(*operands)]

    def value(node):
        match node:
            case ast.Constant(value=int() | float() as number):
                return [float(number)] * periods
            case ast.Name(id=name) if name in series:
                return series[name]
            case ast.UnaryOp(op=ast.USub(), operand=operand):
                return each(lambda a: -a, value(operand))
            case ast.BinOp(left=left, op=op, right=right) if type(op) in _ARITHMETIC:
                return each(_ARITHMETIC[type(op)], value(left), value(right))
            case ast.Compare(left=left, ops=[op], comparators=[right]) if type(op) in _COMPARISONS:
                return each(_COMPARISONS[type(op)], value(left), value(right))
            case ast.Call(func=ast.Name(id=name), args=[ast.List(elts=members)]) if name in _ACROSS:
                across = zip(*(value(m) for m in members))
                present = ([v for v in values if v is not None] for values in across)
                return [_ACROSS[name](values) if values else None for values in present]
            case ast.Call(func=ast.Name(id="FILL"), args=[filled, ast.Constant(value=int() | float() as number)]):
                return [float(number) if v is None else v for v in value(filled)]
            case ast.Call(func=ast.Name(id="IF"), args=[condition, then, otherwise]):
                choices = zip(value(condition), value(then), value(otherwise))
                return [None if c is None else (a if c else b) for c, a, b in choices]
        raise ValueError(f"metric math {expression!r}: {ast.unparse(node)} is not supported here")

    return value(ast.parse(expression, mode="eval").body)


def _series(alarm: dict, now: float) -> Series:
    """What the alarm compares with its threshold."""
    periods = int(alarm.get("EvaluationPeriods") or 1)
    if not alarm.get("Metrics"):
        return _metric({
            "Metric": alarm, "Period": alarm.get("Period") or 60,
            "Stat": alarm.get("ExtendedStatistic") or alarm.get("Statistic") or "Average",
        }, periods, now)
    series = {q["Id"]: _metric(q["MetricStat"], periods, now) for q in alarm["Metrics"] if q.get("MetricStat")}
    solve([q for q in alarm["Metrics"] if not q.get("MetricStat")], series, periods)
    returned = [q["Id"] for q in alarm["Metrics"] if provisioners._cfn_bool(q.get("ReturnData", True))]
    return series[returned[0]]


def solve(expressions: list[dict], series: dict[str, Series], periods: int) -> None:
    """Add the value of each expression, which may use another one, to the series."""
    pending = list(expressions)
    while pending:
        ready = [q for q in pending if not _names(q["Expression"]) & {p["Id"] for p in pending}]
        if not ready:
            raise ValueError(f"the metric math of {', '.join(q['Id'] for q in pending)} goes in a circle")
        for query in ready:
            series[query["Id"]] = _math(query["Expression"], series, periods)
            pending.remove(query)


def _names(expression: str) -> set[str]:
    return {node.id for node in ast.walk(ast.parse(expression, mode="eval")) if isinstance(node, ast.Name)}


def _state(alarm: dict, values: Series) -> str | None:
    """The alarm's state for its values, or None to leave it as it is."""
    breaches = _BREACHES.get(alarm.get("ComparisonOperator") or "")
    if breaches is None:  # anomaly detection
        return None
    required = int(alarm.get("DatapointsToAlarm") or len(values))
    missing = alarm.get("TreatMissingData") or "missing"
    if all(v is None for v in values):
        by_treatment = {"breaching": "ALARM", "notBreaching": "OK", "missing": "INSUFFICIENT_DATA", "ignore": None}
        return by_treatment.get(missing)
    count = sum(
        missing == "breaching" if v is None else breaches(v, float(alarm.get("Threshold") or 0)) for v in values
    )
    return "ALARM" if count >= required else "OK"


def evaluate(alarm: dict) -> None:
    """Bring an alarm's state up to date with its metrics, and run its actions."""
    if any(":scalingPolicy:" in action for action in alarm.get("AlarmActions") or []):
        return
    try:
        values = _series(alarm, time.time())
        state = _state(alarm, values)
    except (ValueError, KeyError, SyntaxError) as error:
        logger.warning("alarm %s is not evaluated: %s", alarm.get("AlarmName"), error)
        return
    before = alarm["StateValue"]
    if state is None or state == before:
        return
    reason = f"{values} {alarm.get('ComparisonOperator')} {alarm.get('Threshold')}"
    alarm.update(StateValue=state, StateReason=reason, StateUpdatedTimestamp=int(time.time()))
    cloudwatch._record_history(alarm["AlarmName"], before, state, reason)
    cloudwatch._dispatch_alarm_actions(alarm, before, state, reason)
    cloudwatch._evaluate_parent_alarms(alarm)


def _mend_evaluation() -> None:
    describe_upstream = cloudwatch._describe_alarms

    def describe(params, cbor_data, is_cbor, is_json=False):
        # Upstream evaluates only when data arrives: an alarm would never recover in silence.
        for alarm in cloudwatch._alarms.values():
            evaluate(alarm)
        return describe_upstream(params, cbor_data, is_cbor, is_json)

    cloudwatch._evaluate_alarm = evaluate
    cloudwatch._describe_alarms = describe


# CloudWatch evaluates a high-resolution alarm every 10 s. Upstream evaluates
# every alarm whenever data arrives, which is many times a second here.
_EVALUATE_EVERY = 1.0


def _mend_pace() -> None:
    upstream = cloudwatch._evaluate_all_alarms
    due = False

    def evaluate_all():
        nonlocal due

        def run():
            nonlocal due
            due = False
            upstream()

        if not due:
            due = True
            # In a copy of this context, which has the account and the region.
            asyncio.get_running_loop().call_later(_EVALUATE_EVERY, run)

    cloudwatch._evaluate_all_alarms = evaluate_all


def _evaluates_with_every_datum() -> bool:
    name, seen = "loadbearing-probe", []
    evaluate_one, cloudwatch._evaluate_alarm = cloudwatch._evaluate_alarm, seen.append
    cloudwatch._alarms[name] = {}
    try:
        cloudwatch._put_metric_data({}, {"Namespace": name, "MetricData": []}, False, True)
        return bool(seen)
    finally:
        cloudwatch._evaluate_alarm = evaluate_one
        del cloudwatch._alarms[name]


def _mixes_dimensions() -> bool:
    name = "loadbearing-probe"
    cloudwatch._metric_bucket((name, "m", cloudwatch._dims_key({"color": "green"}))).append(
        {"Timestamp": time.time(), "Value": 9.0, "Unit": "None", "Dimensions": {"color": "green"}}
    )
    alarm = {
        "AlarmName": name, "Namespace": name, "MetricName": "m", "Threshold": 1.0, "StateValue": "INSUFFICIENT_DATA",
        "Dimensions": [{"Name": "color", "Value": "blue"}], "ComparisonOperator": "GreaterThanThreshold",
    }
    try:
        cloudwatch._evaluate_alarm(alarm)
        return alarm["StateValue"] == "ALARM"
    finally:
        for key in [k for k in cloudwatch._metrics if k[0] == name]:
            del cloudwatch._metrics[key]
        cloudwatch.reset()


def _mend_math() -> None:
    upstream = provisioners._cw_metric_alarm_record

    def record(name, props):
        metrics = props.get("Metrics")
        if not metrics:
            return upstream(name, props)
        # The rest of the record is the same; these members are the metrics'.
        alarm = upstream(name, {**{k: v for k, v in props.items() if k != "Metrics"}, "MetricName": "-", "Namespace": "-"})
        for member in ("MetricName", "Namespace", "Statistic", "ExtendedStatistic", "Period", "Dimensions", "Unit"):
            alarm.pop(member, None)
        alarm["Metrics"] = [typed(query) for query in metrics]
        return alarm

    provisioners._cw_metric_alarm_record = record


def typed(query: dict) -> dict:
    """A template's metric query with the types the API answers."""
    answered = {**query, "ReturnData": provisioners._cfn_bool(query.get("ReturnData", True))}
    if query.get("MetricStat"):
        answered["MetricStat"] = {**query["MetricStat"], "Period": int(query["MetricStat"].get("Period", 60))}
    return answered


def _refuses_math() -> bool:
    try:
        provisioners._cw_metric_alarm_record("probe", {
            "Metrics": [{"Id": "m", "Expression": "1"}], "ComparisonOperator": "GreaterThanThreshold", "Threshold": 1,
        })
    except ValueError:
        return True
    return False


PIECES = (
    Piece("CloudWatch evaluates an alarm over all dimensions of its metric", _mixes_dimensions, _mend_evaluation),
    Piece("CloudWatch evaluates every alarm whenever data arrives", _evaluates_with_every_datum, _mend_pace),
    Piece("CloudFormation refuses alarms on metric math", _refuses_math, _mend_math),
)
