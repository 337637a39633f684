"""Mend what is missing, then run the emulator in this process."""

import importlib
import logging

from ministack import app

_MODULES = (
    "auto_scaling_group",
    "cache_endpoint",
    "database_instance",
    "elastic_ip",
    "fleet_instance",
    "flow_log",
    "forward_config",
    "instance_order",
    "instance_refresh",
    "listener_rule",
    "machine_image",
    "metric_alarm",
    "metric_data",
    "nat_gateway",
    "rotation_schedule",
    "scaling_policy",
    "secret",
    "security_group_rule",
    "target_health",
    "vpc_origin",
    "warm_pool",
    "web_acl",
    "web_acl_association",
    "web_acl_logging",
)


def main() -> None:
    logging.getLogger("loadbearing").setLevel(logging.INFO)
    for name in _MODULES:
        for piece in importlib.import_module(f".{name}", __package__).PIECES:
            piece.apply()
    app.main()


if __name__ == "__main__":
    main()
