package cli

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/spf13/pflag"

	"github.com/peftconv/peftconv/internal/dist"
	"github.com/peftconv/peftconv/internal/dist/disttest"
)

// idle is a verb that does nothing.
type idle struct{ ran bool }

func (v *idle) Flags(*pflag.FlagSet)    {}
func (v *idle) Validate([]string) error { return nil }
func (v *idle) Run(context.Context, Streams) error {
	v.ran = true
	return nil
}

// TestLaunchedAlone wants a process that is one of several to refuse what it cannot share, and rank 0 alone to say so.
func TestLaunchedAlone(t *testing.T) {
	for name, c := range map[string]struct {
		shared     bool
		rank, size string
		status     int
		says       string
	}{
		"a verb that is not shared":     {false, "0", "3", ExitUsage, "started it as 3 processes, but it works in one"},
		"the same on another rank":      {false, "2", "3", ExitUsage, ""},
		"a build without an engine":     {true, "0", "3", ExitError, "go build -tags mpi ./cmd/peftconv"},
		"the same build, another rank":  {true, "1", "3", ExitError, ""},
		"one process, not shared":       {false, "0", "1", ExitOK, ""},
		"one process without an engine": {true, "0", "1", ExitOK, ""},
	} {
		t.Setenv("OMPI_COMM_WORLD_RANK", c.rank)
		t.Setenv("OMPI_COMM_WORLD_SIZE", c.size)
		v := &idle{}
		p := &Program{Name: "test", Help: func(error) string { return "" }, Verbs: []*Verb{{Name: "idle", Shared: c.shared,
			New: func() Command { return v }}}}
		var out, errs bytes.Buffer
		status := p.Run(t.Context(), []string{"idle"}, Streams{In: strings.NewReader(""), Out: &out, Err: &errs})
		if status != c.status || !strings.Contains(errs.String(), c.says) || c.says == "" && errs.Len() > 0 ||
			v.ran != (c.status == ExitOK) {
			t.Errorf("%s: status %d, expected %d; it says %q, expected %q; ran: %v", name, status, c.status, errs.String(),
				c.says, v.ran)
		}
	}
}

// TestAmongRanks wants rank 0 to print, and the others only what they alone failed with.
func TestAmongRanks(t *testing.T) {
	for _, w := range disttest.New(2) {
		var out bytes.Buffer
		err := amongRanks(w, Streams{Out: &out, Err: &out}, func(s Streams) error {
			s.Out.Write([]byte("said"))
			return context.Canceled
		})
		var silent *StatusError
		switch {
		case w.Rank() == 0 && (out.String() != "said" || err != context.Canceled):
			t.Errorf("rank 0: %q, %v", out.String(), err)
		case w.Rank() == 1 && (out.Len() > 0 || !errors.As(err, &silent) || silent.Status != ExitInterrupted):
			t.Errorf("rank 1: %q, %v", out.String(), err)
		}
	}
	w := disttest.New(2)[1]
	err := amongRanks(w, Streams{}, func(Streams) error { return errors.New("its disk is gone") })
	if err == nil || err.Error() != "rank 1 of 2 on host1: its disk is gone" {
		t.Error(err)
	}
}

// TestRanksText counts ranks by host.
func TestRanksText(t *testing.T) {
	if got := RanksText(disttest.New(2)[0]); got != "2 on host0 (1), host1 (1)" {
		t.Error(got)
	}
	if got := RanksText(dist.Single{}); got != "1 on  (1)" {
		t.Error(got)
	}
}
