package dataset

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/parquet-go/parquet-go"

	"github.com/peftconv/peftconv/internal/records"
	"github.com/peftconv/peftconv/kernels"
)

// lines is n records as JSONL, of lengths and kinds that differ.
func lines(n int) string {
	r := rand.New(rand.NewPCG(1, 2))
	var b strings.Builder
	for i := range n {
		text := strings.Repeat("ab", 1+r.IntN(20))
		if i%3 == 0 {
			fmt.Fprintf(&b, "{\"text\": \"%d %s\"}\n", i, text)
		} else {
			fmt.Fprintf(&b, "{\"prompt\": \"%d \", \"completion\": \"%s\"}\n", i, text)
		}
	}
	return b.String()
}

// every is all examples of a set, as text.
func every(t testing.TB, s *Set) string {
	t.Helper()
	var b strings.Builder
	for i := range s.Len() {
		e, err := s.At(i)
		if err != nil {
			t.Fatal(err)
		}
		if s.Size(i) != len(e.IDs) {
			t.Fatalf("example %d has %d tokens, and its size is %d", i, len(e.IDs), s.Size(i))
		}
		fmt.Fprintln(&b, e.IDs, e.Loss, e.Class)
	}
	return b.String()
}

// TestCache has the same examples in memory and in a file, with any number of threads.
func TestCache(t *testing.T) {
	defer kernels.SetThreads(0)
	tok := byteTokenizer(t, nil)
	dir := t.TempDir()
	text := write(t, "b.txt", strings.Repeat("some text\n", 300))
	sources := []Source{{Path: write(t, "a.jsonl", lines(2000))}, {Path: text}}
	opt := Options{SeqLen: 32, EvalSplit: 0.1}
	train, eval, err := LoadSplit(sources, tok, opt)
	if err != nil {
		t.Fatal(err)
	}
	want := every(t, train) + "|" + every(t, eval)
	for _, threads := range []int{1, 3} {
		kernels.SetThreads(threads)
		for _, limit := range []int{1, 20000} {
			opt.Cache = Cache{Prefix: dir, Limit: limit}
			a, b, err := LoadSplit(sources, tok, opt)
			if err != nil {
				t.Fatal(err)
			}
			hashed := make(chan error)
			var hash string
			go func() { // beside the reading, as a run does
				var err error
				hash, err = a.Hash()
				hashed <- err
			}()
			if got := every(t, a) + "|" + every(t, b); got != want {
				t.Errorf("%d threads, limit %d: other examples", threads, limit)
			}
			err = <-hashed
			if a.Examples != nil || a.Tokens() != train.Tokens() || a.Targets() != train.Targets() ||
				b.Tokens() != eval.Tokens() || !reflect.DeepEqual(a.Counts, train.Counts) {
				t.Errorf("in a file: %d tokens, %d targets, %+v; in memory %d, %d, %+v", a.Tokens(), a.Targets(), a.Counts,
					train.Tokens(), train.Targets(), train.Counts)
			}
			if wantHash, err2 := train.Hash(); err != nil || err2 != nil || hash != wantHash {
				t.Errorf("hashes %s and %s, %v, %v", hash, wantHash, err, err2)
			}
			if err := errors.Join(a.Close(), b.Close()); err != nil {
				t.Error(err)
			}
			if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
				t.Errorf("left behind: %v, %v", left, err)
			}
		}
	}
}

