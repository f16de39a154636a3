package dataset

import (
	"errors"
	"fmt"
	"path/filepath"
	"strings"

	"github.com/peftconv/peftconv/internal/template"
	"github.com/peftconv/peftconv/internal/tokenizer"
)

// Example is one token sequence.
type Example struct {
	IDs  []int32 // at least two
	Loss []bool  // token i is predicted; nil: every token but the first, or the class where there is one
	// Class is the number of its class, from 1; 0 where there is none. Without Loss the last token predicts the class;
	// with Loss the tokens are the label.
	Class int
}

// Targets is the number of predicted tokens.
func (e Example) Targets() int {
	switch {
	case e.Loss == nil && e.Class > 0:
		return 1
	case e.Loss == nil:
		return len(e.IDs) - 1
	}
	n := 0
	for _, l := range e.Loss[1:] {
		if l {
			n++
		}
	}
	return n
}

// Choice is a setting with a default that depends on the data.
type Choice int8

// The choices.
const (
	Auto Choice = iota // yes for records, no for plain text
	Yes
	No
)

func (c Choice) or(auto bool) bool { return c == Yes || c == Auto && auto }

// Options configures how a file becomes examples.
type Options struct {
	SeqLen int // the most tokens of an example, BOS and EOS included; at least 2

	// Names of fields, where they are not those of the package comment. TextField or both others.
	TextField, PromptField, CompletionField string

	// Separator is put between prompt and completion. nil: nothing for fields called "prompt" and "completion", which
	// bring their own, and a newline for all others.
	Separator *string

	EOS     Choice // EOS ends a text or completion; Auto: of records, where the vocabulary has one
	Special Choice // text may spell control tokens; Auto: that of records

	// how the fields of a record become a text with virtual tokens; nil: as the package comment says
	Template *template.Virtual
	Classes  *Classes // records are classified; nil: they are not

	VocabSize int // ids are below it; 0: the size of the tokenizer
}

// Set is the examples of a file, in its order.
type Set struct {
	Examples []Example
	Counts   Counts
	Classes  int       // how many classes there are; 0: the examples have none
	Answers  [][]int32 // the tokens of each class's label, where labels are predicted as words
}

// Counts counts what was cut and dropped.
type Counts struct {
	Records        int // records of a .jsonl; 1 for a text
	Split          int // text records longer than SeqLen, now several examples
	CutPrompts     int // prompts that lost their beginning
	CutCompletions int // completions that lost their end
	CutIDs         int // ready-made sequences that lost their end
	Dropped        int // records without a predicted token
}

// Notes are sentences for the user.
func (c Counts) Notes() []string {
	var out []string
	for _, n := range []struct {
		count int
		what  string
	}{
		{c.Split, "longer than the sequence length, split into several examples"},
		{c.CutPrompts, "longer than the sequence length, the prompt cut at its beginning"},
		{c.CutCompletions, "longer than the sequence length, the completion cut at its end"},
		{c.CutIDs, "longer than the sequence length, the input_ids cut at their end"},
		{c.Dropped, "with nothing to predict, dropped"},
	} {
		if n.count > 0 {
			out = append(out, fmt.Sprintf("%d of %d records %s", n.count, c.Records, n.what))
		}
	}
	return out
}

// Tokens is the number of tokens of all examples.
func (s *Set) Tokens() int {
	n := 0
	for _, e := range s.Examples {
		n += len(e.IDs)
	}
	return n
}

// Targets is the number of predicted tokens in all examples.
func (s *Set) Targets() int {
	n := 0
	for _, e := range s.Examples {
		n += e.Targets()
	}
	return n
}

// Sample is at most a number of tokens of a set, in whole examples spread evenly over it.
func (s *Set) Sample(tokens int) *Set {
	total := s.Tokens()
	if total <= tokens {
		return s
	}
	n := max(1, len(s.Examples)*tokens/total)
	out := &Set{Classes: s.Classes, Answers: s.Answers}
	for i := range n {
		out.Examples = append(out.Examples, s.Examples[i*len(s.Examples)/n])
	}
	return out
}

// IsText reports whether a data file is plain text, compressed or not, rather than JSONL.
func IsText(path string) bool {
	name := strings.ToLower(filepath.Base(path))
	name = strings.TrimSuffix(strings.TrimSuffix(name, ".gz"), ".zst")
	return filepath.Ext(name) != ".jsonl" && filepath.Ext(name) != ".json"
}

// Load reads a data file. tok may be nil for data that is ids already; then opt.VocabSize is required. Errors name the
// file, the line where there is one, what was found and what was expected.
func Load(path string, tok *tokenizer.Tokenizer, opt Options) (*Set, error) {
	l, err := newLoader(path, tok, opt)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	switch format(path) {
	case "txt":
		err = l.text()
	case "jsonl":
		err = l.records()
	default:
		err = fmt.Errorf("%s: unknown kind of data; want .txt or .jsonl, plain or compressed (.gz, .zst)", path)
	}
	if err != nil {
		return nil, err
	}
	if len(l.set.Examples) == 0 {
		return nil, fmt.Errorf("%s: none of its %d records has anything to predict", path, l.set.Counts.Records)
	}
	return &l.set, nil
}

