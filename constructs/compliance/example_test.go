package compliance_test

import (
	"github.com/loadbearing/loadbearing/constructs/cdkapp"
	"github.com/loadbearing/loadbearing/constructs/compliance"
	"github.com/loadbearing/loadbearing/constructs/internal/cdktest"
	"github.com/loadbearing/loadbearing/constructs/network"
)

// A network whose connections nobody has to be able to look up later.
func Example() {
	const reason = "The sandbox holds no data of users and is deleted every night."
	stack := cdkapp.Stack(cdktest.App(), "sandbox", cdkapp.StackProps{})
	sandbox := network.New(stack, "Network", network.Props{NoFlowLogs: true})

	compliance.Acknowledge(sandbox.VPC, reason, "AwsSolutions-VPC7", "VPCFlowLogsEnabled")

	printRules(sandbox.VPC, reason)
	// Output:
	// AwsSolutions-VPC7
	// HIPAA.Security-VPCFlowLogsEnabled
	// NIST.800.53.R5-VPCFlowLogsEnabled
	// PCI.DSS.321-VPCFlowLogsEnabled
}