// TestKeepCache reads what an earlier run kept, and not where anything is different.
func TestKeepCache(t *testing.T) {
	tok := byteTokenizer(t, nil)
	dir := t.TempDir()
	data := filepath.Join(dir, "a.jsonl")
	if err := os.WriteFile(data, []byte(lines(500)), 0o644); err != nil {
		t.Fatal(err)
	}
	out := filepath.Join(dir, "out")
	opt := Options{SeqLen: 32, EvalSplit: 0.2, Cache: Cache{Prefix: out, Keep: true, Vocabulary: "v"}}
	load := func(opt Options) string {
		t.Helper()
		train, eval, err := LoadSplit([]Source{{Path: data, Weight: 1}}, tok, opt)
		if err != nil {
			t.Fatal(err)
		}
		defer train.Close()
		if filepath.Dir(train.Kept()) != dir {
			t.Errorf("kept in %q", train.Kept())
		}
		text := every(t, train) + fmt.Sprint(train.Counts, train.parts, train.Files)
		if eval != nil {
			defer eval.Close()
			text += "|" + every(t, eval) + fmt.Sprint(eval.Files)
		}
		return text
	}
	kept := func() []string {
		names, err := filepath.Glob(out + ".*.tokens")
		if err != nil {
			t.Fatal(err)
		}
		return names
	}
	first := load(opt)
	if len(kept()) != 1 {
		t.Fatalf("kept %v, want one file", kept())
	}
	before, err := os.Stat(kept()[0])
	if err != nil {
		t.Fatal(err)
	}
	if again := load(opt); again != first {
		t.Error("the second time other examples")
	}
	if after, err := os.Stat(kept()[0]); err != nil || !after.ModTime().Equal(before.ModTime()) {
		t.Errorf("the file was written again: %v", err)
	}
	for i, change := range []func(o *Options){
		func(o *Options) { o.SeqLen = 16 }, func(o *Options) { o.Cache.Vocabulary = "w" },
		func(o *Options) { o.EvalSplit = 0 }, func(o *Options) { o.Overflow = OverflowDrop }, func(o *Options) { o.EOS = No },
	} {
		other := opt
		change(&other)
		if load(other); len(kept()) != i+2 {
			t.Errorf("change %d: %d files, want another one", i, len(kept()))
		}
	}
	// damaged files are made again
	content, err := os.ReadFile(before.Name())
	if err != nil {
		content, err = os.ReadFile(filepath.Join(dir, before.Name()))
	}
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, before.Name())
	for _, at := range []int{0, len(content) / 2, len(content) - 40, len(content) - 20, len(content) - 1} {
		damaged := bytes.Clone(content)
		damaged[at] ^= 0xff
		for _, bad := range [][]byte{damaged, content[:at]} {
			if err := os.WriteFile(path, bad, 0o644); err != nil {
				t.Fatal(err)
			}
			if load(opt) != first {
				t.Errorf("a file damaged at %d of %d gives other examples", at, len(content))
			}
			if now, err := os.ReadFile(path); err != nil || !bytes.Equal(now, content) {
				t.Errorf("a file damaged at %d is not made again: %v", at, err)
			}
		}
	}
	if err := os.WriteFile(data, []byte(lines(501)), 0o644); err != nil {
		t.Fatal(err)
	}
	if load(opt) == first {
		t.Error("other data give the same examples")
	}
	opt.Files.Stdin = strings.NewReader(lines(10))
	if _, _, err := LoadSplit([]Source{{Path: "-"}}, tok, opt); err == nil ||
		!strings.Contains(err.Error(), "give a file") {
		t.Errorf("standard input gives %v", err)
	}
}

// TestEvalSplit: a record stays where it is, whatever else is in the data and however it is written.
func TestEvalSplit(t *testing.T) {
	tok := byteTokenizer(t, nil)
	split := func(path string) (train, eval []string) {
		a, b, err := LoadSplit([]Source{{Path: path}}, tok, Options{SeqLen: 64, EvalSplit: 0.2})
		if err != nil {
			t.Fatal(err)
		}
		return strings.Split(every(t, a), "\n"), strings.Split(every(t, b), "\n")
	}
	var all []string
	for line := range strings.Lines(lines(1000)) {
		all = append(all, strings.TrimSpace(line))
	}
	train, eval := split(write(t, "a.jsonl", strings.Join(all, "\n")))
	if n := len(eval); n < 160 || n > 240 {
		t.Errorf("%d of 1000 records are held back, want about 200", n)
	}
	other := slices.Clone(all[:700])
	slices.Reverse(other)
	wantTrain, wantEval := map[string]bool{}, map[string]bool{}
	for _, e := range train {
		wantTrain[e] = true
	}
	for _, e := range eval {
		wantEval[e] = true
	}
	train, eval = split(write(t, "b.json", "["+strings.Join(other, ",\n")+"]"))
	for _, e := range train {
		if !wantTrain[e] {
			t.Fatalf("%s was held back, and is not any more", e)
		}
	}
	for _, e := range eval {
		if !wantEval[e] {
			t.Fatalf("%s was not held back, and is now", e)
		}
	}
	_, _, err := LoadSplit([]Source{{Path: write(t, "c.jsonl", all[0])}}, tok, Options{SeqLen: 64, EvalSplit: 1e-9})
	if err == nil || !strings.Contains(err.Error(), "none of its 1 records is in the share of 1e-09") {
		t.Errorf("a share without records gives %v", err)
	}
}

