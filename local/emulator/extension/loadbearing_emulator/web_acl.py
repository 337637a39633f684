"""AWS::WAFv2::WebACL: the text a rule searches for, in the API's encoding.

A template gives SearchString as text, or SearchStringBase64; the API answers
SearchString as a blob, base64 in its JSON. Upstream answers the template's
text, which no SDK can decode.
"""

import base64

from ministack.services import waf
from ministack.services.cloudformation import provisioners

from .piece import Piece

_TYPE = "AWS::WAFv2::WebACL"


def _encoded(node):
    """The template's rules as the API takes them."""
    if isinstance(node, list):
        return [_encoded(member) for member in node]
    if not isinstance(node, dict):
        return node
    rules = {key: _encoded(value) for key, value in node.items()}
    if "SearchString" in rules:
        rules["SearchString"] = base64.b64encode(str(rules["SearchString"]).encode()).decode()
    if "SearchStringBase64" in rules:
        rules["SearchString"] = rules.pop("SearchStringBase64")
    return rules


def _mend() -> None:
    create, update = waf.create_web_acl_record, waf.update_web_acl_record

    def from_template(record, props_at):
        def encoded(*args):
            arguments = list(args)
            arguments[props_at] = _encoded(arguments[props_at])
            return record(*arguments)

        return encoded

    # CloudFormation and the API store through the same two functions; only
    # CloudFormation's view of them is changed, and the API's stays.
    provisioners._waf = _View(
        waf, create_web_acl_record=from_template(create, 2), update_web_acl_record=from_template(update, 1)
    )


class _View:
    """A module with some of its names replaced."""

    def __init__(self, module, **names):
        self._module = module
        self.__dict__.update(names)

    def __getattr__(self, name):
        return getattr(self._module, name)


def _answers_text() -> bool:
    statement = {"ByteMatchStatement": {"SearchString": "text"}}
    handlers = provisioners._RESOURCE_HANDLERS[_TYPE]
    props = {"Name": "probe", "Scope": "REGIONAL", "Rules": [{"Name": "r", "Statement": statement}]}
    physical_id, _ = handlers["create"]("Probe", props, "probe")
    try:
        record = waf.web_acl_record(physical_id.split("|")[1], "REGIONAL")
        return record["Rules"][0]["Statement"]["ByteMatchStatement"]["SearchString"] == "text"
    finally:
        handlers["delete"](physical_id, props)


PIECES = (Piece("a web ACL from CloudFormation answers its search strings as text", _answers_text, _mend),)
