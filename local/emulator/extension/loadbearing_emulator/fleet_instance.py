"""The instances of Auto Scaling groups, as the local runtime runs them.

Upstream lists instances that nothing runs, or none, and has no scaling
activities. Here the runtime reports what it runs, at each change, with an
action that AWS does not have: LoadbearingReportInstances. Its answer is what
the runtime has to do and no description shows: the lifecycle hooks and which
actions were completed, the instance refresh that is asked for, and who changed
a capacity. What concerns one instance stands in the instance's own
description, where the runtime finds it with the capacity that goes with it.
"""

import json
from xml.sax.saxutils import escape

from ministack.core.responses import new_uuid, now_iso
from ministack.services import autoscaling, eventbridge
from ministack.services.cloudformation import provisioners

from .piece import Piece

REPORT = "LoadbearingReportInstances"

# What the runtime says of a change of capacity that it makes itself, a header
# on SetDesiredCapacity and UpdateAutoScalingGroup.
CAUSE_HEADER = "x-loadbearing-cause"

_KEPT = 200  # activities and changes of a group; AWS keeps six weeks of them
_ENDED = ("Successful", "Failed", "Cancelled")


def now() -> str:
    """The time as AWS writes it in causes: whole seconds, UTC."""
    return now_iso()[:19] + "Z"


def group_of(params):
    """The named group and, when there is none, the error."""
    name = autoscaling._p(params, "AutoScalingGroupName")
    group = autoscaling._asgs.get(name)
    if group is None:
        return None, autoscaling._error("ValidationError", f"AutoScalingGroup name not found - AutoScalingGroup {name} not found")
    return group, None


def instances_of(group: dict) -> list[dict]:
    """A group's instances with those of its warm pool."""
    return group["Instances"] + group.get("WarmInstances", [])


def find(instance_id: str):
    """An instance and its group, or None twice."""
    for group in autoscaling._asgs.values():
        for instance in instances_of(group):
            if instance["InstanceId"] == instance_id:
                return group, instance
    return None, None


def changed(group: dict, cause: str) -> None:
    """Remember who changed a group's desired capacity."""
    changes = group.setdefault("CapacityChanges", [])
    changes.append({"Id": new_uuid(), "Cause": f"At {now()} {cause}"})
    del changes[:-20]


# States that an API call asks for, and those of the runtime that mean it is on its way.
_ORDERED = {
    "Terminating": ("Terminating", "Warmed:Terminating", "Detaching"),
    "EnteringStandby": ("Standby", "Terminating"),
    "Pending": ("InService", "Terminating"),  # out of standby
}


def _merge(group: dict, reported: list[dict]) -> None:
    known = {i["InstanceId"]: i for i in instances_of(group)}
    zones = group["AvailabilityZones"] or [f"{autoscaling.get_region()}a"]
    merged = []
    for told in reported:
        instance = known.get(told["InstanceId"])
        if instance is None:
            instance = {
                "InstanceId": told["InstanceId"], "AvailabilityZone": zones[len(merged) % len(zones)],
                "ProtectedFromScaleIn": told["ProtectedFromScaleIn"], "LaunchConfigurationName": "",
            }
        ordered = instance.get("Ordered")
        if ordered and told["LifecycleState"].startswith(_ORDERED[ordered]):
            ordered = instance.pop("Ordered")  # it is being done
        elif ordered:
            told["LifecycleState"] = ordered
        if instance.get("SetUnhealthy"):
            told["HealthStatus"] = "Unhealthy"
        del told["ProtectedFromScaleIn"]
        waits = {w["Hook"]: w for w in told.get("Waiting") or []}
        for hook in waits.keys() - {w["Hook"] for w in instance.get("Waiting", [])}:
            _announce(group, told["InstanceId"], waits[hook])
        instance["Completed"] = {h: r for h, r in instance.get("Completed", {}).items() if h in waits}
        instance.update(told, Waiting=list(waits.values()))
        merged.append(instance)
    group["Instances"] = [i for i in merged if not i["LifecycleState"].startswith("Warmed:")]
    group["WarmInstances"] = [i for i in merged if i["LifecycleState"].startswith("Warmed:")]


