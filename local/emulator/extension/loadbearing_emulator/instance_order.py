"""What the Auto Scaling API asks of single instances and of processes.

Upstream has none of these actions, and answers lifecycle actions without
noting them. Here each is noted on the instance or the group, where the local
runtime finds it and does it.
"""

from datetime import datetime, timezone
from xml.sax.saxutils import escape

from ministack.core.responses import new_uuid, now_iso
from ministack.services import autoscaling

from .fleet_instance import activity_xml, find, group_of, instances_of, now
from .piece import Piece

# https://docs.aws.amazon.com/autoscaling/ec2/userguide/ec2-auto-scaling-suspend-resume-processes.html
_PROCESSES = (
    "Launch", "Terminate", "AddToLoadBalancer", "AlarmNotification", "AZRebalance", "HealthCheck", "InstanceRefresh",
    "ReplaceUnhealthy", "ScheduledActions",
)


def _refused(message: str):
    return autoscaling._error("ValidationError", escape(message))


def _done(action: str, result: str = ""):
    return autoscaling._xml(200, f"{action}Response", f"<{action}Result>{result}</{action}Result>")


def _named(params):
    """The group and the instances a request names, or the error."""
    group, error = group_of(params)
    if error:
        return None, [], error
    wanted = autoscaling._parse_member_list(params, "InstanceIds")
    found = [i for i in instances_of(group) if i["InstanceId"] in wanted]
    missing = set(wanted) - {i["InstanceId"] for i in found}
    if missing:
        name = group["AutoScalingGroupName"]
        return None, [], _refused(f"The instance {', '.join(sorted(missing))} is not part of Auto Scaling group {name}.")
    return group, found, None


def _decrement(group: dict, by: int) -> str:
    """Take from a group's desired capacity, or say why AWS refuses it."""
    desired = group["DesiredCapacity"] - by
    if desired < group["MinSize"]:
        return (
            f"Currently, desiredSize equals minSize ({group['MinSize']}). Terminating instance without replacement will violate "
            "group's min size constraint. Either set shouldDecrementDesiredCapacity flag to false or lower group's min size."
        )
    group["DesiredCapacity"] = desired
    return ""


def _activity(description: str, cause: str) -> dict:
    return {
        "ActivityId": new_uuid(), "Description": description, "Cause": cause, "StartTime": now_iso(),
        "StatusCode": "InProgress", "Progress": 0, "Details": "",
    }


def _terminate(params):
    instance_id = autoscaling._p(params, "InstanceId")
    group, instance = find(instance_id)
    if instance is None:
        return _refused(f"Instance Id not found - No managed instance found for instance ID: {instance_id}")
    decrement = autoscaling._p(params, "ShouldDecrementDesiredCapacity")
    if decrement not in ("true", "false"):
        return _refused("ShouldDecrementDesiredCapacity is required")
    if instance["LifecycleState"].startswith("Terminating"):
        return _refused(f"Instance {instance_id} is terminating already")
    cause = f"At {now()} instance {instance_id} was taken out of service in response to a user request"
    if decrement == "true":
        before = group["DesiredCapacity"]
        refused = _decrement(group, 1)
        if refused:
            return _refused(refused)
        cause += f", shrinking the capacity from {before} to {before - 1}"
    activity = _activity(f"Terminating EC2 instance: {instance_id}", cause + ".")
    instance.update(LifecycleState="Terminating", Ordered="Terminating", OrderedActivity=activity)
    return _done("TerminateInstanceInAutoScalingGroup", f"<Activity>{activity_xml(group, activity)}</Activity>")


def _protect(params):
    _, found, error = _named(params)
    if error:
        return error
    for instance in found:
        instance["ProtectedFromScaleIn"] = autoscaling._p(params, "ProtectedFromScaleIn") == "true"
    return _done("SetInstanceProtection")


def _health(params):
    instance_id, status = (autoscaling._p(params, name) for name in ("InstanceId", "HealthStatus"))
    _, instance = find(instance_id)
    if instance is None:
        return _refused(f"Instance Id not found - No managed instance found for instance ID: {instance_id}")
    if status not in ("Healthy", "Unhealthy"):
        return _refused(f"HealthStatus {status} must be Healthy or Unhealthy")
    instance["SetUnhealthy"] = status == "Unhealthy"
    instance["HealthStatus"] = status
    return autoscaling._xml(200, "SetInstanceHealthResponse", "")