// TestWeights counts how often examples of each source come.
func TestWeights(t *testing.T) {
	tok := byteTokenizer(t, nil)
	a, b := write(t, "a.jsonl", lines(100)), write(t, "b.jsonl", lines(300))
	set, _, err := LoadSplit([]Source{{a, 0.7}, {b, 0.3}}, tok, Options{SeqLen: 64})
	if err != nil {
		t.Fatal(err)
	}
	seen := map[int]int{}
	for epoch := range 10 {
		order := set.Order(epoch, 3)
		if len(order) != 400 {
			t.Fatalf("%d examples an epoch, want 400", len(order))
		}
		first := 0
		for _, i := range order {
			if i < 100 {
				first++
			}
			seen[i]++
		}
		if first != 280 {
			t.Errorf("%d examples are of the first source, want 280", first)
		}
		if !slices.Equal(order, set.Order(epoch, 3)) || slices.Equal(order, set.Order(epoch+1, 3)) {
			t.Error("an epoch and a seed give no order of their own")
		}
	}
	for i := range 400 {
		least, most := 20, 30 // each of the first source two or three times an epoch
		if i >= 100 {
			least, most = 0, 10 // 120 of 300 an epoch
		}
		if n := seen[i]; n < least || n > most {
			t.Errorf("example %d comes %d times, want %d to %d", i, n, least, most)
		}
	}
	for _, bad := range [][]Source{{{a, 1}, {b, 0}}, {{a, -1}}, {{"-", 0}, {"-", 0}}} {
		if _, _, err := LoadSplit(bad, tok, Options{SeqLen: 64}); err == nil {
			t.Errorf("sources %v are taken", bad)
		}
	}
	none := write(t, "c.jsonl", `{"text": ""}`)
	if _, _, err := LoadSplit([]Source{{a, 1}, {none, 2}}, tok, Options{SeqLen: 64}); err == nil ||
		!strings.Contains(err.Error(), "it has no examples, but a weight of 2") {
		t.Errorf("a source with a weight and no examples gives %v", err)
	}
}