def _announce(group: dict, instance_id: str, waiting: dict) -> None:
    """Tell EventBridge of a lifecycle action that waits.

    https://docs.aws.amazon.com/autoscaling/ec2/userguide/ec2-auto-scaling-event-reference.html
    """
    name = group["AutoScalingGroupName"]
    hook = autoscaling._hooks.get(f"{name}/{waiting['Hook']}")
    if hook is None:
        return
    kind = "launch" if hook["LifecycleTransition"].endswith("LAUNCHING") else "terminate"
    detail = {
        "LifecycleActionToken": waiting["Token"], "AutoScalingGroupName": name, "LifecycleHookName": waiting["Hook"],
        "EC2InstanceId": instance_id, "LifecycleTransition": hook["LifecycleTransition"],
    }
    if hook.get("NotificationMetadata"):
        detail["NotificationMetadata"] = hook["NotificationMetadata"]
    eventbridge._put_events({"Entries": [{
        "Source": "aws.autoscaling", "DetailType": f"EC2 Instance-{kind} Lifecycle Action",
        "Resources": [group["AutoScalingGroupARN"]], "Detail": json.dumps(detail),
    }]}, allow_aws_source=True)


def _note(group: dict, activities: list[dict]) -> None:
    kept = {a["ActivityId"]: a for a in group.get("Activities", [])}
    kept.update((a["ActivityId"], a) for a in activities)
    group["Activities"] = sorted(kept.values(), key=lambda a: a["StartTime"], reverse=True)[:_KEPT]


def _progress(group: dict, told: dict) -> None:
    for refresh in group.get("InstanceRefreshes", []):
        if refresh["InstanceRefreshId"] != told["InstanceRefreshId"] or refresh["Status"] in _ENDED:
            continue
        if refresh["Status"] == "Cancelling" and told["Status"] not in _ENDED:
            told = {k: v for k, v in told.items() if k != "Status"}
        refresh.update(told)


def _orders(group: dict) -> dict:
    name = group["AutoScalingGroupName"]
    active = [r for r in group.get("InstanceRefreshes", []) if r["Status"] not in _ENDED]
    return {
        "Changes": group.get("CapacityChanges", []),
        "Refresh": active[0] if active else None,
        "Hooks": [
            {"Name": h["LifecycleHookName"], "Transition": h["LifecycleTransition"],
             "HeartbeatTimeout": h["HeartbeatTimeout"], "DefaultResult": h["DefaultResult"]}
            for h in autoscaling._hooks.values() if h["AutoScalingGroupName"] == name
        ],
        "Instances": {
            i["InstanceId"]: {
                "Completed": i.get("Completed") or {}, "Heartbeats": i.get("Heartbeats") or {}, "Activity": i.get("OrderedActivity"),
            }
            for i in instances_of(group)
        },
    }


def _report(params):
    orders = {}
    for name, told in json.loads(autoscaling._p(params, "Document")).items():
        group = autoscaling._asgs.get(name)
        if group is None:
            continue
        _merge(group, told["Instances"])
        _note(group, told.get("Activities") or [])
        if told.get("Refresh"):
            _progress(group, told["Refresh"])
        orders[name] = _orders(group)
    document = escape(json.dumps(orders))
    return autoscaling._xml(200, f"{REPORT}Response", f"<{REPORT}Result><Orders>{document}</Orders></{REPORT}Result>")


_ACTIVITY = (
    "ActivityId", "AutoScalingGroupName", "AutoScalingGroupARN", "Description", "Cause", "StartTime", "EndTime", "StatusCode",
    "StatusMessage", "Progress", "Details",
)


def activity_xml(group: dict, activity: dict) -> str:
    """The members of an activity."""
    fields = {
        **activity, "AutoScalingGroupName": group["AutoScalingGroupName"], "AutoScalingGroupARN": group["AutoScalingGroupARN"],
    }
    return "".join(f"<{f}>{escape(str(fields[f]))}</{f}>" for f in _ACTIVITY if fields.get(f) not in (None, ""))


def page_of(params, items: list, most: int) -> tuple[list, str]:
    """The items a request asks for, and the token of the next page as XML."""
    begin = int(autoscaling._p(params, "NextToken") or 0)
    end = begin + min(int(autoscaling._p(params, "MaxRecords") or most), most)
    return items[begin:end], f"<NextToken>{end}</NextToken>" if end < len(items) else ""


def _describe_activities(params):
    name = autoscaling._p(params, "AutoScalingGroupName")
    wanted = autoscaling._parse_member_list(params, "ActivityIds")
    found = [
        (group, activity)
        for group in autoscaling._asgs.values() if not name or group["AutoScalingGroupName"] == name
        for activity in group.get("Activities", []) if not wanted or activity["ActivityId"] in wanted
    ]
    if name and name not in autoscaling._asgs:
        return group_of(params)[1]
    found.sort(key=lambda f: f[1]["StartTime"], reverse=True)
    found.sort(key=lambda f: f[1]["StatusCode"] in _ENDED)  # those in progress first
    found, token = page_of(params, found, 100)
    members = "".join(f"<member>{activity_xml(*f)}</member>" for f in found)
    return autoscaling._xml(
        200, "DescribeScalingActivitiesResponse",
        f"<DescribeScalingActivitiesResult><Activities>{members}</Activities>{token}</DescribeScalingActivitiesResult>",
    )


