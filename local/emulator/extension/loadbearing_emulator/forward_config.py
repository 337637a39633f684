"""ELBv2 ForwardConfig: several target groups with weights, and stickiness between them.

The emulator drops it in the API and in CloudFormation. Its own data plane goes
on using the first group; the local edge reads the weights and does the work.
"""

from ministack.services import alb
from ministack.services.cloudformation import provisioners

from .piece import Piece

# ELBv2's weight when a target group is given without one.
_DEFAULT_WEIGHT = 1


def _normalized(groups: list[tuple[str, object]], enabled: object, duration: object) -> dict:
    """The ForwardConfig a Describe call answers."""
    stickiness = {"Enabled": str(enabled).lower() == "true"}
    if duration not in (None, ""):
        stickiness["DurationSeconds"] = int(str(duration))
    config = {
        "TargetGroups": [
            {"TargetGroupArn": arn, "Weight": _DEFAULT_WEIGHT if weight in (None, "") else int(str(weight))}
            for arn, weight in groups
        ],
        "TargetGroupStickinessConfig": stickiness,
    }
    for group in config["TargetGroups"]:
        if not 0 <= group["Weight"] <= 999:
            raise ValueError(f"weight {group['Weight']} of {group['TargetGroupArn']} is not between 0 and 999")
    return config


def _settle(action: dict, config: dict | None) -> None:
    """Put the configuration on a stored forward action.

    ELBv2 answers a ForwardConfig for the short form (one TargetGroupArn) too.
    """
    if action.get("Type") != "forward":
        return
    if config is None and action.get("TargetGroupArn"):
        config = _normalized([(action["TargetGroupArn"], None)], False, None)
    if config is None or not config["TargetGroups"]:
        return
    action["ForwardConfig"] = config
    action["TargetGroupArn"] = config["TargetGroups"][0]["TargetGroupArn"]


def _mend_api() -> None:
    parse, render = alb._parse_actions, alb._action_xml

    def parse_actions(params, prefix="DefaultActions"):
        actions = parse(params, prefix)
        for i, action in enumerate(actions, start=1):
            base = f"{prefix}.member.{i}.ForwardConfig"
            groups, n = [], 1
            while arn := alb._p(params, f"{base}.TargetGroups.member.{n}.TargetGroupArn"):
                groups.append((arn, alb._p(params, f"{base}.TargetGroups.member.{n}.Weight")))
                n += 1
            sticky = f"{base}.TargetGroupStickinessConfig"
            config = _normalized(
                groups, alb._p(params, f"{sticky}.Enabled"), alb._p(params, f"{sticky}.DurationSeconds")
            ) if groups else None
            _settle(action, config)
        return actions

    def action_xml(action):
        config = action.get("ForwardConfig")
        if not config:
            return render(action)
        # With several groups ELBv2 answers no TargetGroupArn beside the configuration.
        several = len(config["TargetGroups"]) > 1
        xml = render({k: v for k, v in action.items() if not (several and k == "TargetGroupArn")})
        groups = "".join(
            f"<member><TargetGroupArn>{g['TargetGroupArn']}</TargetGroupArn><Weight>{g['Weight']}</Weight></member>"
            for g in config["TargetGroups"]
        )
        sticky = config["TargetGroupStickinessConfig"]
        duration = (
            f"<DurationSeconds>{sticky['DurationSeconds']}</DurationSeconds>" if "DurationSeconds" in sticky else ""
        )
        forward = (
            f"<ForwardConfig><TargetGroups>{groups}</TargetGroups><TargetGroupStickinessConfig>"
            f"<Enabled>{str(sticky['Enabled']).lower()}</Enabled>{duration}"
            f"</TargetGroupStickinessConfig></ForwardConfig>"
        )
        return xml.removesuffix("</member>") + forward + "</member>"

    alb._parse_actions, alb._action_xml = parse_actions, action_xml


def _mend_cloudformation() -> None:
    upstream = provisioners._elbv2_listener_actions

    def listener_actions(props, lb_arn, prop="DefaultActions"):
        entries = upstream(props, lb_arn, prop)
        declared = [a for a in props.get(prop) or [] if isinstance(a, dict)]
        balancer = lb_arn or (alb._listeners.get(props.get("ListenerArn", "")) or {}).get("LoadBalancerArn")
        for entry, action in zip(entries, declared):
            given = action.get("ForwardConfig") or {}
            sticky = given.get("TargetGroupStickinessConfig") or {}
            groups = [(g.get("TargetGroupArn"), g.get("Weight")) for g in given.get("TargetGroups") or []]
            config = _normalized(groups, sticky.get("Enabled", False), sticky.get("DurationSeconds")) if groups else None
            _settle(entry, config)
            for group in (entry.get("ForwardConfig") or {}).get("TargetGroups", []):
                record = alb._tgs.get(group["TargetGroupArn"])
                if balancer and record is not None and balancer not in record.setdefault("LoadBalancerArns", []):
                    record["LoadBalancerArns"].append(balancer)
        return entries

    provisioners._elbv2_listener_actions = listener_actions


def _api_drops_weights() -> bool:
    probe = {
        "Actions.member.1.Type": "forward",
        "Actions.member.1.ForwardConfig.TargetGroups.member.1.TargetGroupArn": "arn",
        "Actions.member.1.ForwardConfig.TargetGroups.member.1.Weight": "7",
    }
    actions = alb._parse_actions(probe, "Actions")
    return "ForwardConfig" not in actions[0] or "<Weight>7</Weight>" not in alb._action_xml(actions[0])


def _cloudformation_drops_weights() -> bool:
    probe = {"Actions": [{"Type": "forward", "ForwardConfig": {"TargetGroups": [{"TargetGroupArn": "a", "Weight": 7}]}}]}
    return "ForwardConfig" not in provisioners._elbv2_listener_actions(probe, None, prop="Actions")[0]


PIECES = (
    Piece("the ELBv2 API drops ForwardConfig from actions", _api_drops_weights, _mend_api),
    Piece(
        "CloudFormation drops ForwardConfig from listeners and rules", _cloudformation_drops_weights,
        _mend_cloudformation,
    ),
)
