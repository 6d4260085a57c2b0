package mtasts

import (
	"errors"
	"fmt"
	"regexp"
	"strings"
)

const recordBegin = "v=STSv1" // RFC 8461 3.1

var (
	errNoRecord    = errors.New("no TXT record that begins with " + recordBegin)
	errManyRecords = errors.New("more than one TXT record that begins with " + recordBegin)
	errNoID        = errors.New("the TXT record has no id")
)

// The fields of a record (RFC 8461 3.1).
var (
	fieldID        = regexp.MustCompile(`^id=([A-Za-z0-9]{1,32})$`)
	fieldExtension = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_.-]{0,31}=[!-:<>-~]+$`)
)

// parseRecords finds the id among the TXT records of _mta-sts. There must be one
// that begins as it should, others say nothing (RFC 8461 3.1).
func parseRecords(texts []string) (id string, err error) {
	found := ""
	for _, text := range texts {
		if rest, ok := strings.CutPrefix(text, recordBegin); ok && strings.HasPrefix(strings.TrimLeft(rest, " \t"), ";") {
			if found != "" {
				return "", errManyRecords
			}
			found = rest
		}
	}
	if found == "" {
		return "", errNoRecord
	}
	for field := range strings.SplitSeq(found, ";") {
		field = strings.Trim(field, " \t")
		switch m := fieldID.FindStringSubmatch(field); {
		case m != nil && id == "": // of a field that stands twice the first counts
			id = m[1]
		case field == "", m != nil:
		case strings.HasPrefix(field, "id="), !fieldExtension.MatchString(field):
			return "", fmt.Errorf("the TXT record holds %.80q, which is no field", field)
		}
	}
	if id == "" {
		return "", errNoID
	}
	return id, nil
}
