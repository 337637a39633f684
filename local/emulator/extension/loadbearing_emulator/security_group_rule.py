"""AWS::EC2::SecurityGroupIngress and -Egress: rules that stand beside their group.

CDK writes them whenever two groups refer to each other.
"""

import uuid

from ministack.services import ec2
from ministack.services.cloudformation import provisioners

from .resource import resource_type

_FIELDS = {"ingress": "IpPermissions", "egress": "IpPermissionsEgress"}


def _group(props: dict) -> dict:
    ec2._ensure_defaults_initialized()
    group = ec2._security_groups.get(props.get("GroupId", ""))
    if group is None:
        raise ValueError(f"security group {props.get('GroupId')} does not exist")
    return group


def _is_default_egress(permission: dict) -> bool:
    """Whether this is the allow-all rule EC2 gives every new group.

    A template that declares allow-all describes it; EC2's own has no text.
    """
    return permission.get("IpProtocol") == "-1" and permission.get("IpRanges") == [{"CidrIp": "0.0.0.0/0"}]


def _handlers(direction: str):
    field = _FIELDS[direction]

    def rule(props, rule_id):
        return {**provisioners._ec2_sg_permissions([props])[0], "SecurityGroupRuleId": rule_id}

    def create(_logical_id, props, _stack_name):
        group = _group(props)
        permissions = group.setdefault(field, [])
        if direction == "egress":
            # "When you use AWS::EC2::SecurityGroupEgress, the default rule is
            # removed from the security group" (the type's reference page).
            permissions[:] = [p for p in permissions if not _is_default_egress(p)]
        rule_id = "sgr-" + uuid.uuid4().hex[:17]
        permissions.append(rule(props, rule_id))
        return rule_id, {"Id": rule_id}

    def update(physical_id, _old_props, new_props, _stack_name):
        permissions = _group(new_props).setdefault(field, [])
        permissions[:] = [
            rule(new_props, physical_id) if p.get("SecurityGroupRuleId") == physical_id else p for p in permissions
        ]
        return physical_id, {"Id": physical_id}

    def delete(physical_id, props):
        group = ec2._security_groups.get(props.get("GroupId", ""))
        if group is not None:
            group[field] = [p for p in group.get(field, []) if p.get("SecurityGroupRuleId") != physical_id]

    return create, delete, update


PIECES = (
    resource_type(
        "AWS::EC2::SecurityGroupIngress", *_handlers("ingress"),
        replaces=(
            "CidrIp", "CidrIpv6", "FromPort", "GroupId", "GroupName", "IpProtocol", "SourcePrefixListId",
            "SourceSecurityGroupId", "SourceSecurityGroupName", "SourceSecurityGroupOwnerId", "ToPort",
        ),
    ),
    resource_type(
        "AWS::EC2::SecurityGroupEgress", *_handlers("egress"),
        replaces=(
            "CidrIp", "CidrIpv6", "DestinationPrefixListId", "DestinationSecurityGroupId", "FromPort", "GroupId",
            "IpProtocol", "ToPort",
        ),
    ),
)
