package smtpclient

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strconv"
	"strings"

	"dancemta/internal/foreign"
)

const (
	// maxReply bounds a reply with all its lines. RFC 5321 4.5.3.1.5 allows 512
	// octets a line; longer lines are taken, endless replies are not.
	maxReply = 64 << 10
	// maxText bounds the text that is kept, since it goes into logs and bounces.
	maxText = 512
)

var errMalformed = errors.New("malformed reply")

// Reply is an answer of a server, cleaned: its text is one line of printable
// ASCII, of bounded length.
type Reply struct {
	Code   int    // 220 to 599; 0: no reply
	Status string // enhanced status code (RFC 2034) when it was there and of Code's class
	Text   string // the rest, lines joined by a space
}

// String returns code, status and text.
func (r Reply) String() string {
	words := []string{strconv.Itoa(r.Code)}
	for _, w := range []string{r.Status, r.Text} {
		if w != "" {
			words = append(words, w)
		}
	}
	return strings.Join(words, " ")
}

// EnhancedStatus returns Status, or the plain one of Code's class (RFC 3463 2).
func (r Reply) EnhancedStatus() string {
	switch {
	case r.Status != "":
		return r.Status
	case r.Code/100 == 2, r.Code/100 == 5:
		return strconv.Itoa(r.Code/100) + ".0.0"
	}
	return "4.0.0"
}

// readReply reads one reply, of one or many lines (RFC 5321 4.2.1). The lines
// come without code and line end. Errors are errMalformed or those of r.
func readReply(r *bufio.Reader) (code int, lines []string, err error) {
	left := maxReply
	for {
		line, err := readLine(r, left)
		if err != nil {
			return 0, nil, err
		}
		left -= len(line) + len("\r\n")
		this, text, last, ok := splitLine(line)
		switch {
		case !ok:
			return 0, nil, fmt.Errorf("%w: %s", errMalformed, foreign.ASCII(line, maxText))
		case code != 0 && this != code:
			return 0, nil, fmt.Errorf("%w: its lines have the codes %d and %d", errMalformed, code, this)
		}
		code, lines = this, append(lines, text)
		if last {
			return code, lines, nil
		}
	}
}

// readLine reads up to LF, which it drops with a CR before it.
func readLine(r *bufio.Reader, limit int) (string, error) {
	var line []byte
	for {
		part, err := r.ReadSlice('\n')
		if len(line)+len(part) > limit {
			return "", fmt.Errorf("%w: longer than %d octets", errMalformed, maxReply)
		}
		line = append(line, part...)
		switch {
		case err == nil:
			return strings.TrimSuffix(string(line[:len(line)-1]), "\r"), nil
		case errors.Is(err, bufio.ErrBufferFull):
		case errors.Is(err, io.EOF) && len(line) > 0:
			return "", io.ErrUnexpectedEOF
		default:
			return "", err
		}
	}
}

// splitLine reads one line of a reply (RFC 5321 4.2). Codes below 200 do not
// exist in SMTP.
func splitLine(line string) (code int, text string, last, ok bool) {
	if len(line) < 3 || line[0] < '2' || line[0] > '5' || !isDigit(line[1]) || !isDigit(line[2]) {
		return 0, "", false, false
	}
	code = int(line[0]-'0')*100 + int(line[1]-'0')*10 + int(line[2]-'0')
	switch {
	case len(line) == 3:
		return code, "", true, true
	case line[3] == ' ':
		return code, line[4:], true, true
	case line[3] == '-':
		return code, line[4:], false, true
	}
	return 0, "", false, false
}

func isDigit(c byte) bool { return c >= '0' && c <= '9' }

// enhanced is the form of RFC 3463 2, at the start of a line.
var enhanced = regexp.MustCompile(`^([245]\.[0-9]{1,3}\.[0-9]{1,3})(?: |$)`)

// newReply makes one line of many. A status code that is repeated on each line
// is taken once.
func newReply(code int, lines []string) Reply {
	r := Reply{Code: code}
	if m := enhanced.FindStringSubmatch(lines[0]); m != nil && int(m[1][0]-'0') == code/100 {
		r.Status = m[1]
	}
	var text []string
	for _, line := range lines {
		if rest, ok := strings.CutPrefix(line, r.Status); ok && r.Status != "" {
			line = rest
		}
		if line = strings.TrimSpace(line); line != "" {
			text = append(text, line)
		}
	}
	r.Text = foreign.ASCII(strings.Join(text, " "), maxText)
	return r
}

// maxExtensions is ten times what any server has: each visit keeps its list in memory.
const maxExtensions = 200

// parseExtensions reads the lines of an EHLO reply after the first
// (RFC 5321 4.1.1.1). What is no keyword is passed over.
func parseExtensions(lines []string) map[string]string {
	extensions := map[string]string{}
	for _, line := range lines[1:] {
		keyword, params, _ := strings.Cut(line, " ")
		if len(extensions) == maxExtensions {
			break
		}
		if isKeyword(keyword) {
			extensions[strings.ToUpper(keyword)] = strings.TrimSpace(params)
		}
	}
	return extensions
}

// isKeyword accepts letters, digits and inner hyphens.
func isKeyword(s string) bool {
	for i := range len(s) {
		c := s[i] | 0x20
		if !(c >= 'a' && c <= 'z' || isDigit(s[i]) || s[i] == '-' && i > 0) {
			return false
		}
	}
	return s != ""
}
