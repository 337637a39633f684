"""Registration of CloudFormation resource types the emulator does not know."""

from typing import Callable

from ministack.services.cloudformation import provisioners

from .piece import Piece


def resource_type(
    name: str,
    create: Callable,
    delete: Callable,
    update: Callable,
    replaces: tuple[str, ...] = (),
    tags: str = "",
) -> Piece:
    """A piece that adds one resource type.

    ``create(logical_id, props, stack_name)`` and
    ``update(physical_id, old_props, new_props, stack_name)`` answer the
    physical id (what ``Ref`` returns) and the ``Fn::GetAtt`` attributes;
    ``delete(physical_id, props)`` removes the resource. ``replaces`` are the
    properties whose reference page says "Update requires: Replacement", and
    ``tags`` is the property that takes the stack's own tags.
    """

    def mend() -> None:
        provisioners._RESOURCE_HANDLERS[name] = {"create": create, "update": update, "delete": delete}
        provisioners._REPLACING_PROPERTIES[name] = replaces
        if tags:
            provisioners._STACK_TAG_PROPERTY[name] = (tags, "list")

    return Piece(
        gap=f"CloudFormation does not know {name}",
        missing=lambda: name not in provisioners._RESOURCE_HANDLERS,
        mend=mend,
    )
