package dnssec

import "time"

// The limits. Each bounds what the owner of a zone, or whoever forges its
// records, can make us do for one lookup; going over one is a failure of the
// moment, never an answer. Honest zones stay far below all of them.
const (
	// defaultTimeout of a lookup: a cold chain of four zones takes 2 s over a
	// poor line; SMTP clients wait minutes.
	defaultTimeout = 5 * time.Second
	// defaultLookups at once: a socket each, in a process that has 1,024 files
	// at the least.
	defaultLookups = 256
	// defaultCache in KiB: an answer takes one or two, so thousands of peers.
	defaultCache = 10_000

	// maxQueries: a reverse name of IPv6 has 34 labels, each of which may need
	// its DS, and there are a few zones' keys.
	maxQueries = 40
	// maxZones whose keys are fetched: five zones above a name are many, and a
	// few CNAMEs lead elsewhere.
	maxZones = 12
	// maxLinks of a chain of CNAMEs: what resolvers follow, 8 to 16.
	maxLinks = 8

	// maxSameTag keys with equal tag and algorithm: a collision by chance has
	// one pair; many are an attack (KeyTrap, CVE-2023-50387).
	maxSameTag = 2
	// maxTried signatures of one RRset: two algorithms and a roll of both.
	maxTried = 4
	// maxDS records that we can follow: three keys with two digests each.
	maxDS = 6
	// maxDenials of one zone in one reply: NSEC3 needs three, an answer that
	// comes from a wildcard one more.
	maxDenials = 8
	// maxChecks of signatures in one lookup: 40 queries with one each, and
	// denials with three; 64 of the slowest kind (P-384) take 35 ms.
	maxChecks = 64
	// maxFailedChecks: an honest zone fails none, a botched roll a few.
	maxFailedChecks = 8
	// maxIterations of NSEC3 that are computed. RFC 9276 3.1 wants 0; 3.2 lets
	// a validator refuse more. Zones of before 2022 have up to 50.
	maxIterations = 50
	// maxBlocks of SHA-1 for NSEC3 in one lookup (CVE-2023-50868): a denial for
	// eight labels at 50 iterations takes some 500; 1,000 take 0.1 ms.
	maxBlocks = 1000

	// maxRecords in one reply, which has 64 KiB at the most (RFC 1035 4.2.2):
	// more than any RRset of ours, with signatures.
	maxRecords = 256

	// maxSteps kept as evidence: as many as there can be queries.
	maxSteps = maxQueries
)

// The times that answers are kept.
const (
	// maxLife of a proof: taking a record away is the only revocation there is.
	maxLife = time.Hour
	// maxNegative of a proof that there is nothing: a record newly published
	// is soon seen. RFC 2308 5 allows hours.
	maxNegative = 15 * time.Minute
	// minFailure and maxFailure of a failure, doubling. RFC 9520 3.2
	minFailure = time.Second
	maxFailure = 5 * time.Minute
	// maxSilence of a failure to reach any upstream: an outage of our own
	// resolver ends for all names at once, so hurry back.
	maxSilence = 30 * time.Second
	// overLimit of a failure by a limit: what needed so much work once needs
	// it again.
	overLimit = time.Minute
)

// released is the month of this code. A clock before it is wrong for certain,
// and would believe in signatures that ended long ago.
const released = "2026-11-01T00:00:00Z"

// budget counts what a lookup has used up.
type budget struct {
	queries, zones, checks, failedChecks, blocks int
}

// spend takes n from a counter of the budget; over the limit it is a fault of
// the lookup and not of the step that came last.
func spend(counter *int, n, limit int, what string) error {
	*counter += n
	if *counter > limit {
		return &fault{state: Failed, kind: lookupLimit, reason: "more than " + plural(limit, what) + " in one lookup"}
	}
	return nil
}