def _standby(action: str, required: str, ordered: str, sign: int, where: str):
    def act(params):
        group, found, error = _named(params)
        if error:
            return error
        for instance in found:
            if instance["LifecycleState"] != required:
                return _refused(f"The instance {instance['InstanceId']} is not in {required} state but in {instance['LifecycleState']}.")
        before = group["DesiredCapacity"]
        moves = sign > 0 or autoscaling._p(params, "ShouldDecrementDesiredCapacity") == "true"
        if moves and sign > 0:
            if before + len(found) > group["MaxSize"]:
                return _refused(f"Desired capacity {before + len(found)} would be above the group's max size {group['MaxSize']}")
            group["DesiredCapacity"] += len(found)
        elif moves:
            refused = _decrement(group, len(found))
            if refused:
                return _refused(refused)
        activities = ""
        for instance in found:
            cause = f"At {now()} instance {instance['InstanceId']} was moved {where} in response to a user request"
            if moves:
                cause += f", {'growing' if sign > 0 else 'shrinking'} the capacity from {before} to {group['DesiredCapacity']}"
            activity = _activity(f"Moving EC2 instance {where}: {instance['InstanceId']}", cause + ".")
            activity.update(StatusCode="Successful", Progress=100, EndTime=now_iso())
            group.setdefault("Activities", []).insert(0, activity)
            instance.update(LifecycleState=ordered, Ordered=ordered)
            activities += f"<member>{activity_xml(group, activity)}</member>"
        return _done(action, f"<Activities>{activities}</Activities>")
    return act


def _suspend(action: str, suspend: bool):
    def act(params):
        group, error = group_of(params)
        if error:
            return error
        named = autoscaling._parse_member_list(params, "ScalingProcesses") or list(_PROCESSES)
        unknown = [p for p in named if p not in _PROCESSES]
        if unknown:
            return _refused(f"Invalid scaling process: {', '.join(unknown)}. Valid are {', '.join(_PROCESSES)}")
        processes = group.setdefault("SuspendedProcesses", {})
        for process in named:
            if suspend:
                processes.setdefault(process, f"User suspended at {now()}")
            else:
                processes.pop(process, None)
        return autoscaling._xml(200, f"{action}Response", "")
    return act


def _lifecycle_action(params):
    """The instance and the hook of a lifecycle action that waits, or the error."""
    hook, token = autoscaling._p(params, "LifecycleHookName"), autoscaling._p(params, "LifecycleActionToken")
    group, error = group_of(params)
    if error:
        return None, hook, error
    for instance in instances_of(group):
        for waiting in instance.get("Waiting", []):
            if waiting["Hook"] == hook and (token == waiting["Token"] or instance["InstanceId"] == autoscaling._p(params, "InstanceId")):
                return instance, hook, None
    which = f"token {token}" if token else f"instance ID {autoscaling._p(params, 'InstanceId')}"
    return None, hook, _refused(f"No active Lifecycle Action found with {which}")


def _complete(params):
    instance, hook, error = _lifecycle_action(params)
    if error:
        return error
    result = autoscaling._p(params, "LifecycleActionResult")
    if result not in ("CONTINUE", "ABANDON"):
        return _refused(f"LifecycleActionResult {result} must be CONTINUE or ABANDON")
    instance.setdefault("Completed", {}).setdefault(hook, result)
    return _done("CompleteLifecycleAction")


def _heartbeat(params):
    instance, hook, error = _lifecycle_action(params)
    if error:
        return error
    beat = datetime.now(timezone.utc).isoformat()
    instance.setdefault("Heartbeats", {})[hook] = beat
    return _done("RecordLifecycleActionHeartbeat")


_ACTIONS = {
    "TerminateInstanceInAutoScalingGroup": _terminate,
    "SetInstanceProtection": _protect,
    "SetInstanceHealth": _health,
    "EnterStandby": _standby("EnterStandby", "InService", "EnteringStandby", -1, "to Standby"),
    "ExitStandby": _standby("ExitStandby", "Standby", "Pending", 1, "out of Standby"),
    "SuspendProcesses": _suspend("SuspendProcesses", True),
    "ResumeProcesses": _suspend("ResumeProcesses", False),
}


def _mend() -> None:
    autoscaling._ACTION_MAP.update(_ACTIONS)


def _mend_lifecycle() -> None:
    autoscaling._ACTION_MAP["CompleteLifecycleAction"] = _complete
    autoscaling._ACTION_MAP["RecordLifecycleActionHeartbeat"] = _heartbeat


PIECES = (
    Piece(
        "the Auto Scaling API has no actions on instances and processes",
        lambda: not _ACTIONS.keys() & autoscaling._ACTION_MAP.keys(), _mend,
    ),
    Piece(
        "lifecycle actions are completed without anybody waiting for them",
        lambda: autoscaling._complete_lifecycle_action({})[0] < 400, _mend_lifecycle,
    ),
)
