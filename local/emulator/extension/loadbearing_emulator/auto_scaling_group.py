"""Auto Scaling groups as the local runtime reads them.

Upstream forgets a group's target groups, lets every stack update reset the
desired capacity that a scaling policy or an operator has set, and takes sizes
that contradict each other. Here a group keeps what the template says and
refuses what AWS refuses.
"""

from xml.sax.saxutils import escape

from ministack.services import autoscaling
from ministack.services.cloudformation import provisioners

from .piece import Piece
from .warm_pool import configuration_xml

_TYPE = "AWS::AutoScaling::AutoScalingGroup"

# https://docs.aws.amazon.com/autoscaling/ec2/APIReference/API_EnableMetricsCollection.html
_GROUP_METRICS = [
    "GroupMinSize", "GroupMaxSize", "GroupDesiredCapacity", "GroupInServiceInstances", "GroupPendingInstances",
    "GroupStandbyInstances", "GroupTerminatingInstances", "GroupTotalInstances", "GroupInServiceCapacity",
    "GroupPendingCapacity", "GroupStandbyCapacity", "GroupTerminatingCapacity", "GroupTotalCapacity",
    "WarmPoolDesiredCapacity", "WarmPoolWarmedCapacity", "WarmPoolPendingCapacity", "WarmPoolTerminatingCapacity",
    "WarmPoolTotalCapacity", "GroupAndWarmPoolDesiredCapacity", "GroupAndWarmPoolTotalCapacity",
]


def _list_xml(tag: str, values: list) -> str:
    return f"<{tag}>" + "".join(f"<member>{v}</member>" for v in values) + f"</{tag}>"


def _extra_fields(props: dict) -> dict:
    """The members of a group that upstream neither stores nor answers."""
    fields = {"TargetGroupARNs": list(props.get("TargetGroupARNs") or [])}
    for name in ("MaxInstanceLifetime", "DefaultInstanceWarmup"):
        fields[name] = int(props[name]) if props.get(name) not in (None, "") else None
    fields["CapacityRebalance"] = provisioners._cfn_bool(props.get("CapacityRebalance", False))
    fields["EnabledMetrics"] = [
        (metric, collection.get("Granularity", "1Minute"))
        for collection in props.get("MetricsCollection") or []
        for metric in collection.get("Metrics") or _GROUP_METRICS  # none named is all of them
    ]
    return fields


def _extra_xml(group: dict) -> str:
    xml = _list_xml("TargetGroupARNs", [escape(a) for a in group.get("TargetGroupARNs") or []])
    for name in ("MaxInstanceLifetime", "DefaultInstanceWarmup"):
        if group.get(name) is not None:
            xml += f"<{name}>{group[name]}</{name}>"
    xml += f"<CapacityRebalance>{str(group.get('CapacityRebalance', False)).lower()}</CapacityRebalance>"
    xml += _list_xml("EnabledMetrics", [
        f"<Metric>{metric}</Metric><Granularity>{granularity}</Granularity>"
        for metric, granularity in group.get("EnabledMetrics") or []
    ])
    xml += _list_xml("SuspendedProcesses", [
        f"<ProcessName>{process}</ProcessName><SuspensionReason>{escape(reason)}</SuspensionReason>"
        for process, reason in sorted((group.get("SuspendedProcesses") or {}).items())
    ])
    return xml + configuration_xml(group) + f"<WarmPoolSize>{len(group.get('WarmInstances', []))}</WarmPoolSize>"


def _mend_members() -> None:
    fields_upstream = provisioners._asg_fields
    describe_upstream = autoscaling._ACTION_MAP["DescribeAutoScalingGroups"]
    create_upstream = autoscaling._ACTION_MAP["CreateAutoScalingGroup"]

    def fields(props):
        return {**fields_upstream(props), **_extra_fields(props)}

    def create(params):
        response = create_upstream(params)
        if response[0] < 400:
            group = autoscaling._asgs[autoscaling._p(params, "AutoScalingGroupName")]
            group["TargetGroupARNs"] = autoscaling._parse_member_list(params, "TargetGroupARNs")
            template = {
                name: autoscaling._p(params, f"LaunchTemplate.{name}") for name in ("LaunchTemplateId", "LaunchTemplateName", "Version")
            }
            group["LaunchTemplate"] = provisioners._asg_launch_template(
                {name: value for name, value in template.items() if value} if any(template.values()) else None,
            )
            if autoscaling._p(params, "DefaultInstanceWarmup") != "":
                group["DefaultInstanceWarmup"] = int(autoscaling._p(params, "DefaultInstanceWarmup"))
        return response

    def describe(params):
        status, headers, body = describe_upstream(params)
        text = body.decode("utf-8")
        for group in autoscaling._asgs.values():
            arn = f"<AutoScalingGroupARN>{group['AutoScalingGroupARN']}</AutoScalingGroupARN>"
            text = text.replace(arn, arn + _extra_xml(group))
        return status, headers, text.encode("utf-8")

    provisioners._asg_fields = fields
    autoscaling._ACTION_MAP["CreateAutoScalingGroup"] = create
    autoscaling._ACTION_MAP["DescribeAutoScalingGroups"] = describe


