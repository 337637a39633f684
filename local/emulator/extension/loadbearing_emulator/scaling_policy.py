"""The alarms of target tracking policies, and what they name.

Upstream makes them for metrics of EC2 and for a single customized metric, and
none for metric math or for the requests of a load balancer. It also forgets
"targetgroup/" in a target group's full name, which the label of such a policy
and the TargetGroup dimension of metrics have.
"""

from ministack.services import alb, autoscaling

from .metric_alarm import typed
from .piece import Piece


def _mend() -> None:
    upstream = autoscaling._tracking_metric

    def metric(tracking, group):
        queries = (tracking.get("CustomizedMetricSpecification") or {}).get("Metrics")
        if queries:
            return {"Metrics": [typed(query) for query in queries]}
        predefined = tracking.get("PredefinedMetricSpecification") or {}
        if predefined.get("PredefinedMetricType") == "ALBRequestCountPerTarget":
            # app/<name>/<id>/targetgroup/<name>/<id>
            _, _, target_group = predefined["ResourceLabel"].partition("/targetgroup/")
            return {
                "Namespace": "AWS/ApplicationELB", "MetricName": "RequestCountPerTarget", "Statistic": "Sum",
                "Dimensions": [{"Name": "TargetGroup", "Value": f"targetgroup/{target_group}"}],
            }
        return upstream(tracking, group)

    autoscaling._tracking_metric = metric


def _makes_no_alarms() -> bool:
    return autoscaling._tracking_metric({"CustomizedMetricSpecification": {"Metrics": [{"Id": "m"}]}}, "probe") is None


_ARN = "arn:aws:elasticloadbalancing:us-east-1:000000000000:targetgroup/web/0123"


def _mend_name() -> None:
    alb._target_group_full_name_from_arn = lambda arn: arn.rpartition(":")[2]


PIECES = (
    Piece("target tracking on metric math or a load balancer's requests has no alarms", _makes_no_alarms, _mend),
    Piece(
        "a target group's full name has no targetgroup/",
        lambda: alb._target_group_full_name_from_arn(_ARN) != "targetgroup/web/0123", _mend_name,
    ),
)
