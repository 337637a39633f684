"""Warm pools, as resources and in the Auto Scaling API.

Upstream knows neither. Here a group keeps the configuration of its pool; the
local runtime fills it and reports its instances.
"""

from ministack.services import autoscaling

from .piece import Piece
from .resource import resource_type

_STATES = ("Stopped", "Running", "Hibernated")


def configuration_xml(group: dict) -> str:
    """The configuration of a group's warm pool, or nothing."""
    pool = group.get("WarmPoolConfiguration")
    if pool is None:
        return ""
    xml = f"<MinSize>{int(pool.get('MinSize') or 0)}</MinSize><PoolState>{pool.get('PoolState', 'Stopped')}</PoolState>"
    if pool.get("MaxGroupPreparedCapacity") not in (None, ""):
        xml += f"<MaxGroupPreparedCapacity>{int(pool['MaxGroupPreparedCapacity'])}</MaxGroupPreparedCapacity>"
    reuse = pool.get("InstanceReusePolicy")
    if reuse:
        on_scale_in = str(reuse.get("ReuseOnScaleIn", False)).lower()
        xml += f"<InstanceReusePolicy><ReuseOnScaleIn>{on_scale_in}</ReuseOnScaleIn></InstanceReusePolicy>"
    return f"<WarmPoolConfiguration>{xml}</WarmPoolConfiguration>"


def _put_resource(_logical_id, props, _stack_name):
    name = props.get("AutoScalingGroupName", "")
    group = autoscaling._asgs.get(name)
    if group is None:
        raise ValueError(f"AWS::AutoScaling::WarmPool: there is no Auto Scaling group {name}")
    group["WarmPoolConfiguration"] = {k: v for k, v in props.items() if k != "AutoScalingGroupName"}
    return name, {}


def _update_resource(physical_id, _old_props, new_props, stack_name):
    return _put_resource(physical_id, new_props, stack_name)


def _delete_resource(physical_id, _props):
    (autoscaling._asgs.get(physical_id) or {}).pop("WarmPoolConfiguration", None)


def _group(params):
    group = autoscaling._asgs.get(autoscaling._p(params, "AutoScalingGroupName"))
    return group, None if group is not None else autoscaling._error("ValidationError", "AutoScalingGroup name not found")


def _put(params):
    group, error = _group(params)
    if error:
        return error
    state = autoscaling._p(params, "PoolState") or "Stopped"
    if state not in _STATES:
        return autoscaling._error("ValidationError", f"PoolState {state} must be one of {', '.join(_STATES)}")
    pool = {"PoolState": state, "MinSize": int(autoscaling._p(params, "MinSize") or 0)}
    prepared = autoscaling._p(params, "MaxGroupPreparedCapacity")
    if prepared not in ("", "-1"):  # -1 takes the limit away
        pool["MaxGroupPreparedCapacity"] = int(prepared)
    reuse = autoscaling._p(params, "InstanceReusePolicy.ReuseOnScaleIn")
    if reuse != "":
        pool["InstanceReusePolicy"] = {"ReuseOnScaleIn": reuse == "true"}
    group["WarmPoolConfiguration"] = pool
    return autoscaling._xml(200, "PutWarmPoolResponse", "<PutWarmPoolResult/>")


def _delete(params):
    group, error = _group(params)
    if error:
        return error
    group.pop("WarmPoolConfiguration", None)
    return autoscaling._xml(200, "DeleteWarmPoolResponse", "<DeleteWarmPoolResult/>")


def _describe(params):
    group, error = _group(params)
    if error:
        return error
    members = "".join(autoscaling._instance_member_xml(i) for i in group.get("WarmInstances", []))
    return autoscaling._xml(
        200, "DescribeWarmPoolResponse",
        f"<DescribeWarmPoolResult>{configuration_xml(group)}<Instances>{members}</Instances></DescribeWarmPoolResult>",
    )


def _mend() -> None:
    autoscaling._ACTION_MAP.update(PutWarmPool=_put, DeleteWarmPool=_delete, DescribeWarmPool=_describe)


PIECES = (
    resource_type(
        "AWS::AutoScaling::WarmPool", _put_resource, _delete_resource, _update_resource, replaces=("AutoScalingGroupName",),
    ),
    Piece("the Auto Scaling API has no warm pools", lambda: "DescribeWarmPool" not in autoscaling._ACTION_MAP, _mend),
)