func TestOverflow(t *testing.T) {
	tok := byteTokenizer(t, nil)
	data := `{"text": "abcdefghijk"}
{"prompt": "abcdef", "completion": "stuvwxyz"}
{"input_ids": [1, 100, 101, 102, 103, 104, 105, 106, 107, 2], "labels": [-100, -100, -100, -100, -100, -100, -100, -100, 107, 2]}
{"text": "ok"}`
	path := write(t, "a.jsonl", data)
	for _, c := range []struct {
		how    Overflow
		want   string
		counts Counts
	}{
		{OverflowAuto, "!<abcdefg|!<hijk>|<efSTUVW|!<ok>",
			Counts{Records: 4, Split: 1, CutPrompts: 1, CutCompletions: 1, CutIDs: 1, Dropped: 1}},
		{OverflowCut, "!<abcdefg|<efSTUVW|!<ok>",
			Counts{Records: 4, CutTexts: 1, CutPrompts: 1, CutCompletions: 1, CutIDs: 1, Dropped: 1}},
		{OverflowSplit, "!<abcdefg|!<hijk>|<abcdefS|<TUVWXYZ|<}|H}|!<ok>", Counts{Records: 4, Split: 3}},
		{OverflowDrop, "!<ok>", Counts{Records: 4, TooLong: 3}},
	} {
		set, err := Load(path, tok, Options{SeqLen: 8, Overflow: c.how})
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, e := range set.Examples {
			got = append(got, show(tok, e))
		}
		if s := strings.Join(got, "|"); s != c.want {
			t.Errorf("%q: got %q, want %q", c.how, s, c.want)
		}
		if !reflect.DeepEqual(set.Counts, c.counts) {
			t.Errorf("%q: %+v, want %+v", c.how, set.Counts, c.counts)
		}
	}
	_, err := Load(path, tok, Options{SeqLen: 8, Overflow: OverflowError})
	const want = "a.jsonl:1: 13 tokens, more than the sequence length of 8"
	if err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("error %v, want one with %q", err, want)
	}
	if set, err := Load(path, tok, Options{SeqLen: 32, Overflow: OverflowError}); err != nil || set.Len() != 4 {
		t.Errorf("records that fit: %v, %v", set, err)
	}
}

// TestFormats has the same records in every format, in directories, and as standard input.
func TestFormats(t *testing.T) {
	type qa struct {
		Question string `parquet:"question"`
		Answer   string `parquet:"answer"`
	}
	rows := []qa{{"one", "1"}, {"two", "22"}, {"three", "333"}}
	var jsonl, csv strings.Builder
	csv.WriteString("question,answer\n")
	for _, r := range rows {
		fmt.Fprintf(&jsonl, "{\"question\": %q, \"answer\": %q}\n", r.Question, r.Answer)
		fmt.Fprintf(&csv, "%s,%s\n", r.Question, r.Answer)
	}
	var columns bytes.Buffer
	if err := parquet.Write(&columns, rows); err != nil {
		t.Fatal(err)
	}
	array, err := json.Marshal([]map[string]string{{"question": "one", "answer": "1"}, {"question": "two", "answer": "22"},
		{"question": "three", "answer": "333"}})
	if err != nil {
		t.Fatal(err)
	}
	tok := byteTokenizer(t, nil)
	const want = "<one\n1}|<two\n22}|<three\n333}"
	check := func(name, path string, opt Options) {
		t.Helper()
		opt.SeqLen = 64
		set, err := Load(path, tok, opt)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			return
		}
		var got []string
		for _, e := range set.Examples {
			got = append(got, show(tok, e))
		}
		if s := strings.Join(got, "|"); s != want {
			t.Errorf("%s: %q, want %q", name, s, want)
		}
	}
	for name, content := range map[string]string{
		"train.jsonl": jsonl.String(), "train.csv": csv.String(), "train.tsv": strings.ReplaceAll(csv.String(), ",", "\t"),
		"train.json": string(array), "train.parquet": columns.String(),
	} {
		path := write(t, name, content)
		check(name, path, Options{})
		check("the directory of "+name, filepath.Dir(path), Options{})
		check(name+" as standard input", "-", Options{Files: records.Options{Stdin: strings.NewReader(content),
			Format: records.FormatOf(name)}})
		if _, err := Load(filepath.Dir(path), tok, Options{SeqLen: 64, Split: records.Test}); err == nil ||
			!strings.Contains(err.Error(), "no file for test in the directory") {
			t.Errorf("the test split of a directory without one: %v", err)
		}
	}
}

