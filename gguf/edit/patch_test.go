package edit

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/peftconv/peftconv/gguf"
)

// interrupted leaves a file as an edit in place leaves it that stops after n bytes, and gives both versions.
func interrupted(t *testing.T, n int) (path string, before, after []byte) {
	t.Helper()
	path = small(t, gguf.Format{})
	p, err := Prepare(path, edited(t, "general.name=other", "llama.block_count=7"), Options{})
	if err != nil {
		t.Fatal(err)
	}
	before = read(t, path)
	after = append(append([]byte(nil), p.header...), before[len(p.header):]...)
	lo, hi := differing(before[:p.space], p.header)
	j := &journal{p.Size, lo, before[lo:hi], p.header[lo:hi]}
	if err := os.WriteFile(gguf.EditJournal(path), j.encode(), 0o600); err != nil {
		t.Fatal(err)
	}
	torn := append([]byte(nil), before...)
	copy(torn[lo:], j.new[:min(n, len(j.new))])
	if err := os.WriteFile(path, torn, 0o600); err != nil {
		t.Fatal(err)
	}
	return path, before, after
}

// TestRecover interrupts an edit in place after various numbers of bytes.
func TestRecover(t *testing.T) {
	for n := 0; n < 200; n += 7 {
		path, before, after := interrupted(t, n)
		if _, err := Prepare(path, edited(t, "general.name=x"), Options{}); err == nil {
			t.Fatal("an interrupted edit was gone over")
		}
		if n > 0 && bytes.Equal(read(t, path), before) {
			t.Fatal("nothing was written")
		}
		if done, err := Recover(path); err != nil || !done {
			t.Fatalf("%d bytes: %v, %v", n, done, err)
		}
		if !bytes.Equal(read(t, path), after) {
			t.Fatalf("%d bytes: the file is not the edited one", n)
		}
		if Pending(path) || files(t, path) != "small.gguf" {
			t.Fatalf("the journal is still there: %s", files(t, path))
		}
	}
	if done, err := Recover(small(t, gguf.Format{})); err != nil || done {
		t.Errorf("without a journal: %v, %v", done, err)
	}
}

func TestRecoverThroughLink(t *testing.T) {
	path, _, after := interrupted(t, 9)
	link := filepath.Join(t.TempDir(), "link.gguf")
	if err := os.Symlink(path, link); err != nil {
		t.Skip(err)
	}
	if done, err := Recover(link); err != nil || !done || !bytes.Equal(read(t, path), after) {
		t.Errorf("%v, %v", done, err)
	}
}

