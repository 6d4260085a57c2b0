package lab

import (
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// today is the now of the worlds in these tests.
func today() time.Time { return time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC) }