// TestPack wants less than 2 % of the tokens empty, every example once, and the order kept where it costs nothing.
func TestPack(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	for _, c := range []struct {
		name   string
		length func() int
	}{
		{"even", func() int { return 2 + r.IntN(510) }},
		{"log-normal", func() int { return min(512, 2+int(120*math.Exp(0.8*r.NormFloat64()))) }},
		{"two lengths", func() int { return 40 + 460*r.IntN(2) }},
		{"mostly cut", func() int { return 512 - max(0, r.IntN(1000)-700) }},
		{"short", func() int { return 5 + r.IntN(40) }},
		{"as long as a batch", func() int { return 2 + r.IntN(2047) }},
	} {
		s := &Set{}
		for range 20000 {
			s.Examples = append(s.Examples, Example{IDs: make([]int32, c.length())})
		}
		order := s.Order(0, 1)
		inTurn, packed := s.Batches(order, 2048), s.Pack(order, 2048)
		if empty := s.empty(packed, 2048); empty >= mostEmpty {
			t.Errorf("%s: %.2f %% are empty, in turn %.2f %%", c.name, 100*empty, 100*s.empty(inTurn, 2048))
		}
		var seen []int
		for _, examples := range packed {
			n := 0
			for _, e := range examples {
				n += s.Size(e)
			}
			if n > 2048 {
				t.Fatalf("%s: a batch of %d tokens", c.name, n)
			}
			seen = append(seen, examples...)
		}
		slices.Sort(seen)
		if len(slices.Compact(seen)) != s.Len() {
			t.Errorf("%s: %d examples, want %d", c.name, len(seen), s.Len())
		}
		t.Logf("%s: %.2f %% empty in %d batches, in turn %.2f %% in %d", c.name, 100*s.empty(packed, 2048), len(packed),
			100*s.empty(inTurn, 2048), len(inTurn))
	}
	same := &Set{}
	for range 100 {
		same.Examples = append(same.Examples, Example{IDs: make([]int32, 128)})
	}
	order := same.Order(0, 1)
	if got, want := fmt.Sprint(same.Pack(order, 512)), fmt.Sprint(same.Batches(order, 512)); got != want {
		t.Errorf("examples of one length: %s, want %s", got, want)
	}
	long := &Set{Examples: []Example{{IDs: make([]int32, 3)}, {IDs: make([]int32, 100)}, {IDs: make([]int32, 3)}}}
	if got := fmt.Sprint(long.Pack(long.Order(0, 1), 6)); len(long.Pack(all(0, 3), 6)) != 2 {
		t.Errorf("an example longer than a batch: %s", got)
	}
}

// TestStreams wants little memory for data that are much larger.
func TestStreams(t *testing.T) {
	size := 24 << 20
	if os.Getenv("PEFTCONV_LONG") != "" {
		size = 1 << 30
	}
	path := filepath.Join(t.TempDir(), "a.jsonl")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	text := strings.Repeat("and so on ", 90)
	for n := 0; n < size; {
		k, err := fmt.Fprintf(f, "{\"prompt\": \"%d \", \"completion\": \"%s\"}\n", n, text[:100+n%800])
		if err != nil {
			t.Fatal(err)
		}
		n += k
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	var most uint64
	seen := 0
	runtime.GC() // of what tests before have left
	opt := Options{SeqLen: 512, Cache: Cache{Prefix: t.TempDir(), Limit: 4 << 20}}
	opt.Files.Read = func(int) error {
		if seen++; seen%16 == 0 { // 256 KiB each
			var m runtime.MemStats
			runtime.ReadMemStats(&m)
			most = max(most, m.HeapInuse)
		}
		return nil
	}
	tok := byteTokenizer(t, nil)
	set, err := Load(path, tok, opt)
	if err != nil {
		t.Fatal(err)
	}
	defer set.Close()
	stopped := opt
	stopped.Files.Read = func(int) error { return os.ErrProcessDone }
	if _, err := Load(path, tok, stopped); !errors.Is(err, os.ErrProcessDone) {
		t.Errorf("stopped: %v", err)
	}
	limit := uint64(64 << 20)
	if size >= 1<<30 {
		limit = 250 << 20
	}
	t.Logf("%d MB of records, %d examples, %d tokens: at most %d MB of heap in use", size>>20, set.Len(), set.Tokens(),
		most>>20)
	if most > limit || set.held == nil {
		t.Errorf("%d MB of heap in use, want at most %d", most>>20, limit>>20)
	}
}
