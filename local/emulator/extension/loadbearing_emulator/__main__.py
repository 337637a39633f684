"""Mend what is missing, then run the emulator in this process."""

import logging

from ministack import app

from . import (
    auto_scaling_group,
    cache_endpoint,
    database_instance,
    elastic_ip,
    flow_log,
    forward_config,
    machine_image,
    metric_alarm,
    nat_gateway,
    rotation_schedule,
    secret,
    security_group_rule,
    vpc_origin,
    web_acl,
    web_acl_association,
)

_MODULES = (
    auto_scaling_group,
    cache_endpoint,
    database_instance,
    elastic_ip,
    flow_log,
    forward_config,
    machine_image,
    metric_alarm,
    nat_gateway,
    rotation_schedule,
    secret,
    security_group_rule,
    vpc_origin,
    web_acl,
    web_acl_association,
)


def main() -> None:
    logging.getLogger("loadbearing").setLevel(logging.INFO)
    for module in _MODULES:
        for piece in module.PIECES:
            piece.apply()
    app.main()


if __name__ == "__main__":
    main()
