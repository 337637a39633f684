"""AWS::EC2::EIP: the EC2 API has addresses, CloudFormation has not."""

import re

from ministack.services import ec2
from ministack.services.cloudformation import provisioners

from .resource import resource_type


def _attributes(address: dict) -> dict:
    return {"AllocationId": address["AllocationId"], "PublicIp": address["PublicIp"]}


def _find(public_ip: str) -> dict | None:
    return next((a for a in ec2._addresses.values() if a["PublicIp"] == public_ip), None)


def create(_logical_id, props, _stack_name):
    _status, _headers, body = ec2._allocate_address({"Domain": props.get("Domain", "vpc")})
    allocation = re.search(rb"<allocationId>(.*?)</allocationId>", body).group(1).decode()
    provisioners._ec2_apply_tags(allocation, props)
    address = ec2._addresses[allocation]
    if props.get("InstanceId"):
        ec2._associate_address({"AllocationId": allocation, "InstanceId": props["InstanceId"]})
    return address["PublicIp"], _attributes(address)


def update(physical_id, old_props, new_props, stack_name):
    address = _find(physical_id)
    if address is None:
        return create("", new_props, stack_name)
    provisioners._ec2_apply_tags(address["AllocationId"], new_props, old_props)
    address["InstanceId"] = new_props.get("InstanceId")
    return physical_id, _attributes(address)


def delete(physical_id, _props):
    address = _find(physical_id)
    if address is not None:
        ec2._release_address({"AllocationId": address["AllocationId"]})


PIECES = (
    resource_type(
        "AWS::EC2::EIP", create, delete, update,
        replaces=("Address", "Domain", "IpamPoolId", "NetworkBorderGroup", "TransferAddress"),
        tags="Tags",
    ),
)
