package templatediff

import (
	"cmp"
	"maps"
	"slices"
	"strings"
)

// rename joins a removed and an added resource of the same type with the same
// properties into one change: what looks like two is a new logical id, or a
// move to another stack. References among such resources count as the same.
func rename(changes []Change) []Change {
	ids := map[string]bool{}
	for _, c := range changes {
		if c.Action == Added || c.Action == Removed {
			ids[c.ID] = true
		}
	}
	for _, sameStack := range []bool{true, false} {
		for i := range changes {
			old := &changes[i]
			if old.Action != Removed {
				continue
			}
			j := slices.IndexFunc(changes, func(c Change) bool {
				return c.Action == Added && (c.Stack == old.Stack) == sameStack && c.Type == old.Type &&
					fingerprint(c.changed, ids) == fingerprint(old.old, ids)
			})
			if j < 0 {
				continue
			}
			old.Action, old.NewID, old.NewStack = Renamed, changes[j].ID, changes[j].Stack
			if !sameStack {
				old.Action = Moved
			}
			old.changed = changes[j].changed
			changes[j].Action = ""
		}
	}
	return slices.DeleteFunc(changes, func(c Change) bool { return c.Action == "" })
}

// fingerprint is the same for resources that differ only in which of ids they
// refer to.
func fingerprint(r Resource, ids map[string]bool) string {
	return render(withReferences(anyMap(r.Properties), func(id string) string {
		if ids[id] {
			return "(reference)"
		}
		return id
	}))
}

// withReferences returns a copy of a value in which the logical ids it refers
// to are mapped.
func withReferences(v any, to func(id string) string) any {
	switch v := v.(type) {
	case []any:
		list := make([]any, len(v))
		for i, e := range v {
			list[i] = withReferences(e, to)
		}
		return list
	case map[string]any:
		if ref, ok := v["Ref"].(string); ok && len(v) == 1 {
			return map[string]any{"Ref": to(ref)}
		}
		if get, ok := v["Fn::GetAtt"].([]any); ok && len(get) == 2 {
			return map[string]any{"Fn::GetAtt": []any{to(render(get[0])), get[1]}}
		}
		m := make(map[string]any, len(v))
		for k, e := range v {
			m[k] = withReferences(e, to)
		}
		return m
	default:
		return v
	}
}

// follow makes the old templates refer to renamed resources by their new
// logical ids, so that a new id is told once and not wherever it is used.
func (c *comparison) follow(changes []Change) {
	for stack, t := range c.old {
		ids := map[string]string{}
		for _, change := range changes {
			if change.Action == Renamed && change.Stack == stack {
				ids[change.ID] = change.NewID
			}
		}
		if len(ids) == 0 {
			continue
		}
		to := func(id string) string { return cmp.Or(ids[id], id) }
		t.Body = withReferences(t.Body, to).(map[string]any)
		t.Resources = maps.Clone(t.Resources)
		for id, r := range t.Resources {
			r.Properties, _ = withReferences(r.Properties, to).(map[string]any)
			t.Resources[id] = r
			if ids[id] != "" {
				t.Resources[ids[id]] = r
			}
		}
		c.old[stack] = t
	}
}

// physicalNames are the properties that name a resource in AWS, by type.
var physicalNames = map[string]string{
	"AWS::AutoScaling::AutoScalingGroup":        "AutoScalingGroupName",
	"AWS::DynamoDB::Table":                      "TableName",
	"AWS::ElastiCache::ReplicationGroup":        "ReplicationGroupId",
	"AWS::ElasticLoadBalancingV2::LoadBalancer": "Name",
	"AWS::ElasticLoadBalancingV2::TargetGroup":  "Name",
	"AWS::IAM::InstanceProfile":                 "InstanceProfileName",
	"AWS::IAM::ManagedPolicy":                   "ManagedPolicyName",
	"AWS::IAM::Role":                            "RoleName",
	"AWS::KMS::Alias":                           "AliasName",
	"AWS::Lambda::Function":                     "FunctionName",
	"AWS::Logs::LogGroup":                       "LogGroupName",
	"AWS::RDS::DBCluster":                       "DBClusterIdentifier",
	"AWS::RDS::DBInstance":                      "DBInstanceIdentifier",
	"AWS::RDS::DBParameterGroup":                "DBParameterGroupName",
	"AWS::RDS::DBSubnetGroup":                   "DBSubnetGroupName",
	"AWS::S3::Bucket":                           "BucketName",
	"AWS::SNS::Topic":                           "TopicName",
	"AWS::SQS::Queue":                           "QueueName",
	"AWS::SSM::Parameter":                       "Name",
	"AWS::SecretsManager::Secret":               "Name",
	"AWS::StepFunctions::StateMachine":          "StateMachineName",
	"AWS::WAFv2::WebACL":                        "Name",
}

// blocked lists why CloudFormation will refuse the update.
func (c *comparison) blocked(order []string, changes []Change) (reasons []string) {
	// The new resource is created before the old one is deleted, so both would
	// have the name at once.
	for _, change := range changes {
		property := physicalNames[change.Type]
		name := change.old.Properties[property]
		switch change.Action {
		case Replaced, Renamed, Moved:
		default:
			continue
		}
		if property == "" || name == nil || render(name) != render(change.changed.Properties[property]) ||
			change.old.Type != change.changed.Type {
			continue
		}
		reasons = append(reasons, change.Stack+": "+change.Name+" is created again while the old one still has its "+
			property+" "+render(name)+"; give it another name, or none")
	}
	replaced := map[string]bool{}
	for _, change := range changes {
		switch change.Action {
		case Replaced, Renamed, Moved:
			replaced[change.Stack+"."+change.ID], replaced[change.NewStack+"."+change.NewID] = true, true
		}
	}
	for _, stack := range order {
		if _, ok := c.changed[stack]; !ok {
			continue // a deployment leaves a stack that is no longer in the app alone
		}
		old, changed := exports(c.old[stack]), exports(c.changed[stack])
		var names, importers []string
		for _, name := range slices.Sorted(maps.Keys(old)) {
			value, ok := changed[name]
			if ok && render(value) == render(old[name]) && !replaced[stack+"."+target(value)] {
				continue
			}
			for _, other := range order {
				if other == stack || !strings.Contains(render(c.old[other].Body), "${import "+name+"}") {
					continue
				}
				names = append(names, name)
				importers = append(importers, other)
			}
		}
		if len(names) == 0 {
			continue
		}
		slices.Sort(importers)
		names, importers = slices.Compact(names), slices.Compact(importers)
		reasons = append(reasons, stack+": "+count(len(names), "export that is", "exports that are")+" imported by "+
			strings.Join(importers, ", ")+" would change or go, such as "+names[0]+
			"; first deploy the importing stacks without them")
	}
	return reasons
}

// exports are the values of a template's outputs by export name.
func exports(t Template) map[string]any {
	found := map[string]any{}
	outputs, _ := t.Body["Outputs"].(map[string]any)
	for _, v := range outputs {
		output, _ := v.(map[string]any)
		export, _ := output["Export"].(map[string]any)
		if name, ok := export["Name"].(string); ok {
			found[name] = cmp.Or[any](output["Value"], "")
		}
	}
	return found
}

// target is the logical id a reference names.
func target(v any) string {
	m, _ := v.(map[string]any)
	if ref, ok := m["Ref"].(string); ok {
		return ref
	}
	if get, ok := m["Fn::GetAtt"].([]any); ok && len(get) > 0 {
		return render(get[0])
	}
	return ""
}
