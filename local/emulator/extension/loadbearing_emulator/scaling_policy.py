"""The alarms of target tracking policies.

Upstream makes them for metrics of EC2 and for a single customized metric, and
none for metric math or for the requests of a load balancer.
"""

from ministack.services import autoscaling

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
            target_group = "/".join(predefined["ResourceLabel"].split("/")[3:])
            return {
                "Namespace": "AWS/ApplicationELB", "MetricName": "RequestCountPerTarget", "Statistic": "Sum",
                "Dimensions": [{"Name": "TargetGroup", "Value": target_group}],
            }
        return upstream(tracking, group)

    autoscaling._tracking_metric = metric


def _makes_no_alarms() -> bool:
    return autoscaling._tracking_metric({"CustomizedMetricSpecification": {"Metrics": [{"Id": "m"}]}}, "probe") is None


PIECES = (Piece("target tracking on metric math or a load balancer's requests has no alarms", _makes_no_alarms, _mend),)
