"""ELBv2 target health as the local load balancer finds it.

Upstream says "healthy" of every target, tells targets apart by their id alone,
and forgets a target the moment it is deregistered. Here the local edge, which
makes the health checks and forwards the requests, reports what it knows with
``LoadbearingReportTargetHealth``, an action AWS does not have, and
DescribeTargetHealth answers from its last report. While nobody reports it
answers ``unavailable``: the health of targets is not known then.

https://docs.aws.amazon.com/elasticloadbalancing/latest/application/target-group-health-checks.html#target-health-states
"""

import json
import time
from xml.sax.saxutils import escape

from ministack.services import alb

from .piece import Piece

# A report is taken for the truth this long. The edge reports every 2 s.
_CURRENT = 10.0
_FORGET = 3600.0

_INITIAL = ("initial", "Elb.RegistrationInProgress", "Target registration is in progress")
_DRAINING = ("draining", "Target.DeregistrationInProgress", "Target deregistration is in progress")
_NOT_IN_USE = (
    "unused", "Target.NotInUse", "Target group is not configured to receive traffic from the load balancer",
)
_NOT_REGISTERED = ("unused", "Target.NotRegistered", "Target is not registered to the target group")
_UNKNOWN = ("unavailable", "Elb.InternalError", "Health checks failed due to an internal error")

# What is known is kept beside the emulator's own records, by target group.
_reports: dict[str, tuple[float, dict]] = {}  # when, and by (id, port): {state: (state, reason, description)}
_draining: dict[str, dict] = {}  # by (id, port): when it was deregistered
_heard = float("-inf")  # when the last report came, of whatever groups


def _key(target: dict, group: dict) -> tuple[str, int]:
    return target["Id"], int(target.get("Port") or group.get("Port") or 80)


def _in_use(arn: str) -> bool:
    """Whether a listener or a rule forwards to the group, whatever its weight."""
    actions = [a for listener in alb._listeners.values() for a in listener.get("DefaultActions") or []]
    actions += [a for rule in alb._rules.values() for a in rule.get("Actions") or []]
    for action in actions:
        if action.get("TargetGroupArn") == arn:
            return True
        groups = (action.get("ForwardConfig") or {}).get("TargetGroups") or []
        if any(g["TargetGroupArn"] == arn for g in groups):
            return True
    return False


def _reported(arn: str) -> dict | None:
    """The last report on a group, or None when it is too old to be true."""
    at, targets = _reports.get(arn, (float("-inf"), {}))
    return targets if time.monotonic() - at < _CURRENT else None


def _delay(arn: str) -> float:
    for attribute in alb._tg_attrs.get(arn) or []:
        if attribute["Key"] == "deregistration_delay.timeout_seconds":
            return float(attribute["Value"])
    return 300.0


def _still_draining(arn: str, key: tuple[str, int], since: float) -> bool:
    """Until a report does not list it any more, or its delay is long over."""
    at, targets = _reports.get(arn, (float("-inf"), {}))
    if at > since and key not in targets:
        return False
    return time.monotonic() - since < _delay(arn) + _CURRENT


def _health(arn: str, key: tuple[str, int], registered: bool) -> tuple[str, str, str]:
    if not registered:
        return _DRAINING if key in _draining.get(arn, {}) else _NOT_REGISTERED
    if not _in_use(arn):
        return _NOT_IN_USE
    report = _reported(arn)
    if report is None:
        # A group that came into use a moment ago is in nobody's report yet.
        return _INITIAL if time.monotonic() - _heard < _CURRENT else _UNKNOWN
    states = report.get(key, {})
    return next((health for state, health in states.items() if state not in ("draining", "unused")), _INITIAL)


def _report(params: dict) -> tuple:
    global _heard
    _heard = now = time.monotonic()
    groups = json.loads(alb._p(params, "TargetGroups"))
    for arn in [arn for arn, (at, _) in _reports.items() if now - at > _FORGET]:
        del _reports[arn]
    for arn, targets in groups.items():
        known: dict = {}
        for t in targets:
            health = (t["state"], t.get("reason", ""), t.get("description", ""))
            known.setdefault((t["id"], int(t["port"])), {})[t["state"]] = health
        _reports[arn] = (now, known)
    return alb._empty("LoadbearingReportTargetHealth")