// Text is the ids of a whole text file (.txt, plain or compressed), for measuring perplexity. BOS comes first where
// the vocabulary adds one.
func Text(path string, tok *tokenizer.Tokenizer) ([]int32, error) {
	text, err := readText(path)
	if err != nil {
		return nil, err
	}
	var ids []int32
	if bos, ok := tok.BOS(); ok && tok.AddBOS() {
		ids = append(ids, bos)
	}
	return append(ids, tok.Encode(text, false)...), nil
}

// loader turns texts and records into examples.
type loader struct {
	path     string
	tok      *tokenizer.Tokenizer
	opt      Options
	vocab    int
	bos, eos []int32 // one id or none
	set      Set
	memory   arena
}

func newLoader(path string, tok *tokenizer.Tokenizer, opt Options) (*loader, error) {
	l := &loader{path: path, tok: tok, opt: opt, vocab: opt.VocabSize}
	switch {
	case opt.SeqLen < 2:
		return nil, fmt.Errorf("sequences of %d tokens, want at least 2", opt.SeqLen)
	case (opt.PromptField == "") != (opt.CompletionField == ""):
		return nil, errors.New("name the fields of both prompt and completion, or of neither")
	case opt.TextField != "" && opt.PromptField != "":
		return nil, errors.New("name a text field, or fields of prompt and completion, not both")
	case tok == nil && l.vocab == 0:
		return nil, errors.New("neither a tokenizer nor the size of a vocabulary")
	case (opt.Template != nil || opt.Classes != nil) && format(path) == "txt":
		return nil, errors.New("a text; a template and classes need records with fields (.jsonl)")
	case tok == nil:
		return l, nil
	}
	if l.vocab == 0 {
		l.vocab = tok.Size()
	}
	if id, ok := tok.BOS(); ok && tok.AddBOS() {
		l.bos = []int32{id}
	}
	id, ok := tok.EOS()
	if ok && opt.EOS.or(format(path) == "jsonl") {
		l.eos = []int32{id}
	}
	if !ok && opt.EOS == Yes {
		return nil, errors.New("texts must end with EOS, but the vocabulary has none")
	}
	if opt.Classes != nil {
		return l, l.classes()
	}
	return l, nil
}

// needTokenizer is an error where there is none.
func (l *loader) needTokenizer() error {
	if l.tok == nil {
		return errors.New(`text needs a tokenizer, and the base model has none; give "input_ids"`)
	}
	return nil
}

// pieces adds the examples of a text: its ids in pieces, each after BOS.
func (l *loader) pieces(ids []int32) (examples int) {
	room := l.opt.SeqLen - len(l.bos)
	for len(ids) > 0 {
		n := min(room, len(ids))
		if piece := l.memory.ids(l.bos, ids[:n]); len(piece) >= 2 {
			l.set.Examples = append(l.set.Examples, Example{IDs: piece})
			examples++
		}
		ids = ids[n:]
	}
	return examples
}

func (l *loader) text() error {
	if err := l.needTokenizer(); err != nil {
		return fmt.Errorf("%s: %w", l.path, err)
	}
	text, err := readText(l.path)
	if err != nil {
		return err
	}
	l.set.Counts.Records = 1
	ids := l.tok.Encode(text, l.opt.Special.or(false))
	l.pieces(append(ids, l.eos...))
	return nil
}

// arena allocates small slices from large ones.
type arena struct {
	free  []int32
	flags []bool
}

const arenaBlock = 1 << 16

// ids is the parts, end to end, in memory of their own.
func (a *arena) ids(parts ...[]int32) []int32 {
	n := 0
	for _, p := range parts {
		n += len(p)
	}
	if n > cap(a.free) {
		a.free = make([]int32, 0, max(n, arenaBlock))
	}
	out := a.free[:0:n]
	for _, p := range parts {
		out = append(out, p...)
	}
	a.free = a.free[n:n:cap(a.free)]
	return out
}

// loss is n flags, the last few of them set.
func (a *arena) loss(n, last int) []bool {
	if n > len(a.flags) {
		a.flags = make([]bool, max(n, arenaBlock))
	}
	out := a.flags[:n:n]
	a.flags = a.flags[n:]
	for i := n - last; i < n; i++ {
		out[i] = true
	}
	return out
}

// list is names as a sentence has them: "a", "b" and "c".
func list(names []string) string {
	if len(names) == 0 {
		return "none"
	}
	quoted := make([]string, len(names))
	for i, n := range names {
		quoted[i] = fmt.Sprintf("%q", n)
	}
	if len(quoted) == 1 {
		return quoted[0]
	}
	return strings.Join(quoted[:len(quoted)-1], ", ") + " and " + quoted[len(quoted)-1]
}
