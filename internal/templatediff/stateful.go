package templatediff

import (
	"cmp"
	"strings"
)

// holding says what is lost with a resource of a type that AWS's own list of
// stateful types, or the one below, holds.
type holding struct {
	noun   string // what a reader calls it
	lost   string // what is gone when it is deleted
	backup bool   // DeletionPolicy Snapshot works on it
}

// holdings are the types with words of their own. Those AWS does not list as
// stateful are here because others hold their address: topics, repositories.
var holdings = map[string]holding{
	"AWS::RDS::DBInstance":                  {"database", "the database and its data are deleted", true},
	"AWS::RDS::DBCluster":                   {"database cluster", "the cluster and its data are deleted", true},
	"AWS::RDS::GlobalCluster":               {"global database", "the replication between Regions ends", false},
	"AWS::DocDB::DBCluster":                 {"DocumentDB cluster", "the cluster and its data are deleted", true},
	"AWS::Neptune::DBCluster":               {"Neptune cluster", "the cluster and its data are deleted", true},
	"AWS::Redshift::Cluster":                {"Redshift cluster", "the cluster and its data are deleted", true},
	"AWS::DynamoDB::Table":                  {"table", "the table and its items are deleted", false},
	"AWS::DynamoDB::GlobalTable":            {"global table", "the table and its items are deleted in every Region", false},
	"AWS::S3::Bucket":                       {"bucket", "the bucket is deleted; CloudFormation fails while it holds objects, unless they are deleted first", false},
	"AWS::EFS::FileSystem":                  {"file system", "the file system and its files are deleted", false},
	"AWS::FSx::FileSystem":                  {"file system", "the file system and its files are deleted", true},
	"AWS::EC2::Volume":                      {"volume", "the volume and its data are deleted", true},
	"AWS::ElastiCache::ReplicationGroup":    {"cache", "everything cached is deleted", true},
	"AWS::ElastiCache::CacheCluster":        {"cache", "everything cached is deleted", true},
	"AWS::ElastiCache::ServerlessCache":     {"cache", "everything cached is deleted", false},
	"AWS::MemoryDB::Cluster":                {"MemoryDB cluster", "the cluster and its data are deleted", false},
	"AWS::OpenSearchService::Domain":        {"search domain", "the domain and its indices are deleted", false},
	"AWS::MSK::Cluster":                     {"Kafka cluster", "the cluster and its topics are deleted", false},
	"AWS::Kinesis::Stream":                  {"stream", "the records not yet read are deleted, and its address changes", false},
	"AWS::SQS::Queue":                       {"queue", "the messages it holds are deleted, and its URL changes", false},
	"AWS::SNS::Topic":                       {"topic", "subscriptions made outside the templates end, and its ARN changes", false},
	"AWS::KMS::Key":                         {"key", "the key is scheduled for deletion; after that nothing it encrypted can be read", false},
	"AWS::KMS::ReplicaKey":                  {"replica key", "the key is scheduled for deletion in this Region", false},
	"AWS::SecretsManager::Secret":           {"secret", "its value is deleted after the recovery window", false},
	"AWS::Logs::LogGroup":                   {"log group", "its log events are deleted", false},
	"AWS::Backup::BackupVault":              {"backup vault", "deleting it fails while it holds recovery points", false},
	"AWS::Cognito::UserPool":                {"user pool", "its users and their passwords are deleted", false},
	"AWS::ECR::Repository":                  {"image repository", "its images are deleted", false},
	"AWS::OpenSearchServerless::Collection": {"search collection", "the collection and its indices are deleted", false},
}

// fate is what becomes of a stateful resource.
type fate string

const (
	lost     fate = "lost"
	snapshot fate = "snapshot"
	kept     fate = "kept"
)

// holds returns the words for a resource, and whether it is stateful at all.
// A read replica is not: its source has the data.
func (f facts) holds(r Resource) (holding, bool) {
	h, ok := holdings[r.Type]
	if !ok && !f[r.Type].Stateful || isReplica(r) {
		return holding{}, false
	}
	if !ok {
		short := r.Type[strings.LastIndex(r.Type, ":")+1:]
		h = holding{noun: short, lost: "it and what it holds are deleted"}
	}
	return h, true
}

// onRemoval is the policy in force when the resource leaves the template.
// Databases that name none are kept as a snapshot: CloudFormation's user guide,
// "DeletionPolicy attribute".
func onRemoval(r Resource) string {
	if r.DeletionPolicy == "" && (r.Type == "AWS::RDS::DBCluster" ||
		r.Type == "AWS::RDS::DBInstance" && r.Properties["DBClusterIdentifier"] == nil && !isReplica(r)) {
		return "Snapshot"
	}
	return cmp.Or(r.DeletionPolicy, "Delete")
}

// onReplacement is the policy in force when the resource is replaced. Which of
// the two templates CloudFormation reads is not documented, so the one that
// loses more counts.
func onReplacement(old, changed Resource) string {
	for _, worst := range []string{"Delete", "Snapshot"} {
		if cmp.Or(old.UpdateReplacePolicy, "Delete") == worst || cmp.Or(changed.UpdateReplacePolicy, "Delete") == worst {
			return worst
		}
	}
	return "Retain"
}

func (h holding) fate(policy string) fate {
	switch {
	case strings.HasPrefix(policy, "Retain"):
		return kept
	case policy == "Snapshot" && h.backup:
		return snapshot
	default:
		return lost
	}
}

// outcome is what a reviewer has to know about the old resource.
func (h holding) outcome(f fate) string {
	switch f {
	case kept:
		return "the old " + h.noun + " is kept, no longer managed"
	case snapshot:
		return "a snapshot is kept; the " + h.noun + " itself is deleted"
	default:
		return h.lost
	}
}

// of is what a reader calls this very resource.
func (h holding) of(r Resource) string {
	engine, _ := r.Properties["Engine"].(string)
	named := map[string]string{
		"postgres": "PostgreSQL", "mysql": "MySQL", "mariadb": "MariaDB", "redis": "Redis", "valkey": "Valkey",
		"aurora-postgresql": "Aurora PostgreSQL", "aurora-mysql": "Aurora MySQL", "memcached": "Memcached",
	}[engine]
	switch {
	case r.Type == "AWS::RDS::DBInstance" && named != "":
		return named + " primary"
	case r.Type == "AWS::SQS::Queue" && render(r.Properties["FifoQueue"]) == "true":
		return "FIFO queue"
	case named != "":
		return named + " " + h.noun
	default:
		return h.noun
	}
}

func isReplica(r Resource) bool {
	return r.Type == "AWS::RDS::DBInstance" && r.Properties["SourceDBInstanceIdentifier"] != nil
}