def _describe(params: dict) -> tuple:
    arn = alb._p(params, "TargetGroupArn")
    group = alb._tgs.get(arn)
    if not group:
        return alb._error("TargetGroupNotFound", f"Target group '{arn}' not found.")
    leaving = _draining.get(arn, {})
    for key in [k for k, since in leaving.items() if not _still_draining(arn, k, since)]:
        del leaving[key]
    registered = [_key(t, group) for t in alb._targets.get(arn, [])]
    listed = registered + [k for k in leaving if k not in registered]
    asked = alb._parse_targets_param(params)
    if asked:
        # Without a port every registration of the id is meant.
        ids = {t["Id"] for t in asked if not t.get("Port")}
        keys = [_key(t, group) for t in asked if t.get("Port")]
        listed = [k for k in listed if k[0] in ids or k in keys] + [k for k in keys if k not in listed]
        listed += [(i, int(group.get("Port") or 80)) for i in sorted(ids) if i not in {k[0] for k in listed}]
    return alb._xml(200, "DescribeTargetHealth", "<TargetHealthDescriptions>" + "".join(
        _description(key, group, _health(arn, key, key in registered)) for key in listed
    ) + "</TargetHealthDescriptions>")


def _description(key: tuple[str, int], group: dict, health: tuple[str, str, str]) -> str:
    state, reason, description = health
    check = group.get("HealthCheckPort") or "traffic-port"
    why = f"<Reason>{reason}</Reason><Description>{escape(description)}</Description>" if reason else ""
    return (
        f"<member><Target><Id>{escape(key[0])}</Id><Port>{key[1]}</Port></Target>"
        f"<HealthCheckPort>{key[1] if check == 'traffic-port' else check}</HealthCheckPort>"
        f"<TargetHealth><State>{state}</State>{why}</TargetHealth></member>"
    )


def _register(params: dict) -> tuple:
    arn = alb._p(params, "TargetGroupArn")
    group = alb._tgs.get(arn)
    if not group:
        return alb._error("TargetGroupNotFound", f"Target group '{arn}' not found.")
    existing = alb._targets.setdefault(arn, [])
    known = {_key(t, group) for t in existing}
    for target in alb._parse_targets_param(params):
        key = _key(target, group)
        _draining.get(arn, {}).pop(key, None)
        if key not in known:
            known.add(key)
            existing.append({"Id": key[0], "Port": key[1]})
    return alb._empty("RegisterTargets")


def _deregister(params: dict) -> tuple:
    """Without a port, every registration of the id is taken out."""
    arn = alb._p(params, "TargetGroupArn")
    group = alb._tgs.get(arn)
    if not group:
        return alb._error("TargetGroupNotFound", f"Target group '{arn}' not found.")
    asked = alb._parse_targets_param(params)
    ids = {t["Id"] for t in asked if not t.get("Port")}
    keys = {_key(t, group) for t in asked if t.get("Port")}
    kept, in_use = [], _in_use(arn)
    for target in alb._targets.get(arn, []):
        key = _key(target, group)
        if key[0] not in ids and key not in keys:
            kept.append(target)
        elif in_use:  # an unused one has nothing to finish
            _draining.setdefault(arn, {})[key] = time.monotonic()
    alb._targets[arn] = kept
    return alb._empty("DeregisterTargets")


def _mend() -> None:
    reset = alb.reset

    def forget():
        reset()
        _reports.clear()
        _draining.clear()

    alb.reset = forget
    alb._ACTION_MAP.update({
        "LoadbearingReportTargetHealth": _report,
        "DescribeTargetHealth": _describe,
        "RegisterTargets": _register,
        "DeregisterTargets": _deregister,
    })


def _all_are_healthy() -> bool:
    arn = "arn:aws:elasticloadbalancing:us-east-1:000000000000:targetgroup/probe/0"
    alb._tgs[arn] = {"Port": 80}
    alb._targets[arn] = [{"Id": "i-1"}]
    try:
        return b"<State>healthy</State>" in alb._describe_target_health({"TargetGroupArn": arn})[2]
    finally:
        del alb._tgs[arn], alb._targets[arn]


PIECES = (Piece("ELBv2 says of every target that it is healthy", _all_are_healthy, _mend),)
