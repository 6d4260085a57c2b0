package milter

import (
	"context"
	"testing"
)

func TestProbe(t *testing.T) {
	if err := newFake(t, allActions, nil).filter().Probe(context.Background(), "mx.example.test"); err != nil {
		t.Error(err)
	}
	for _, c := range liars[:5] { // who cannot agree
		if err := newFake(t, c.offer, c.answers).filter().Probe(context.Background(), "mx.example.test"); err == nil {
			t.Errorf("%s: agreed", c.name)
		}
	}
}