def _forgets_target_groups() -> bool:
    return "TargetGroupARNs" not in provisioners._asg_fields({"TargetGroupARNs": ["arn"]})


def _mend_capacity() -> None:
    handlers = provisioners._RESOURCE_HANDLERS[_TYPE]
    upstream = handlers["update"]

    def update(physical_id, old_props, new_props, stack_name, logical_id=None):
        before = (autoscaling._asgs.get(physical_id) or {}).get("DesiredCapacity")
        group_id, attributes = upstream(physical_id, old_props, new_props, stack_name, logical_id)
        group = autoscaling._asgs[group_id]
        if group_id == physical_id and before is not None and new_props.get("DesiredCapacity") in (None, ""):
            group["DesiredCapacity"] = min(max(before, group["MinSize"]), group["MaxSize"])
        return group_id, attributes

    handlers["update"] = update


def _resets_capacity() -> bool:
    handlers = provisioners._RESOURCE_HANDLERS[_TYPE]
    old = {"AutoScalingGroupName": "probe", "MinSize": "1", "MaxSize": "3"}
    name, _ = handlers["create"]("Probe", old, "probe")
    try:
        autoscaling._asgs[name]["DesiredCapacity"] = 2
        handlers["update"](name, old, {**old, "MaxSize": "4"}, "probe", "Probe")
        return autoscaling._asgs[name]["DesiredCapacity"] != 2
    finally:
        handlers["delete"](name, old)


def _sizes(params, group: dict) -> tuple[dict, str]:
    """A group's sizes after an update, or why AWS refuses it.

    A desired capacity that is not given moves to the nearest bound.
    """
    sizes = {
        name: int(text) if (text := autoscaling._p(params, name)) != "" else group[name]
        for name in ("MinSize", "MaxSize", "DesiredCapacity")
    }
    least, most, desired = sizes.values()
    if least > most:
        return {}, f"Max bound, {most}, must be greater than or equal to min bound, {least}"
    if autoscaling._p(params, "DesiredCapacity") == "":
        sizes["DesiredCapacity"] = min(max(desired, least), most)
    elif not least <= desired <= most:
        return {}, f"Desired capacity:{desired} must be between the specified min size:{least} and max size:{most}"
    return sizes, ""


def _mend_update() -> None:
    update_upstream = autoscaling._ACTION_MAP["UpdateAutoScalingGroup"]
    desire_upstream = autoscaling._ACTION_MAP["SetDesiredCapacity"]

    def update(params):
        group = autoscaling._asgs.get(autoscaling._p(params, "AutoScalingGroupName"))
        if group is None:
            return update_upstream(params)
        sizes, refused = _sizes(params, group)
        if refused:
            return autoscaling._error("ValidationError", refused)
        response = update_upstream(params)
        group.update(sizes)
        policies = autoscaling._parse_member_list(params, "TerminationPolicies")
        if policies:
            group["TerminationPolicies"] = policies
        for name in ("NewInstancesProtectedFromScaleIn", "CapacityRebalance"):
            if autoscaling._p(params, name) != "":
                group[name] = autoscaling._p(params, name) == "true"
        for name in ("MaxInstanceLifetime", "DefaultInstanceWarmup"):
            if autoscaling._p(params, name) != "":
                group[name] = int(autoscaling._p(params, name))
        template = {
            name: autoscaling._p(params, f"LaunchTemplate.{name}")
            for name in ("LaunchTemplateId", "LaunchTemplateName", "Version")
            if autoscaling._p(params, f"LaunchTemplate.{name}") != ""
        }
        if template:
            group["LaunchTemplate"] = provisioners._asg_launch_template(template)
        return response

    def desire(params):
        group = autoscaling._asgs.get(autoscaling._p(params, "AutoScalingGroupName"))
        text = autoscaling._p(params, "DesiredCapacity")
        if group is not None and text != "":
            for bound, side, outside in (
                ("MinSize", "below min", int(text) < group["MinSize"]), ("MaxSize", "above max", int(text) > group["MaxSize"]),
            ):
                if outside:
                    return autoscaling._error(
                        "ValidationError", f"New SetDesiredCapacity value {text} is {side} value {group[bound]} for the AutoScalingGroup.",
                    )
        return desire_upstream(params)

    autoscaling._ACTION_MAP["UpdateAutoScalingGroup"] = update
    autoscaling._ACTION_MAP["SetDesiredCapacity"] = desire


def _takes_any_capacity() -> bool:
    handlers = provisioners._RESOURCE_HANDLERS[_TYPE]
    props = {"AutoScalingGroupName": "loadbearing-probe", "MinSize": "0", "MaxSize": "0"}
    name, _ = handlers["create"]("Probe", props, "probe")
    try:
        return autoscaling._update_asg({"AutoScalingGroupName": name, "MinSize": "2"})[0] < 400
    finally:
        handlers["delete"](name, props)


PIECES = (
    Piece("Auto Scaling groups forget their target groups", _forgets_target_groups, _mend_members),
    Piece("a stack update resets an Auto Scaling group's desired capacity", _resets_capacity, _mend_capacity),
    Piece("an Auto Scaling group takes sizes that contradict each other, and forgets most of an update", _takes_any_capacity, _mend_update),
)
