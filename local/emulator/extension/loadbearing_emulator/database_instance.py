"""AWS::RDS::DBInstance: read replicas, and an endpoint where something listens.

CloudFormation here ignores SourceDBInstanceIdentifier and names a host that
does not exist. With this piece a replica inherits what RDS inherits, both sides
name each other, and each instance's endpoint is 127.0.0.1 with a port of its
own from RDS_BASE_PORT upwards, on which the local runtime runs PostgreSQL.
"""

from ministack.services import rds
from ministack.services.cloudformation import provisioners

from .piece import Piece

_TYPE = "AWS::RDS::DBInstance"
_HOST = "127.0.0.1"
# What a replica takes from its source when the template does not say otherwise.
_INHERITED_PROPERTIES = ("Engine", "EngineVersion", "AllocatedStorage", "StorageType", "StorageEncrypted", "KmsKeyId")


def _source(props: dict) -> dict | None:
    identifier = props.get("SourceDBInstanceIdentifier") or ""
    if not identifier:
        return None
    name = identifier.split(":")[-1]  # the identifier alone, or an ARN that ends in it
    source = rds._instances.get(name)
    if source is None:
        raise ValueError(f"{_TYPE}: there is no source DB instance {identifier}")
    return source


def _mend() -> None:
    handlers = provisioners._RESOURCE_HANDLERS[_TYPE]
    create_upstream, update_upstream, delete_upstream = (handlers[k] for k in ("create", "update", "delete"))

    def create(logical_id, props, stack_name):
        source = _source(props)
        effective = dict(props)
        if source is not None:
            for name in _INHERITED_PROPERTIES:
                if effective.get(name) is None and source.get(name) not in (None, ""):
                    effective[name] = source[name]
        instance_id, _attributes = create_upstream(logical_id, effective, stack_name)
        instance = rds._instances[instance_id]
        instance["Endpoint"].update(Address=_HOST, Port=rds._next_port())
        if source is not None:
            for name in ("MasterUsername", "_MasterUserPassword", "DBName"):
                instance[name] = source.get(name)
            instance["ReadReplicaSourceDBInstanceIdentifier"] = source["DBInstanceIdentifier"]
            replicas = source.setdefault("ReadReplicaDBInstanceIdentifiers", [])
            if instance_id not in replicas:
                replicas.append(instance_id)
        return instance_id, provisioners._rds_db_instance_attrs(instance)

    def update(physical_id, old_props, new_props, stack_name, logical_id=None):
        # The update compares template properties only, so that what a replica
        # inherited stays; only a change of Port would move the endpoint.
        before = dict((rds._instances.get(physical_id) or {}).get("Endpoint") or {})
        instance_id, _attributes = update_upstream(physical_id, old_props, new_props, stack_name, logical_id)
        instance = rds._instances[instance_id]
        if instance_id == physical_id and before:
            instance["Endpoint"].update(Address=before["Address"], Port=before["Port"])
        return instance_id, provisioners._rds_db_instance_attrs(instance)

    def delete(physical_id, props):
        instance = rds._instances.get(physical_id) or {}
        source = rds._instances.get(instance.get("ReadReplicaSourceDBInstanceIdentifier") or "")
        if source is not None:
            source["ReadReplicaDBInstanceIdentifiers"] = [
                r for r in source.get("ReadReplicaDBInstanceIdentifiers", []) if r != physical_id
            ]
        for replica in rds._instances.values():
            # RDS promotes the replicas of a deleted source.
            if replica.get("ReadReplicaSourceDBInstanceIdentifier") == physical_id:
                replica["ReadReplicaSourceDBInstanceIdentifier"] = ""
        delete_upstream(physical_id, props)

    handlers.update(create=create, update=update, delete=delete)
    # The update handler replaces through these names.
    provisioners._rds_db_instance_create = create
    provisioners._rds_db_instance_delete = delete


def _missing() -> bool:
    create, delete = (provisioners._RESOURCE_HANDLERS[_TYPE][k] for k in ("create", "delete"))
    first, _ = create("Probe", {"DBInstanceIdentifier": "probe-source"}, "probe")
    try:
        second, _ = create(
            "Replica", {"DBInstanceIdentifier": "probe-replica", "SourceDBInstanceIdentifier": first}, "probe"
        )
        replica = dict(rds._instances[second])
        delete(second, {})
    finally:
        delete(first, {})
    return replica["ReadReplicaSourceDBInstanceIdentifier"] != first or replica["Endpoint"]["Address"] != _HOST


PIECES = (
    Piece(
        "CloudFormation ignores SourceDBInstanceIdentifier, and a DB instance's endpoint is no address",
        _missing, _mend,
    ),
)