// TestRecoverRefuses: a journal that is damaged, or of another file, changes nothing.
func TestRecoverRefuses(t *testing.T) {
	rewrite := func(change func(data []byte) []byte) func(t *testing.T, path string) {
		return func(t *testing.T, path string) {
			if err := os.WriteFile(path, change(read(t, path)), 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	onJournal := func(f func(*testing.T, string)) func(*testing.T, string) {
		return func(t *testing.T, path string) { f(t, gguf.EditJournal(path)) }
	}
	for _, tt := range []struct {
		name string
		do   func(t *testing.T, path string)
		want string
	}{
		{"cut", onJournal(rewrite(func(d []byte) []byte { return d[:len(d)-1] })), "damaged"},
		{"empty", onJournal(rewrite(func([]byte) []byte { return nil })), "damaged"},
		{"a bit", onJournal(rewrite(func(d []byte) []byte { d[60] ^= 1; return d })), "damaged"},
		{"other", onJournal(rewrite(func(d []byte) []byte { return bytes.Repeat([]byte("x"), len(d)) })), "damaged"},
		{"a longer file", rewrite(func(d []byte) []byte { return append(d, 0) }), "belongs to a file of"},
		{"another header", rewrite(func(d []byte) []byte {
			i := bytes.Index(d, []byte("general.name")) + len("general.name") + 12 + 1
			d[i] = '!'
			return d
		}), "belongs to another file"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			path, _, _ := interrupted(t, 0)
			tt.do(t, path)
			before := read(t, path)
			if _, err := Recover(path); err == nil || !strings.Contains(err.Error(), tt.want) ||
				!strings.Contains(err.Error(), ".edit-journal") {
				t.Errorf("error %v, expected %q", err, tt.want)
			}
			if !bytes.Equal(read(t, path), before) || !Pending(path) {
				t.Error("something was changed")
			}
		})
	}
}

func FuzzDecodeJournal(f *testing.F) {
	f.Add((&journal{100, 10, []byte("old"), []byte("new")}).encode())
	f.Add([]byte(journalMagic))
	f.Fuzz(func(t *testing.T, data []byte) {
		if j, err := decodeJournal(data); err == nil && !bytes.Equal(j.encode(), data) {
			t.Error("a journal does not come back")
		}
	})
}

func FuzzAssignment(f *testing.F) {
	for _, text := range []string{"a=b", "a:u8=3", "a:str[]=[\"x\"]", "a:f32[]=[1e3, -0]", "a:bool=true", "a:b:i64=-1"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		a, err := ParseAssignment(text)
		if err != nil {
			return
		}
		v, err := a.value(nil)
		if err != nil {
			return
		}
		meta := &gguf.Metadata{}
		if err := meta.Set(a.Key, v); err != nil {
			return
		}
		if got, _ := meta.Get(a.Key); a.Kind != nil &&
			(got.Elem() != a.Kind.Elem || (got.Type() == gguf.KindArray) != a.Kind.Array) {
			t.Errorf("%q became a %v", text, got.Type())
		}
	})
}

// TestEditsAtOnce has several editors change one file, in place and as a whole, each its own keys, and readers read it
// meanwhile. No change is lost, no tensor is displaced, and a reader that saw a file in between is told so.
func TestEditsAtOnce(t *testing.T) {
	path := small(t, gguf.Format{})
	want := bytes.Clone(open(t, path).Tensors[0].Bytes())
	const editors, rounds = 4, 25
	ctx := t.Context()
	var group sync.WaitGroup
	var done atomic.Bool
	for e := range editors {
		group.Go(func() {
			for r := range rounds {
				// Long values now and then do not fit, so that the file is written anew.
				text := strings.Repeat("x", 1+r%2*(200*r%3000))
				if err := setOnce(ctx, path, Assignment{Key: fmt.Sprintf("editor.%d", e), Text: fmt.Sprint(r, text)}); err != nil {
					t.Errorf("editor %d, round %d: %v", e, r, err)
					return
				}
			}
		})
	}
	var reading sync.WaitGroup
	reads := 0
	reading.Go(func() {
		for !done.Load() {
			f, err := gguf.Open(path)
			if err != nil {
				t.Errorf("a reader: %v", err)
				return
			}
			same := bytes.Equal(f.Tensors[0].Bytes(), want)
			if err := f.Changed(); err == nil && !same {
				t.Error("a reader found other tensors and was not told")
			}
			f.Close()
			reads++
		}
	})
	group.Wait()
	done.Store(true)
	reading.Wait()
	f := open(t, path)
	for e := range editors {
		got, _ := f.Meta.String(fmt.Sprintf("editor.%d", e))
		if !strings.HasPrefix(got, fmt.Sprint(rounds-1)) {
			t.Errorf("the last change of editor %d is lost: %q", e, got)
		}
	}
	if !bytes.Equal(f.Tensors[0].Bytes(), want) {
		t.Error("the tensors are displaced")
	}
	if files(t, path) != filepath.Base(path) {
		t.Errorf("left: %s", files(t, path))
	}
	t.Logf("%d edits, %d reads", editors*rounds, reads)
}

// setOnce sets a key as the command does: an edit that comes second is prepared anew.
func setOnce(ctx context.Context, path string, a Assignment) error {
	for {
		plan, err := Prepare(path, Edit{Set: []Assignment{a}}, Options{})
		if err != nil {
			return err
		}
		var changed *ChangedError
		if _, err = plan.Apply(ctx); !errors.As(err, &changed) {
			return err
		}
	}
}
