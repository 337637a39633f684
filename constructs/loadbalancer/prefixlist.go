package loadbalancer

// cloudFrontPrefixLists are the ids of com.amazonaws.global.cloudfront.origin-facing.
// AWS manages the list and gives it one id per Region, the same in every
// account. The VPC user guide names the list and no ids: each of these is in use
// in at least two public projects that have nothing to do with each other.
var cloudFrontPrefixLists = map[string]string{
	"af-south-1":     "pl-c0aa4fa9",
	"ap-east-1":      "pl-14b2577d",
	"ap-northeast-1": "pl-58a04531",
	"ap-northeast-2": "pl-22a6434b",
	"ap-northeast-3": "pl-31a14458",
	"ap-south-1":     "pl-9aa247f3",
	"ap-southeast-1": "pl-31a34658",
	"ap-southeast-2": "pl-b8a742d1",
	"ca-central-1":   "pl-38a64351",
	"eu-central-1":   "pl-a3a144ca",
	"eu-north-1":     "pl-fab65393",
	"eu-south-1":     "pl-1bbc5972",
	"eu-west-1":      "pl-4fa04526",
	"eu-west-2":      "pl-93a247fa",
	"eu-west-3":      "pl-75b1541c",
	"sa-east-1":      "pl-5da64334",
	"us-east-1":      "pl-3b927c52",
	"us-east-2":      "pl-b6a144df",
	"us-west-1":      "pl-4ea04527",
	"us-west-2":      "pl-82a045eb",
}

// CloudFrontPrefixList is the id of the managed prefix list of a Region that
// holds the addresses CloudFront connects to origins from, for
// Props.IngressPrefixList. It is not ok for a Region whose id is not known here;
// this prints it:
//
//	aws ec2 describe-managed-prefix-lists --region eu-west-1 --query 'PrefixLists[].PrefixListId' \
//	  --filters Name=prefix-list-name,Values=com.amazonaws.global.cloudfront.origin-facing
func CloudFrontPrefixList(region string) (id string, ok bool) {
	id, ok = cloudFrontPrefixLists[region]
	return id, ok
}
