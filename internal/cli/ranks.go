package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"github.com/peftconv/peftconv/internal/dist"
)

// join makes this process one of the ranks that run a verb together, where a launcher has started it as that. A verb
// that is not shared runs in one process only.
func (v *Verb) join() (dist.World, error) {
	l := dist.Launched()
	var err error
	w := dist.Now()
	switch {
	case v.Shared:
		w, err = dist.Join()
	case l.Size > 1:
		err = Usagef("%s started it as %d processes, but it works in one: start it without (docs/cluster.md)", l.Launcher,
			l.Size)
	}
	var usage UsageError
	switch {
	case err == nil || l.Rank == 0:
		return w, err
	case errors.As(err, &usage): // rank 0 says why
		return w, &StatusError{Status: ExitUsage}
	}
	return w, &StatusError{Status: ExitError}
}

// useThreads gives a rank its share of the machine's processors, unless the flag says how many.
func useThreads(fs *pflag.FlagSet, w dist.World) error {
	f := fs.Lookup("threads")
	if w.Size() == 1 || w.Threads() == 0 || f == nil || f.Changed {
		return nil
	}
	return f.Value.Set(strconv.Itoa(w.Threads()))
}

// amongRanks runs a verb as one of several ranks. Only rank 0 prints what it does and why it failed; the others say
// that they failed where rank 0 does not.
func amongRanks(w dist.World, s Streams, run func(s Streams) error) error {
	if w.Size() == 1 {
		return run(s)
	}
	defer s.BeforeEnd(func() { w.Leave(ExitInterrupted) })()
	if w.Rank() == 0 {
		return run(s)
	}
	s.Out, s.Err, s.Always = io.Discard, io.Discard, nil
	err := run(s)
	switch {
	case err == nil:
		return nil
	case errors.Is(err, context.Canceled):
		return &StatusError{Status: ExitInterrupted}
	}
	time.Sleep(2 * time.Second) // rank 0 ends all ranks where it failed, too
	return fmt.Errorf("rank %d of %d on %s: %w", w.Rank(), w.Size(), w.Names()[w.Rank()], err)
}

// RanksText says where ranks are: "4 on host1 (2), host2 (2)".
func RanksText(w dist.World) string {
	var hosts, parts []string
	counts := map[string]int{}
	for _, name := range w.Names() {
		if !slices.Contains(hosts, name) {
			hosts = append(hosts, name)
		}
		counts[name]++
	}
	for _, name := range hosts {
		parts = append(parts, fmt.Sprintf("%s (%d)", Line(name), counts[name]))
	}
	return fmt.Sprintf("%d on %s", w.Size(), strings.Join(parts, ", "))
}
