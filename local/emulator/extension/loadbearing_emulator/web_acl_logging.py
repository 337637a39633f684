"""AWS::WAFv2::LoggingConfiguration, and the API that puts and answers it.

Nothing is logged: the emulator's web ACLs see no request.
"""

import json

from ministack.core.responses import AccountRegionScopedDict, json_response
from ministack.services import waf

from .piece import Piece
from .resource import resource_type

_configurations = AccountRegionScopedDict()  # web ACL ARN -> configuration


def _put(data):
    configuration = data.get("LoggingConfiguration", {})
    arn = configuration.get("ResourceArn", "")
    _acl, error = waf._resolve_local_web_acl(arn)
    if error:
        return error
    _configurations[arn] = {"ManagedByFirewallManager": False, **configuration}
    return json_response({"LoggingConfiguration": _configurations[arn]})


def _get(data):
    arn = data.get("ResourceArn", "")
    if arn not in _configurations:
        return waf._waf_not_found(arn)
    return json_response({"LoggingConfiguration": _configurations[arn]})


def _delete(data):
    arn = data.get("ResourceArn", "")
    if _configurations.pop(arn, None) is None:
        return waf._waf_not_found(arn)
    return json_response({})


_OPERATIONS = {"PutLoggingConfiguration": _put, "GetLoggingConfiguration": _get, "DeleteLoggingConfiguration": _delete}


def _mend() -> None:
    upstream = waf.handle_request

    async def handle_request(method, path, headers, body, query_params):
        operation = _OPERATIONS.get(headers.get("x-amz-target", "").rpartition(".")[2])
        if operation is None:
            return await upstream(method, path, headers, body, query_params)
        return operation(json.loads(body) if body else {})

    waf.handle_request = handle_request


def create(_logical_id, props, _stack_name):
    status, _headers, body = _put({"LoggingConfiguration": props})
    if status >= 400:
        raise ValueError(f"AWS::WAFv2::LoggingConfiguration create failed: {body!r}")
    return props["ResourceArn"], {"ManagedByFirewallManager": False}


def update(physical_id, _old_props, new_props, stack_name):
    return create(physical_id, new_props, stack_name)


def delete(physical_id, _props):
    _configurations.pop(physical_id, None)


PIECES = (
    Piece("the WAF API has no logging configurations", lambda: not hasattr(waf, "_put_logging_configuration"), _mend),
    resource_type("AWS::WAFv2::LoggingConfiguration", create, delete, update, replaces=("ResourceArn",)),
)
