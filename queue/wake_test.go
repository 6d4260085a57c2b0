package queue

import "testing"

// TestWake: what came into the store beside Accept is looked for.
func TestWake(t *testing.T) {
	q, err := New(Options{Store: new(oneMessage), Deliverer: nobody{}})
	if err != nil {
		t.Fatal(err)
	}
	q.Wake()
	select {
	case <-q.wake:
	default:
		t.Error("nobody is woken")
	}
}
