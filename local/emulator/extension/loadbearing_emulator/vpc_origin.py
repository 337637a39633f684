"""AWS::CloudFront::VpcOrigin: the CloudFront API has VPC origins, CloudFormation has not."""

import random

from ministack.core.responses import get_account_id
from ministack.services import cloudfront
from ministack.services.cloudformation import provisioners

from .resource import resource_type


def _config(props: dict) -> dict:
    given = props.get("VpcOriginEndpointConfig") or {}
    protocols = given.get("OriginSSLProtocols")
    config, error = cloudfront._check_vpc_origin_endpoint_config({
        "Name": given.get("Name", ""),
        "Arn": given.get("Arn", ""),
        "HTTPPort": int(given.get("HTTPPort", 80)),
        "HTTPSPort": int(given.get("HTTPSPort", 443)),
        "OriginProtocolPolicy": given.get("OriginProtocolPolicy", "match-viewer"),
        "Quantity": len(protocols) if protocols is not None else None,
        "OriginSslProtocols": protocols,
        "IpAddressType": given.get("IpAddressType", "ipv4"),
    })
    if error:
        raise ValueError(f"AWS::CloudFront::VpcOrigin: {error[2]!r}")
    return config


def _attributes(origin: dict) -> dict:
    return {k: origin[k] for k in ("Arn", "CreatedTime", "Id", "LastModifiedTime", "Status")}


def create(_logical_id, props, _stack_name):
    config = _config(props)
    if cloudfront._vpc_origin_name_taken(config["Name"]):
        raise ValueError(f"AWS::CloudFront::VpcOrigin: a VPC origin named {config['Name']} exists already")
    origin_id = "vo_" + "".join(random.choices(cloudfront._KSUID_CHARS, k=22))
    now = cloudfront._now_iso()
    origin = {
        "Id": origin_id,
        "Arn": f"arn:aws:cloudfront::{get_account_id()}:vpcorigin/{origin_id}",
        "AccountId": get_account_id(),
        "Status": "Deployed",
        "CreatedTime": now,
        "LastModifiedTime": now,
        "VpcOriginEndpointConfig": config,
        "Version": 2,
    }
    cloudfront._vpc_origins[origin_id] = origin
    tags = [{"Key": k, "Value": v} for k, v in provisioners._tag_map(props.get("Tags")).items()]
    cloudfront._tags[origin["Arn"]] = tags
    return origin_id, _attributes(origin)


def update(physical_id, old_props, new_props, stack_name):
    origin = cloudfront._vpc_origins.get(physical_id)
    if origin is None:
        return create("", new_props, stack_name)
    origin["VpcOriginEndpointConfig"] = _config(new_props)
    origin["Version"] += 2
    origin["LastModifiedTime"] = cloudfront._now_iso()
    provisioners._reconcile_tag_list(cloudfront._tags.setdefault(origin["Arn"], []), old_props, new_props)
    return physical_id, _attributes(origin)


def delete(physical_id, _props):
    origin = cloudfront._vpc_origins.pop(physical_id, None)
    if origin is not None:
        cloudfront._tags.pop(origin["Arn"], None)


PIECES = (resource_type("AWS::CloudFront::VpcOrigin", create, delete, update, tags="Tags"),)
