package archtest

import (
	"slices"
	"strings"
	"testing"
)

// mailRooms know of mail, or of this server's settings. Mail libraries stand in
// libraries, with the rooms that may use them.
var mailRooms = []string{"cmd/dancemta", "config", "smtpd", "queue", "internal/mailaddr", "internal/maillog", "internal/admin", "internal/dialog"}

// mailLibraries must not come in by the way either; go-sasl is none.
var mailLibraries = []string{"github.com/emersion/go-smtp", "github.com/emersion/go-message", "github.com/emersion/go-msgauth"}

// TestReusable: DANE and SASL EXTERNAL serve any server that speaks TLS, so no
// arrow leads from there to mail, over however many rooms.
func TestReusable(t *testing.T) {
	for room := range rooms {
		if !within(room, "daneclient") && !within(room, "saslext") {
			continue
		}
		for _, reached := range reach(room) {
			if slices.ContainsFunc(mailRooms, func(mail string) bool { return within(reached, mail) }) {
				t.Errorf("%s leads to %s", room, reached)
			}
			for _, library := range mailLibraries {
				if has(libraries[library], reached) {
					t.Errorf("%s leads to %s, which may use %s", room, reached, library)
				}
			}
		}
	}
}

// TestReach: what TestReusable rests on finds mail where there is some.
func TestReach(t *testing.T) {
	if got := reach("smtpd"); !slices.Contains(got, "queue/dsn") || !slices.Contains(got, "internal/mailaddr") {
		t.Errorf("smtpd reaches only %v", got)
	}
	if within("smtpd2", "smtpd") || !within("smtpd/wire", "smtpd") || !within("smtpd", "smtpd") {
		t.Error("rooms are told apart by their beginning")
	}
}

// reach lists a room and all that it may import, by whatever way.
func reach(room string) []string {
	found := []string{room}
	for i := 0; i < len(found); i++ {
		for _, to := range strings.Fields(rooms[found[i]]) {
			if !slices.Contains(found, to) {
				found = append(found, to)
			}
		}
	}
	return found
}

// within reports whether a room is another one or a child of it.
func within(room, parent string) bool {
	return room == parent || strings.HasPrefix(room, parent+"/")
}
