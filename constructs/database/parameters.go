package database

import (
	"fmt"
	"maps"

	"github.com/aws/aws-cdk-go/awscdk/v2/awsrds"

	"github.com/loadbearing/loadbearing/constructs/internal/cdkx"
)

// parameters are those of primaries. Times are in milliseconds.
func parameters(props Props) map[string]string {
	slow := fmt.Sprint(props.SlowStatement.Milliseconds())
	all := map[string]string{
		"rds.force_ssl":                       "1",
		"rds.logical_replication":             "0",
		"shared_preload_libraries":            "pg_stat_statements",
		"pg_stat_statements.track":            "all",
		"track_activity_query_size":           "4096", // bytes; longer statements are cut in pg_stat_activity
		"track_io_timing":                     "1",
		"log_min_duration_statement":          slow,
		"log_lock_waits":                      "1",     // waits longer than deadlock_timeout
		"log_temp_files":                      "10240", // kB: sorts and hashes that outgrow work_mem
		"idle_in_transaction_session_timeout": fmt.Sprint(props.IdleInTransaction.Milliseconds()),
	}
	if props.ExplainSlow {
		all["shared_preload_libraries"] = "auto_explain,pg_stat_statements"
		all["auto_explain.log_min_duration"] = slow
		// Timing every node of every plan would slow each statement down.
		all["auto_explain.log_analyze"] = "0"
	}
	maps.Copy(all, props.Parameters)
	return all
}

// replicaParameters are those of primaries, so that a promoted replica behaves
// as they do, and what only a standby reads.
func replicaParameters(props Props) map[string]string {
	all := parameters(props)
	// A replica tells its primary which rows its statements read, so that vacuum
	// keeps them. Otherwise long reads are cancelled.
	all["hot_standby_feedback"] = "1"
	// What conflicts all the same may hold replay up for this long.
	all["max_standby_streaming_delay"] = "30000"
	all["max_standby_archive_delay"] = "30000"
	maps.Copy(all, props.Parameters)
	maps.Copy(all, props.ReplicaParameters)
	return all
}

func (d *Database) makeParameterGroups(props Props, engine awsrds.IInstanceEngine) {
	d.ParameterGroup, d.ReplicaParameterGroup = props.ParameterGroup, props.ReplicaParameterGroup
	if d.ReplicaParameterGroup == nil {
		d.ReplicaParameterGroup = props.ParameterGroup
	}
	if d.ParameterGroup == nil {
		d.ParameterGroup = awsrds.NewParameterGroup(d, new("Parameters"), cdkx.Override(&awsrds.ParameterGroupProps{
			Engine:      engine,
			Description: new("PostgreSQL with TLS only and slow statements logged"),
			Parameters:  cdkx.StringMap(parameters(props)),
		}, props.Overrides.ParameterGroup))
	}
	if d.ReplicaParameterGroup == nil && props.Replicas > 0 {
		d.ReplicaParameterGroup = awsrds.NewParameterGroup(d, new("ReplicaParameters"), cdkx.Override(&awsrds.ParameterGroupProps{
			Engine:      engine,
			Description: new("PostgreSQL read replicas"),
			Parameters:  cdkx.StringMap(replicaParameters(props)),
		}, props.Overrides.ReplicaParameterGroup))
	}
}
