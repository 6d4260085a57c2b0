package config

// DMARCUse is what becomes of mail from anybody after it was judged.
type DMARCUse string

// The values of authentication.dmarc.
const (
	DMARCNone   DMARCUse = "none"
	DMARCMark   DMARCUse = "mark"
	DMARCReject DMARCUse = "reject"
)

var dmarcUses = []DMARCUse{DMARCNone, DMARCMark, DMARCReject}

// UnmarshalText accepts the known words only.
func (d *DMARCUse) UnmarshalText(b []byte) error { return oneOf(d, b, dmarcUses) }

func checkAuthentication(c *Config, f *faults) {
	if c.Authentication.Partners && c.Authentication.DMARC != DMARCReject {
		f.key("authentication.partners", `needs dmarc = "reject"`, "write that, or drop partners")
	}
}
