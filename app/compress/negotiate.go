package compress

import "strings"

// Encoding is a content coding as Content-Encoding names it.
type Encoding string

// The encodings, in the order the server prefers them. Level by level they cost
// about the same (BenchmarkEncoders); zstd is the cheapest to decode.
const (
	Zstd     Encoding = "zstd" // RFC 8878
	Brotli   Encoding = "br"   // RFC 7932
	Gzip     Encoding = "gzip" // RFC 1952; x-gzip is its other name (RFC 9110, 8.4.1.3)
	Identity Encoding = "identity"
)

// Negotiate chooses between offers, which are in the server's order of
// preference, by the values of Accept-Encoding (RFC 9110, 12.5.3). The highest
// weight wins, then the first offer. Identity is the answer if nothing else is
// acceptable, or if the client weighs it higher than all else; plain tells
// whether the client takes a body without encoding. If it takes nothing there
// is, the result is Identity and false, and the server may send the body as it
// is (RFC 9110, 12.4.1).
//
// A client without the header could take anything by the RFC, but is most
// likely one that decodes nothing: it gets Identity. A member with a malformed
// weight is ignored. Of a name given twice the lower weight holds.
func Negotiate(accept []string, offers ...Encoding) (best Encoding, plain bool) {
	identity, other := unnamed, unnamed
	var few [4]int
	weights := few[:0]
	for range offers {
		weights = append(weights, unnamed)
	}
	for _, line := range accept {
		for member := range strings.SplitSeq(line, ",") {
			name, params, weighted := strings.Cut(member, ";")
			q := maxWeight
			if weighted {
				var ok bool
				if q, ok = weight(params); !ok {
					continue
				}
			}
			name = strings.Trim(name, " \t")
			switch {
			case name == "*":
				lower(&other, q)
			case strings.EqualFold(name, string(Identity)):
				lower(&identity, q)
			default:
				if strings.EqualFold(name, "x-gzip") {
					name = string(Gzip)
				}
				for i, offer := range offers {
					if strings.EqualFold(name, string(offer)) {
						lower(&weights[i], q)
					}
				}
			}
		}
	}
	best, highest := Identity, 0
	for i, offer := range offers {
		q := weights[i]
		if q == unnamed {
			q = other
		}
		if q > highest {
			best, highest = offer, q
		}
	}
	if identity > highest {
		best = Identity
	}
	// "*" speaks for identity only to refuse it: unless it is refused, a body
	// without encoding is always acceptable.
	plain = identity > 0 || (identity == unnamed && other != 0)
	return best, plain
}

const (
	maxWeight = 1000 // 1.000
	unnamed   = -1
)

func lower(weight *int, q int) {
	if *weight == unnamed || q < *weight {
		*weight = q
	}
}

// weight parses what follows the first semicolon, which may be a weight and
// nothing else: q=0.123 or q=1.000 (RFC 9110, 12.4.2). It counts thousandths.
func weight(params string) (q int, ok bool) {
	params = strings.Trim(params, " \t")
	if len(params) < 3 || len(params) > len("q=0.123") || params[0]|0x20 != 'q' || params[1] != '=' {
		return 0, false
	}
	whole, digits := params[2], params[3:]
	if whole != '0' && whole != '1' || digits != "" && digits[0] != '.' {
		return 0, false
	}
	q = int(whole-'0') * maxWeight
	scale := maxWeight
	for _, d := range strings.TrimPrefix(digits, ".") {
		if d < '0' || d > '9' {
			return 0, false
		}
		scale /= 10
		q += int(d-'0') * scale
	}
	return q, q <= maxWeight
}
