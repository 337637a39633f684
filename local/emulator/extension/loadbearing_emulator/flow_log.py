"""AWS::EC2::FlowLog: the EC2 API has flow logs, CloudFormation has not."""

import re

from ministack.services import ec2
from ministack.services.cloudformation import provisioners

from .resource import resource_type


def create(_logical_id, props, _stack_name):
    _status, _headers, body = ec2._create_flow_logs({
        "ResourceId.1": props.get("ResourceId", ""),
        **{k: props[k] for k in ("ResourceType", "TrafficType", "LogDestinationType", "LogDestination", "LogGroupName")
           if props.get(k)},
    })
    flow_log = re.search(rb"<item>(fl-.*?)</item>", body).group(1).decode()
    provisioners._ec2_apply_tags(flow_log, props)
    return flow_log, {"Id": flow_log}


def update(physical_id, old_props, new_props, _stack_name):
    provisioners._ec2_apply_tags(physical_id, new_props, old_props)
    return physical_id, {"Id": physical_id}


def delete(physical_id, _props):
    ec2._flow_logs.pop(physical_id, None)
    ec2._tags.pop(physical_id, None)


PIECES = (
    resource_type(
        "AWS::EC2::FlowLog", create, delete, update,
        replaces=(
            "DeliverCrossAccountRole", "DeliverLogsPermissionArn", "DestinationOptions", "LogDestination",
            "LogDestinationType", "LogFormat", "LogGroupName", "MaxAggregationInterval", "ResourceId",
            "ResourceType", "TrafficType",
        ),
        tags="Tags",
    ),
)
