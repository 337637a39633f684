// PostgreSQL in a network of its own, with two read replicas and monthly backups
// that nobody can delete, and a Lambda that may connect without a password.
package main

import (
	"github.com/aws/aws-cdk-go/awscdk/v2"
	"github.com/aws/aws-cdk-go/awscdk/v2/awssecretsmanager"

	"github.com/loadbearing/loadbearing/constructs/cdkapp"
	"github.com/loadbearing/loadbearing/constructs/database"
	"github.com/loadbearing/loadbearing/constructs/function"
	"github.com/loadbearing/loadbearing/constructs/network"
)

func main() {
	cdkapp.Main(func(app awscdk.App) error {
		stack := cdkapp.Stack(app, "shop-data", cdkapp.StackProps{TerminationProtection: true})

		vpc := network.New(stack, "Network", network.Props{}).VPC
		shop := database.New(stack, "Shop", database.Props{
			VPC:            vpc,
			Name:           "shop",
			InstanceType:   "db.m7g.large",
			Replicas:       2,
			MonthlyBackups: 24,
		})
		// The proxy shares few connections among many Lambdas. It knows the role's
		// password; the Lambda has a token of IAM instead.
		proxy := shop.AddProxy("Proxy", database.ProxyProps{
			Secrets:    []awssecretsmanager.ISecret{shop.AddRoleSecret("ReportSecret", "report")},
			RequireIAM: true,
		})

		report := function.New(stack, "Report", function.Props{
			Source:      "./report",
			VPC:         vpc,
			Synchronous: true,
			Environment: map[string]string{"DATABASE_URL": "postgres://report@" + proxy.Endpoint() + "/shop?sslmode=verify-full"},
		})
		proxy.AllowFrom(report.Function)
		proxy.GrantConnect(report.Role, "report")

		cdkapp.Output(stack, "Primary", shop.PrimaryEndpoint(), "host:port of the primary")
		cdkapp.Output(stack, "ReportFunction", report.Name(), "Invoke it")
		return nil
	})
}
