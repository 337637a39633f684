"""Instance refreshes that replace instances.

Upstream reports success at once. Here a refresh is kept, one at a time for a
group, and the local runtime carries it out and reports how far it is.
"""

from xml.sax.saxutils import escape

from ministack.core.responses import new_uuid, now_iso
from ministack.services import autoscaling

from .fleet_instance import group_of, page_of
from .piece import Piece

_ENDED = ("Successful", "Failed", "Cancelled")

# Preferences with their ranges.
# https://docs.aws.amazon.com/autoscaling/ec2/APIReference/API_RefreshPreferences.html
_NUMBERS = {
    "MinHealthyPercentage": (0, 100), "MaxHealthyPercentage": (100, 200), "InstanceWarmup": (0, 1 << 31),
    "CheckpointDelay": (0, 172800),
}
_CHOICES = {
    "ScaleInProtectedInstances": ("Refresh", "Ignore", "Wait"), "StandbyInstances": ("Terminate", "Ignore", "Wait"),
}
_UNSUPPORTED = ("Preferences.AlarmSpecification", "Preferences.BakeTime", "DesiredConfiguration")


def _preferences(params) -> dict:
    """The preferences of a request; a ValueError says what AWS would refuse, or what is not done here."""
    prefix = "Preferences."
    if autoscaling._p(params, "Strategy") not in ("", "Rolling"):
        raise ValueError(f"Strategy {autoscaling._p(params, 'Strategy')} is not supported here: use Rolling")
    for key in params:
        unsupported = next((u for u in _UNSUPPORTED if key.startswith(u)), None)
        if unsupported and autoscaling._p(params, key) not in ("", "0"):
            raise ValueError(f"{unsupported} is not supported here: leave it out")
    if autoscaling._p(params, prefix + "AutoRollback") == "true":
        raise ValueError(
            "AutoRollback requires a desired configuration, which is not supported here: "
            "cancel the refresh, put the former artifact back and refresh again"
        )
    found = {}
    for name, (least, most) in _NUMBERS.items():
        text = autoscaling._p(params, prefix + name)
        if text == "":
            continue
        if not least <= int(text) <= most:
            raise ValueError(f"{name} {text} must be between {least} and {most}")
        found[name] = int(text)
    if "MaxHealthyPercentage" in found:
        if "MinHealthyPercentage" not in found:
            raise ValueError("MaxHealthyPercentage requires MinHealthyPercentage")
        if found["MaxHealthyPercentage"] - found["MinHealthyPercentage"] > 100:
            raise ValueError("The difference between MaxHealthyPercentage and MinHealthyPercentage must not be greater than 100")
    for name, choices in _CHOICES.items():
        text = autoscaling._p(params, prefix + name)
        if text and text not in choices:
            raise ValueError(f"{name} {text} must be one of {', '.join(choices)}")
        if text:
            found[name] = text
    found["SkipMatching"] = autoscaling._p(params, prefix + "SkipMatching") == "true"
    checkpoints = [int(v) for v in autoscaling._parse_member_list(params, prefix + "CheckpointPercentages")]
    if checkpoints != sorted(set(checkpoints)) or any(not 1 <= c <= 100 for c in checkpoints):
        raise ValueError(f"CheckpointPercentages {checkpoints} must ascend from 1 to 100")
    if checkpoints:
        found["CheckpointPercentages"] = checkpoints
    elif "CheckpointDelay" in found:
        raise ValueError("CheckpointDelay requires CheckpointPercentages")
    return found


def _start(params):
    group, error = group_of(params)
    if error:
        return error
    refreshes = group.setdefault("InstanceRefreshes", [])
    if any(r["Status"] not in _ENDED for r in refreshes):
        return autoscaling._error(
            "InstanceRefreshInProgress",
            "An Instance Refresh is already in progress and blocks the execution of this Instance Refresh.",
        )
    try:
        preferences = _preferences(params)
    except ValueError as refused:
        return autoscaling._error("ValidationError", escape(str(refused)))
    refresh = {
        "InstanceRefreshId": new_uuid(), "AutoScalingGroupName": group["AutoScalingGroupName"], "Status": "Pending",
        "StatusReason": "", "StartTime": now_iso(), "EndTime": "", "PercentageComplete": 0,
        "InstancesToUpdate": len(group["Instances"]), "Preferences": preferences,
    }
    refreshes.insert(0, refresh)  # the latest first, as AWS describes them
    del refreshes[20:]
    return autoscaling._xml(
        200, "StartInstanceRefreshResponse",
        f"<StartInstanceRefreshResult><InstanceRefreshId>{refresh['InstanceRefreshId']}</InstanceRefreshId></StartInstanceRefreshResult>",
    )


def _describe(params):
    group, error = group_of(params)
    if error:
        return error
    wanted = autoscaling._parse_member_list(params, "InstanceRefreshIds")
    found = [r for r in group.get("InstanceRefreshes", []) if not wanted or r["InstanceRefreshId"] in wanted]
    if wanted and len(found) < len(wanted):
        return autoscaling._error("ValidationError", f"Instance refresh not found: {escape(', '.join(wanted))}")
    found, token = page_of(params, found, 100)
    members = "".join(
        "<member>" + autoscaling._member_xml({k: v for k, v in r.items() if v != ""}) + "</member>" for r in found
    )
    return autoscaling._xml(
        200, "DescribeInstanceRefreshesResponse",
        f"<DescribeInstanceRefreshesResult><InstanceRefreshes>{members}</InstanceRefreshes>{token}</DescribeInstanceRefreshesResult>",
    )


def _cancel(params):
    group, error = group_of(params)
    if error:
        return error
    for refresh in group.get("InstanceRefreshes", []):
        if refresh["Status"] in ("Pending", "InProgress"):
            refresh["Status"], refresh["StatusReason"] = "Cancelling", "Cancelled by user."
            return autoscaling._xml(
                200, "CancelInstanceRefreshResponse",
                f"<CancelInstanceRefreshResult><InstanceRefreshId>{refresh['InstanceRefreshId']}</InstanceRefreshId></CancelInstanceRefreshResult>",
            )
    return autoscaling._error(
        "ActiveInstanceRefreshNotFound", f"No in progress or pending Instance Refresh found for Auto Scaling group {group['AutoScalingGroupName']}",
    )


def _mend() -> None:
    autoscaling._ACTION_MAP["StartInstanceRefresh"] = _start
    autoscaling._ACTION_MAP["DescribeInstanceRefreshes"] = _describe
    autoscaling._ACTION_MAP["CancelInstanceRefresh"] = _cancel


def _succeeds_at_once() -> bool:
    name = "loadbearing-probe"
    autoscaling._asgs[name] = {"AutoScalingGroupName": name}
    try:
        autoscaling._start_instance_refresh({"AutoScalingGroupName": name})
        return autoscaling._asgs[name]["InstanceRefreshes"][0]["Status"] == "Successful"
    finally:
        del autoscaling._asgs[name]


PIECES = (Piece("an instance refresh succeeds at once and replaces nothing", _succeeds_at_once, _mend),)
