package generate

import (
	"math"
	"reflect"
	"strings"
	"testing"
)

func TestStopper(t *testing.T) {
	for _, c := range []struct {
		name, pieces string // divided by |
		stops        []string
		want         string // the pieces that are passed on
		stopped      bool
	}{
		{"no stops", "a|b", nil, "a|b", false},
		{"in one piece", "one END two", []string{"END"}, "one ", true},
		{"over pieces", "a E|N|D b", []string{"END"}, "a ", true},
		{"a beginning that goes on otherwise", "a E|Nx|b", []string{"END"}, "a |ENx|b", false},
		{"a beginning at the end", "a E|N", []string{"END"}, "a |EN", false},
		{"the first of two", "a b c", []string{"c", "b"}, "a ", true},
		{"one begins in another", "aab", []string{"aac", "ab"}, "a", true},
		{"at once", "END", []string{"END"}, "", true},
	} {
		var got []string
		s := stopper{stops: c.stops, emit: func(piece string) { got = append(got, piece) }}
		stopped := false
		for _, piece := range strings.Split(c.pieces, "|") {
			if stopped = s.say(piece); stopped {
				break
			}
		}
		if !stopped {
			s.flush()
		}
		if joined := strings.Join(got, "|"); joined != c.want || stopped != c.stopped {
			t.Errorf("%s: %q, stopped %v, want %q, %v", c.name, joined, stopped, c.want, c.stopped)
		}
		if said := s.said.String(); said != strings.ReplaceAll(c.want, "|", "") {
			t.Errorf("%s: said %q", c.name, said)
		}
	}
}

func TestMinP(t *testing.T) {
	log := func(p float64) float32 { return float32(math.Log(p)) }
	s := newSampler(Options{Temperature: 1, MinP: 0.25})
	var ids []int32
	for _, c := range s.cut([]float32{log(0.1), log(0.4), log(0.2), log(0.05)}) {
		ids = append(ids, c.id)
	}
	if !reflect.DeepEqual(ids, []int32{1, 2, 0}) {
		t.Errorf("tokens %v, want those at least a quarter as likely as the likeliest", ids)
	}
}

// Logits above 0 are divided and others multiplied, once for each token of the last few.
func TestRepeatPenalty(t *testing.T) {
	s := newSampler(Options{RepeatPenalty: 2, RepeatLast: 3})
	s.seen = []int32{3, 0, 0, 1}
	logits := []float32{4, -1, 3, 3.5}
	if got, want := s.penalize(logits), []float32{2, -2, 3, 3.5}; !reflect.DeepEqual(got, want) {
		t.Errorf("logits %v, want %v", got, want)
	}
	if id, err := s.next(logits); id != 3 || err != nil {
		t.Errorf("token %d, error %v, want 3", id, err)
	}
}