def _describe_instances(params):
    wanted = autoscaling._parse_member_list(params, "InstanceIds")
    found = [
        (instance, group["AutoScalingGroupName"])
        for group in autoscaling._asgs.values() for instance in instances_of(group)
        if not wanted or instance["InstanceId"] in wanted
    ]
    found, token = page_of(params, found, 50)
    members = "".join(autoscaling._instance_member_xml(*f) for f in found)
    return autoscaling._xml(
        200, "DescribeAutoScalingInstancesResponse",
        f"<DescribeAutoScalingInstancesResult><AutoScalingInstances>{members}</AutoScalingInstances>{token}</DescribeAutoScalingInstancesResult>",
    )


def _mend_reports() -> None:
    autoscaling._reconcile_instances = lambda group: None
    autoscaling._ACTION_MAP[REPORT] = _report
    autoscaling._ACTION_MAP["DescribeScalingActivities"] = _describe_activities
    autoscaling._ACTION_MAP["DescribeAutoScalingInstances"] = _describe_instances


def _invents_instances() -> bool:
    group = {
        "DesiredCapacity": 1, "Instances": [], "AvailabilityZones": ["us-east-1a"],
        "NewInstancesProtectedFromScaleIn": False,
    }
    autoscaling._reconcile_instances(group)
    return bool(group["Instances"])


def _mend_causes() -> None:
    handle = autoscaling.handle_request
    cause = {"told": ""}  # of the request that is handled: actions do not wait for each other

    async def handle_request(method, path, headers, body, query_params):
        cause["told"] = next((v for k, v in headers.items() if k.lower() == CAUSE_HEADER), "")
        return await handle(method, path, headers, body, query_params)

    def noting(upstream, default):
        def act(params):
            told, cause["told"] = cause["told"], ""
            name = autoscaling._p(params, "AutoScalingGroupName")
            before = (autoscaling._asgs.get(name) or {}).get("DesiredCapacity", 0)
            response = upstream(params)
            group = autoscaling._asgs.get(name)
            if response[0] < 400 and group["DesiredCapacity"] != before:
                what = (told or default).format(min=group["MinSize"], max=group["MaxSize"], desired=group["DesiredCapacity"])
                changed(group, f"{what} changing the desired capacity from {before} to {group['DesiredCapacity']}.")
            return response
        return act

    for action, default in (
        ("CreateAutoScalingGroup", "a user request created an AutoScalingGroup"),
        ("UpdateAutoScalingGroup", "a user request update of AutoScalingGroup constraints to min: {min}, max: {max}, desired: {desired}"),
        ("SetDesiredCapacity", "a user request explicitly set group desired capacity"),
    ):
        autoscaling._ACTION_MAP[action] = noting(autoscaling._ACTION_MAP[action], default)
    autoscaling.handle_request = handle_request

    deployed = provisioners._RESOURCE_HANDLERS["AWS::AutoScaling::AutoScalingGroup"]
    create, update = deployed["create"], deployed["update"]

    def created(logical_id, props, stack_name):
        name, attributes = create(logical_id, props, stack_name)
        group = autoscaling._asgs[name]
        changed(group, f"a user request created an AutoScalingGroup changing the desired capacity from 0 to {group['DesiredCapacity']}.")
        return name, attributes

    def updated(physical_id, *args):
        before = (autoscaling._asgs.get(physical_id) or {}).get("DesiredCapacity", 0)
        name, attributes = update(physical_id, *args)
        group = autoscaling._asgs[name]
        if name == physical_id and group["DesiredCapacity"] != before:
            changed(group, (
                f"a user request update of AutoScalingGroup constraints to min: {group['MinSize']}, max: {group['MaxSize']}, "
                f"desired: {group['DesiredCapacity']} changing the desired capacity from {before} to {group['DesiredCapacity']}."
            ))
        return name, attributes

    deployed.update(create=created, update=updated)


PIECES = (
    Piece("Auto Scaling invents instances that nothing runs", _invents_instances, _mend_reports),
    Piece(
        "Auto Scaling does not remember who changed a capacity",
        lambda: b"<Activities/>" in autoscaling._describe_scaling_activities({})[2], _mend_causes,
    ),
)
