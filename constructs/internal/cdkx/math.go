package cdkx

import (
	"time"

	"github.com/aws/aws-cdk-go/awscdk/v2/awscloudwatch"
)

// Math is a metric-math expression over metrics named in it, by the minute.
func Math(expression, label string, using map[string]awscloudwatch.IMetric) awscloudwatch.IMetric {
	return awscloudwatch.NewMathExpression(&awscloudwatch.MathExpressionProps{
		Expression:   &expression,
		Label:        Optional(label),
		UsingMetrics: &using,
		Period:       Duration(time.Minute),
	})
}
