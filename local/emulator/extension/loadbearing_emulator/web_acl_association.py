"""AWS::WAFv2::WebACLAssociation: the WAF API associates, CloudFormation does not."""

from ministack.services import waf

from .resource import resource_type


def create(_logical_id, props, _stack_name):
    resource, acl = props.get("ResourceArn", ""), props.get("WebACLArn", "")
    status, _headers, body = waf._associate_web_acl({"ResourceArn": resource, "WebACLArn": acl})
    if status >= 400:
        raise ValueError(f"AWS::WAFv2::WebACLAssociation create failed: {body!r}")
    return f"{resource}|{acl}", {}


def update(physical_id, _old_props, _new_props, _stack_name):
    return physical_id, {}  # both properties replace


def delete(_physical_id, props):
    # A replacement has already put the resource's new association in place.
    if waf._associations.get(props.get("ResourceArn", "")) == props.get("WebACLArn"):
        waf._associations.pop(props["ResourceArn"], None)


PIECES = (
    resource_type(
        "AWS::WAFv2::WebACLAssociation", create, delete, update, replaces=("ResourceArn", "WebACLArn")
    ),
)
