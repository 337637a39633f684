"""AWS::SecretsManager::Secret as CloudFormation makes it, and its resource policy."""

import json
import string

from ministack.services import secretsmanager
from ministack.services.cloudformation import provisioners

from .piece import Piece
from .resource import resource_type

_TYPE = "AWS::SecretsManager::Secret"
_POLICY = "AWS::SecretsManager::ResourcePolicy"

# GenerateSecretString's switches beside ExcludeCharacters, and what each leaves out.
_EXCLUDED = {
    "ExcludePunctuation": string.punctuation,
    "ExcludeNumbers": string.digits,
    "ExcludeLowercase": string.ascii_lowercase,
    "ExcludeUppercase": string.ascii_uppercase,
}


def _mend_generation() -> None:
    upstream = provisioners._sm_secret_string

    def secret_string(props):
        generate = props.get("GenerateSecretString")
        if not generate:
            return upstream(props)
        excluded = generate.get("ExcludeCharacters", "") + "".join(
            characters for name, characters in _EXCLUDED.items() if provisioners._cfn_bool(generate.get(name, False))
        )
        return upstream({**props, "GenerateSecretString": {**generate, "ExcludeCharacters": excluded}})

    provisioners._sm_secret_string = secret_string


def _ignores_switches() -> bool:
    generate = {"ExcludePunctuation": True, "PasswordLength": 256}
    return not provisioners._sm_secret_string({"GenerateSecretString": generate}).isalnum()


def _mend_ref() -> None:
    handlers = provisioners._RESOURCE_HANDLERS[_TYPE]
    create_upstream, update_upstream, delete_upstream = (handlers[k] for k in ("create", "update", "delete"))

    def name_of(arn):
        name, _secret = secretsmanager._resolve(arn)
        return name or arn

    def create(logical_id, props, stack_name):
        _name, attributes = create_upstream(logical_id, props, stack_name)
        return attributes["Id"], attributes

    def update(physical_id, old_props, new_props, stack_name, logical_id=None):
        _name, attributes = update_upstream(name_of(physical_id), old_props, new_props, stack_name, logical_id)
        return attributes["Id"], attributes

    def delete(physical_id, props):
        delete_upstream(name_of(physical_id), props)

    handlers.update(create=create, update=update, delete=delete)


def _ref_is_the_name() -> bool:
    handlers = provisioners._RESOURCE_HANDLERS[_TYPE]
    physical_id, _ = handlers["create"]("Probe", {"Name": "probe"}, "probe")
    handlers["delete"](physical_id, {"Name": "probe"})
    return not physical_id.startswith("arn:")


def _policy_put(_logical_id, props, _stack_name):
    policy = props.get("ResourcePolicy") or {}
    status, _headers, body = secretsmanager._put_resource_policy({
        "SecretId": props.get("SecretId", ""),
        "ResourcePolicy": policy if isinstance(policy, str) else json.dumps(policy),
    })
    if status >= 400:
        raise ValueError(f"{_POLICY} failed: {body!r}")
    arn = json.loads(body)["ARN"]
    return arn, {"Id": arn}


def _policy_update(_physical_id, _old_props, new_props, stack_name):
    return _policy_put("", new_props, stack_name)


def _policy_delete(physical_id, _props):
    secretsmanager._delete_resource_policy({"SecretId": physical_id})


PIECES = (
    Piece("a generated secret ignores ExcludePunctuation and its like", _ignores_switches, _mend_generation),
    Piece("Ref of a secret is its name, not its ARN", _ref_is_the_name, _mend_ref),
    resource_type(_POLICY, _policy_put, _policy_delete, _policy_update, replaces=("SecretId",)),
)
