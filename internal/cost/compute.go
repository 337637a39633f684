package cost

import (
	"fmt"
	"strings"
)

func natGateway(r resource) {
	r.add("NAT gateway", 1, "vpc.nat-gateway")
	r.uses("natGB", "internetOutGB")
}

func elasticIP(r resource) { r.add("Public IPv4 address", 1, "vpc.public-ipv4") }

// endpoint: an interface endpoint costs per zone, a gateway endpoint nothing.
func endpoint(r resource) {
	switch kind := r.text("VpcEndpointType"); kind {
	case "", "Gateway":
	case "Interface":
		r.uses("endpointGB")
		subnets := r.items("SubnetIds")
		if len(subnets) == 0 {
			r.e.unknown(r, "the number of its subnets is not in the template")
		}
		r.add("Interface endpoint, by zone", float64(len(subnets)), "vpc.interface-endpoint")
	default:
		r.e.unknown(r, "endpoints of type "+kind+" are not priced")
	}
}

func loadBalancer(r resource) {
	kind := r.text("Type")
	if kind == "" {
		kind = "application"
	}
	if kind != "application" && kind != "network" {
		r.e.unknown(r, "load balancers of type "+kind+" are not priced")
		return
	}
	r.add(strings.ToUpper(kind[:1])+kind[1:]+" load balancer", 1, "elb."+kind)
	if kind == "application" {
		r.uses("loadBalancerLCUHours")
	}
	r.uses("crossZoneGB")
	if r.text("Scheme") == "internal" || r.text("IpAddressType") == "dualstack-without-public-ipv4" {
		return
	}
	r.uses("internetOutGB")
	// It has an address in each of its zones.
	zones := len(r.items("Subnets")) + len(r.items("SubnetMappings"))
	if zones == 0 {
		r.e.unknown(r, "the number of its public addresses is not in the template")
	}
	r.add("Public IPv4 address", float64(zones), "vpc.public-ipv4")
}

// machine is what an instance of a launch template consists of.
type machine struct {
	r      resource // the launch template, or the instance
	data   []string // where its settings stand in r
	kind   string
	public bool
}

func (m machine) at(path ...string) []string { return append(append([]string{}, m.data...), path...) }

// addTo prices a number of running instances, with the volumes of as many.
func (m machine) addTo(r resource, count float64) {
	if m.kind == "" {
		r.e.unknown(r, "the instance type is not in the template")
	} else {
		r.add("EC2 instance "+m.kind, count, "ec2."+m.kind)
	}
	if m.r.isTrue(m.at("Monitoring", "Enabled")...) || m.r.isTrue(m.at("Monitoring")...) {
		// CPU, network and status: seven metrics of an instance each minute.
		r.add("Detailed monitoring, metrics of EC2 instances", 7*count, "cloudwatch.metric")
	}
	if m.public {
		r.add("Public IPv4 address", count, "vpc.public-ipv4")
	}
	m.addVolumes(r, count)
}

func (m machine) addVolumes(r resource, count float64) {
	mappings := m.r.items(m.at("BlockDeviceMappings")...)
	if len(mappings) == 0 {
		r.e.unknown(r, "its volumes are those of the image")
	}
	for _, mapping := range mappings {
		device, _ := mapping.(map[string]any)
		if device["Ebs"] == nil {
			continue
		}
		disk := resource{m.r.e, m.r.t, m.r.id, m.r.kind, device}
		disk.addDisk(r, count, []string{"Ebs"}, "VolumeSize")
	}
}

// addDisk prices an EBS volume; gp3 includes 3,000 IOPS and 125 MB/s.
func (r resource) addDisk(to resource, count float64, path []string, size string) {
	at := func(name string) []string { return append(append([]string{}, path...), name) }
	kind := r.text(at("VolumeType")...)
	if kind == "" {
		kind = "gp2"
	}
	if r.text(at(size)...) == "" {
		to.e.unknown(to, "the size of a volume is that of its snapshot")
		return
	}
	to.add("EBS "+kind+" volume, GB", count*r.number(0, at(size)...), "ebs."+kind+".gb")
	if kind != "gp3" {
		return
	}
	to.add("EBS gp3 IOPS over 3,000", count*max(0, r.number(0, at("Iops")...)-3000), "ebs.gp3.iops")
	to.add("EBS gp3 MB/s over 125", count*max(0, r.number(0, at("Throughput")...)-125), "ebs.gp3.throughput")
}

func instance(r resource) {
	m := machine{r: r, kind: r.text("InstanceType")}
	m.public = r.isTrue("NetworkInterfaces", "AssociatePublicIpAddress")
	m.addTo(r, 1)
}

func volume(r resource) { r.addDisk(r, 1, nil, "Size") }

// group prices the desired capacity, or without one the minimum.
func group(r resource) {
	count := r.number(r.number(0, "MinSize"), "DesiredCapacity")
	r.e.instances += count
	r.e.most += max(count, r.number(0, "MaxSize"))
	if count == 0 {
		return
	}
	if m, ok := r.machine(); ok {
		m.addTo(r, count)
	}
	r.uses("crossZoneGB", "internetOutGB")
}

// machine finds what the instances of a group are launched from.
func (r resource) machine() (machine, bool) {
	from := r.raw("LaunchTemplate")
	mixed, _ := r.raw("MixedInstancesPolicy").(map[string]any)
	var override string
	if mixed != nil {
		launch, _ := mixed["LaunchTemplate"].(map[string]any)
		from = launch["LaunchTemplateSpecification"]
		if list, _ := launch["Overrides"].([]any); len(list) > 0 {
			first, _ := list[0].(map[string]any)
			kind, ok := r.e.resolve(r.t, first["InstanceType"])
			if ok && kind != nil {
				override = fmt.Sprint(kind)
			}
		}
		r.e.unknown(r, "instances of several types or on Spot are priced as the first type on demand")
	}
	template, ok := r.target(from)
	if !ok || template.kind != "AWS::EC2::LaunchTemplate" {
		r.e.unknown(r, "its launch template is not in the stack")
		return machine{}, false
	}
	m := machine{r: template, data: []string{"LaunchTemplateData"}, kind: override}
	if m.kind == "" {
		m.kind = template.text("LaunchTemplateData", "InstanceType")
	}
	for _, v := range template.items("LaunchTemplateData", "NetworkInterfaces") {
		card, _ := v.(map[string]any)
		m.public = m.public || card["AssociatePublicIpAddress"] == true
	}
	return m, true
}

// warmPool prices what waits beside the desired capacity: stopped and
// hibernated instances cost their volumes alone. Its size is what Amazon EC2
// Auto Scaling's user guide says under "Warm pools".
func warmPool(r resource) {
	of, ok := r.target(r.raw("AutoScalingGroupName"))
	if !ok {
		r.e.unknown(r, "its Auto Scaling group is not in the stack")
		return
	}
	desired := of.number(of.number(0, "MinSize"), "DesiredCapacity")
	prepared := r.number(of.number(0, "MaxSize"), "MaxGroupPreparedCapacity")
	if prepared < 0 { // -1 is the default
		prepared = of.number(0, "MaxSize")
	}
	waiting := max(r.number(0, "MinSize"), prepared-desired)
	m, ok := of.machine()
	if !ok || waiting == 0 {
		return
	}
	if r.text("PoolState") == "Running" {
		m.addTo(r, waiting)
		return
	}
	m.addVolumes(r, waiting)
}
