package cost

import (
	"cmp"
	"fmt"
	"strings"
)

func database(r resource) {
	r.uses("databaseBackupGB", "logsIngestedGB", "logsStoredGB", "crossZoneGB")
	if r.raw("DBClusterIdentifier") != nil {
		r.e.unknown(r, "instances of Aurora are not priced")
		return
	}
	// A read replica has its source's engine and storage unless it says otherwise.
	source := r
	if from := r.raw("SourceDBInstanceIdentifier"); from != nil {
		found, ok := r.target(from)
		if !ok {
			r.e.unknown(r, "the database it replicates is not in the stack")
		} else {
			source = found
		}
	}
	inherited := func(name string) string { return cmp.Or(r.text(name), source.text(name)) }
	engine, class := inherited("Engine"), inherited("DBInstanceClass")
	zones, where := "single", ""
	if r.isTrue("MultiAZ") {
		zones, where = "multi", ", Multi-AZ"
	}
	names := map[string]string{"postgres": "PostgreSQL", "mysql": "MySQL", "mariadb": "MariaDB"}
	r.add("RDS "+cmp.Or(names[engine], engine)+" "+class+where, 1, "rds."+engine+"."+zones+"."+class)

	size := r.number(source.number(0, "AllocatedStorage"), "AllocatedStorage")
	kind := cmp.Or(inherited("StorageType"), "gp2")
	if size == 0 {
		r.e.unknown(r, "the size of its storage is not in the template")
	}
	r.add("RDS "+kind+" storage, GB"+where, size, "rds."+kind+"."+zones+".gb")
	if iops := r.number(source.number(0, "Iops"), "Iops"); kind == "gp3" && iops > 0 {
		// Amazon RDS user guide, "gp3 storage": the baseline is 12,000 IOPS from 400 GiB on.
		included := 3000.0
		if size >= 400 {
			included = 12000
		}
		r.add("RDS gp3 IOPS over the baseline"+where, max(0, iops-included), "rds.gp3."+zones+".iops")
	}
	if r.number(0, "PerformanceInsightsRetentionPeriod") > 7 || r.text("DatabaseInsightsMode") == "advanced" {
		r.e.unknown(r, "more than 7 days of Performance Insights, and the advanced mode of Database Insights, are not priced")
	}
}

// proxy costs by the vCPUs of the databases behind it, at least two.
func proxy(r resource) {
	vCPUs := 0.0
	for id, other := range r.t.Resources {
		if other.Type != "AWS::RDS::DBProxyTargetGroup" {
			continue
		}
		targets := resource{r.e, r.t, id, other.Type, other.Properties}
		if of, ok := targets.target(targets.raw("DBProxyName")); !ok || of.id != r.id {
			continue
		}
		for _, v := range targets.items("DBInstanceIdentifiers") {
			if db, ok := targets.target(v); ok {
				vCPUs += processors(db.text("DBInstanceClass"))
			}
		}
	}
	if vCPUs == 0 {
		r.e.unknown(r, "the databases behind it are not in the stack; it is priced at its least")
	}
	r.add("RDS Proxy, by vCPU of its databases", max(2, vCPUs), "rds.proxy")
}

// processors is the number of vCPUs of a current instance class: two up to
// large, and then as many times four as xlarge says.
func processors(class string) float64 {
	size := class[strings.LastIndex(class, ".")+1:]
	var n float64
	switch {
	case size == "xlarge":
		return 4
	case strings.HasSuffix(size, "xlarge"):
		if _, err := fmt.Sscanf(size, "%f", &n); err == nil {
			return 4 * n
		}
	}
	return 2
}

func cache(r resource) {
	r.uses("cacheBackupGB", "crossZoneGB")
	nodes := r.number(0, "NumCacheClusters")
	if nodes == 0 {
		nodes = r.number(1, "NumNodeGroups") * (1 + r.number(0, "ReplicasPerNodeGroup"))
	}
	engine, kind := cmp.Or(r.text("Engine"), "redis"), r.text("CacheNodeType")
	names := map[string]string{"redis": "Redis OSS", "valkey": "Valkey"}
	r.add("ElastiCache "+cmp.Or(names[engine], engine)+" "+kind, nodes, "elasticache."+engine+"."+kind)
}

func dynamoTable(r resource) {
	r.uses("dynamoStoredGB", "dynamoWrites", "dynamoReads")
	if r.text("BillingMode") != "PAY_PER_REQUEST" {
		r.e.unknown(r, "provisioned capacity is not priced")
	}
}

func key(r resource) {
	r.e.rotating = r.e.rotating || r.isTrue("EnableKeyRotation")
	r.add("KMS key", 1, "kms.key")
	r.uses("kmsRequests")
}

func secret(r resource) {
	r.add("Secret", 1, "secretsmanager.secret")
	r.uses("secretRequests")
}

func parameter(r resource) {
	if r.text("Tier") == "Advanced" {
		r.add("SSM parameter, advanced", 1, "ssm.parameter.advanced")
	}
}

func zone(r resource) { r.add("Hosted zone", 1, "route53.zone") }

func healthCheck(r resource) { r.add("Route 53 health check", 1, "route53.health-check") }
