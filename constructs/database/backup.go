package database

import (
	"github.com/aws/aws-cdk-go/awscdk/v2"
	"github.com/aws/aws-cdk-go/awscdk/v2/awsbackup"
	"github.com/aws/aws-cdk-go/awscdk/v2/awsevents"
	"github.com/aws/aws-cdk-go/awscdk/v2/awsiam"

	"github.com/loadbearing/loadbearing/constructs/internal/cdkx"
)

// daysOfMonth is the length of a month of retention.
const daysOfMonth = 31

// makeBackups lets AWS Backup take a copy of every primary each month. They
// reach further back than the 35 days of point-in-time recovery, and survive
// the deletion of the instance, of the stack, and a mistaken or stolen right to
// delete snapshots.
func (d *Database) makeBackups(props Props) {
	if props.MonthlyBackups == NoMonthlyBackups {
		return
	}
	d.BackupVault = props.BackupVault
	if d.BackupVault == nil {
		d.BackupVault = d.makeVault(props)
	}
	d.BackupPlan = awsbackup.NewBackupPlan(d, new("BackupPlan"), cdkx.Override(&awsbackup.BackupPlanProps{
		BackupVault: d.BackupVault,
		BackupPlanRules: &[]awsbackup.BackupPlanRule{awsbackup.NewBackupPlanRule(&awsbackup.BackupPlanRuleProps{
			RuleName:           new("monthly"),
			ScheduleExpression: awsevents.Schedule_Expression(new("cron(0 5 1 * ? *)")),
			DeleteAfter:        awscdk.Duration_Days(cdkx.Number(props.MonthlyBackups * daysOfMonth)),
		})},
	}, props.Overrides.BackupPlan))

	const policy = "service-role/AWSBackupServiceRolePolicyForBackup"
	role := awsiam.NewRole(d, new("BackupRole"), cdkx.Override(&awsiam.RoleProps{
		Description:     new("AWS Backup takes snapshots of the PostgreSQL primaries"),
		AssumedBy:       awsiam.NewServicePrincipal(new("backup.amazonaws.com"), nil),
		ManagedPolicies: &[]awsiam.IManagedPolicy{awsiam.ManagedPolicy_FromAwsManagedPolicyName(new(policy))},
	}, props.Overrides.BackupRole))
	cdkx.Acknowledge(role, "AWS writes this policy for AWS Backup and keeps it in step with the calls that makes. Only AWS Backup may assume the role, and the plan names the instances it is used for.",
		"AwsSolutions-IAM4[Policy::arn:<AWS::Partition>:iam::aws:policy/"+policy+"]")
	resources := make([]awsbackup.BackupResource, len(d.Shards))
	for i, shard := range d.Shards {
		resources[i] = awsbackup.BackupResource_FromRdsDatabaseInstance(shard.Primary)
	}
	d.BackupPlan.AddSelection(new("Primaries"), &awsbackup.BackupSelectionOptions{
		Resources:                  &resources,
		Role:                       role,
		DisableDefaultBackupPolicy: new(true),
	})
}

func (d *Database) makeVault(props Props) awsbackup.IBackupVault {
	vault := &awsbackup.BackupVaultProps{
		// The access policy refuses deletion to everybody. The plan's own expiry
		// is not subject to it.
		BlockRecoveryPointDeletion: new(true),
		RemovalPolicy:              awscdk.RemovalPolicy_RETAIN,
	}
	if props.Key != nil {
		vault.EncryptionKey = props.Key
	}
	return awsbackup.NewBackupVault(d, new("BackupVault"), cdkx.Override(vault, props.Overrides.BackupVault))
}
