"""AWS::SecretsManager::RotationSchedule, and the transform its hosted Lambda brings.

The schedule is recorded and can be read back; nothing rotates: AWS's rotation
Lambda is not part of the emulator, and a rotation without it would change the
secret but not the database's password.
"""

import importlib
import logging

from ministack.services import secretsmanager
from ministack.services.cloudformation import engine, provisioners

from .piece import Piece
from .resource import resource_type

logger = logging.getLogger("loadbearing")

_TRANSFORMS = ("AWS::SecretsManager-2020-07-23", "AWS::SecretsManager-2024-09-16")


def _secret(secret_id: str) -> dict:
    _name, secret = secretsmanager._resolve(secret_id)
    if not secret:
        raise ValueError(f"AWS::SecretsManager::RotationSchedule: there is no secret {secret_id}")
    return secret


def create(logical_id, props, _stack_name):
    secret = _secret(props.get("SecretId", ""))
    secret["RotationEnabled"] = True
    secret["RotationRules"] = dict(props.get("RotationRules") or {})
    secret["RotationLambdaARN"] = props.get("RotationLambdaARN")
    logger.info("rotation of %s is recorded (%s), not run", secret["Name"], logical_id)
    return secret["ARN"], {"Id": secret["ARN"]}


def update(_physical_id, _old_props, new_props, stack_name):
    return create("", new_props, stack_name)


def delete(physical_id, _props):
    _name, secret = secretsmanager._resolve(physical_id)
    if secret:
        secret.update(RotationEnabled=False, RotationRules=None, RotationLambdaARN=None)


def _undeclared() -> bool:
    """Whether the transform stays declared, which switches off the check of resource types."""
    template = {"Transform": _TRANSFORMS[0], "Resources": {}}
    return "Transform" in engine._apply_transforms(template)


def _apply_transform() -> None:
    upstream = engine._apply_transforms

    def apply_transforms(template, *args, **kwargs):
        processed = upstream(template, *args, **kwargs)
        if isinstance(processed, engine._TransformFailed):
            return processed
        for name in _TRANSFORMS:
            if name in engine.declared_transforms(processed):
                processed = engine._without_transform(processed, name)
        return processed

    # Each of these imported the function by name.
    for module in ("engine", "handlers", "changesets", "provisioners"):
        loaded = importlib.import_module(f"ministack.services.cloudformation.{module}")
        if hasattr(loaded, "_apply_transforms"):
            loaded._apply_transforms = apply_transforms


PIECES = (
    resource_type("AWS::SecretsManager::RotationSchedule", create, delete, update, replaces=("SecretId",)),
    Piece(
        gap="CloudFormation does not apply the AWS::SecretsManager transforms",
        missing=_undeclared,
        mend=_apply_transform,
    ),
)
