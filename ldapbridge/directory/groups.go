package directory

import (
	"slices"
	"strings"

	"github.com/go-ldap/ldap/v3"
)

// groups knows which values stand for which group.
type groups struct {
	list   []group
	search template // zero: none is made
}

type group struct {
	Group
	dn *ldap.DN // nil: the value is no DN
}

func newGroups(list []Group) (g groups) {
	for _, one := range list {
		g.list = append(g.list, group{one, asDN(one.Value)})
	}
	return g
}

// asDN reads a value as a DN; nil when it is a word.
func asDN(value string) *ldap.DN {
	if !strings.Contains(value, "=") {
		return nil
	}
	dn, err := ldap.ParseDN(value)
	if err != nil || len(dn.RDNs) == 0 {
		return nil
	}
	return dn
}

// names returns the groups that the values stand for, in the order of the alphabet;
// never nil.
func (g groups) names(found []string) []string {
	names := []string{}
	for _, value := range found {
		dn := asDN(value)
		for _, one := range g.list {
			if one.is(value, dn) {
				names = append(names, one.Name)
			}
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// is compares as the matching rules of such attributes do: without case, and DNs part
// by part.
func (g group) is(value string, dn *ldap.DN) bool {
	if g.dn != nil && dn != nil {
		return g.dn.EqualFold(dn)
	}
	return strings.EqualFold(g.Value, value)
}
