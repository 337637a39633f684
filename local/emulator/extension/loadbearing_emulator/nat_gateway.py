"""AWS::EC2::NatGateway: the EC2 API has NAT gateways, CloudFormation has not."""

import re

from ministack.services import ec2
from ministack.services.cloudformation import provisioners

from .resource import resource_type


def create(_logical_id, props, _stack_name):
    status, _headers, body = ec2._create_nat_gateway({
        "SubnetId": props.get("SubnetId", ""),
        "AllocationId": props.get("AllocationId", ""),
        "ConnectivityType": props.get("ConnectivityType", "public"),
    })
    if status >= 400:
        raise ValueError(f"AWS::EC2::NatGateway create failed: {body.decode()}")
    nat_id = re.search(rb"<natGatewayId>(.*?)</natGatewayId>", body).group(1).decode()
    provisioners._ec2_apply_tags(nat_id, props)
    return nat_id, {"NatGatewayId": nat_id}


def update(physical_id, old_props, new_props, _stack_name):
    provisioners._ec2_apply_tags(physical_id, new_props, old_props)
    return physical_id, {"NatGatewayId": physical_id}


def delete(physical_id, _props):
    # The API keeps a deleted gateway listed, as AWS does for an hour; what a
    # stack deletes is gone here at once, so that "nothing left" can be checked.
    ec2._nat_gateways.pop(physical_id, None)
    ec2._tags.pop(physical_id, None)


PIECES = (
    resource_type(
        "AWS::EC2::NatGateway", create, delete, update,
        replaces=("AllocationId", "ConnectivityType", "PrivateIpAddress", "SubnetId", "VpcId"),
        tags="Tags",
    ),
)
