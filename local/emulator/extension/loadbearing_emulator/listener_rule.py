"""ELBv2 listener rules: query-string conditions, and text that XML has to escape.

The emulator drops the pairs of a query-string condition, and writes conditions
and fixed responses into its answers as they are: a message body with a tag in it
makes every DescribeRules of the listener unreadable.
"""

from xml.sax.saxutils import escape

from ministack.services import alb
from ministack.services.cloudformation import provisioners

from .piece import Piece


def _pairs(params: dict, base: str) -> list[dict]:
    pairs, i = [], 1
    while True:
        member = f"{base}.QueryStringConfig.Values.member.{i}"
        pair = {name: alb._p(params, f"{member}.{name}") for name in ("Key", "Value")}
        if not any(pair.values()):
            return pairs
        pairs.append({name: value for name, value in pair.items() if value})
        i += 1


def _mend_query() -> None:
    parse, render = alb._parse_conditions, alb._condition_xml
    flatten = provisioners._flatten_listener_rule_conditions

    def parse_conditions(params, prefix="Conditions"):
        conditions = parse(params, prefix)
        for i, condition in enumerate(conditions, start=1):
            if condition["Field"] == "query-string":
                condition["QueryStringConfig"] = {"Values": _pairs(params, f"{prefix}.member.{i}")}
        return conditions

    def condition_xml(condition):
        if "QueryStringConfig" not in condition:
            return render(condition)
        members = "".join(
            "<member>" + "".join(f"<{name}>{escape(pair[name])}</{name}>" for name in ("Key", "Value") if name in pair) + "</member>"
            for pair in condition["QueryStringConfig"]["Values"]
        )
        return (
            "<member><Field>query-string</Field>"
            f"<QueryStringConfig><Values>{members}</Values></QueryStringConfig></member>"
        )

    def flattened(declared):
        conditions = flatten(declared)
        for condition, given in zip(conditions, declared or []):
            if given.get("QueryStringConfig"):
                condition["Values"], condition["QueryStringConfig"] = [], given["QueryStringConfig"]
        return conditions

    alb._parse_conditions, alb._condition_xml = parse_conditions, condition_xml
    provisioners._flatten_listener_rule_conditions = flattened


def _drops_queries() -> bool:
    probe = {
        "Conditions.member.1.Field": "query-string",
        "Conditions.member.1.QueryStringConfig.Values.member.1.Key": "k",
        "Conditions.member.1.QueryStringConfig.Values.member.1.Value": "v",
    }
    return "<Key>k</Key>" not in alb._condition_xml(alb._parse_conditions(probe)[0])


def _mend_text() -> None:
    action, condition = alb._action_xml, alb._condition_xml

    def action_xml(given):
        fixed = given.get("FixedResponseConfig")
        if fixed:
            given = {**given, "FixedResponseConfig": {**fixed, "MessageBody": escape(fixed.get("MessageBody", ""))}}
        redirect = given.get("RedirectConfig")
        if redirect:  # upstream escapes the query
            given = {**given, "RedirectConfig": {k: v if k == "Query" else escape(str(v)) for k, v in redirect.items()}}
        return action(given)

    def condition_xml(given):
        return condition({**given, "Values": [escape(v) for v in given.get("Values", [])]})

    alb._action_xml, alb._condition_xml = action_xml, condition_xml


def _does_not_escape() -> bool:
    return "<p>" in alb._action_xml({"Type": "fixed-response", "FixedResponseConfig": {"MessageBody": "<p>"}})


PIECES = (
    Piece("the ELBv2 API drops the pairs of query-string conditions", _drops_queries, _mend_query),
    Piece("the ELBv2 API does not escape the text of rules", _does_not_escape, _mend_text),
)
