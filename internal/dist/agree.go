package dist

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"sync"

	"github.com/peftconv/peftconv/internal/infile"
)

// Fact is something that has to be the same on all ranks.
type Fact struct{ Name, Value string }

// Agree reports the first fact that differs between rank 0 and another rank. All ranks get the error. That they run the
// same program is a fact that is added.
func Agree(ctx context.Context, w World, facts []Fact) error {
	program, err := programHash()
	if err != nil {
		return err
	}
	text, err := json.Marshal(append([]Fact{{"the program (SHA-256)", program}}, facts...))
	if err != nil {
		return err
	}
	texts, err := Texts(ctx, w, string(text))
	if err != nil {
		return err
	}
	all := make([][]Fact, len(texts))
	for rank, text := range texts {
		if err := json.Unmarshal([]byte(text), &all[rank]); err != nil {
			return fmt.Errorf("what %s says of itself: %w", nameOf(w, rank), err)
		}
	}
	for i, f := range all[0] {
		for rank, others := range all {
			if there := factAt(others, i); there != f {
				return fmt.Errorf("the ranks cannot work together: %s is %s on %s and %s on %s", f.Name, f.Value, nameOf(w, 0),
					there.Value, nameOf(w, rank))
			}
		}
	}
	return nil
}

// factAt is a fact, or one that says that there is none.
func factAt(facts []Fact, i int) Fact {
	if i < len(facts) {
		return facts[i]
	}
	return Fact{Value: "not said"}
}

// nameOf names a rank.
func nameOf(w World, rank int) string { return fmt.Sprintf("rank %d (%s)", rank, w.Names()[rank]) }

// programHash is the SHA-256 of the program's file.
var programHash = sync.OnceValues(func() (string, error) {
	path, err := os.Executable()
	if err != nil {
		return "", err
	}
	return infile.SHA256(path)
})

// Among is a context that is cancelled where another rank is interrupted, too; where ctx is cancelled, the others are
// told.
func Among(ctx context.Context, w World) (_ context.Context, release func()) {
	if w.Size() == 1 {
		return ctx, func() {}
	}
	all, cancel := context.WithCancel(ctx)
	tell := context.AfterFunc(ctx, w.Interrupt)
	over := make(chan struct{})
	go func() {
		select {
		case <-w.Interrupted():
			cancel()
		case <-over:
		}
	}()
	return all, func() {
		close(over)
		tell()
		cancel()
	}
}
