package dataset

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"maps"
	"slices"

	"github.com/peftconv/peftconv/internal/chat"
	"github.com/peftconv/peftconv/internal/records"
	"github.com/peftconv/peftconv/internal/template"
)

// Example is one token sequence.
type Example struct {
	IDs  []int32 // at least two
	Loss []bool  // token i is predicted; nil: every token but the first, or the class where there is one
	// Class is the number of its class, from 1; 0 where there is none. Without Loss the last token predicts the class;
	// with Loss the tokens are the label.
	Class  int
	Record int // the number of its record, from 1; 0: a piece of a text
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

	// how the fields of a record become a text with virtual tokens; nil: as the package comment says. Text files have no
	// fields, and are taken without it.
	Template *template.Virtual
	Classes  *Classes // records are classified; nil: they are not

	Chat        *chat.Encoder // how conversations become examples; nil: they are an error
	SkipRefused bool          // conversations that cannot be learned are left out and counted; otherwise they are an error
	Format      chat.Format   // of all records; "": found by their fields
	// PromptTemplate is a prompt made of fields: {name} stands for a field. "": prompts are fields.
	PromptTemplate string

	VocabSize int // ids are below it; 0: the size of the tokenizer

	Overflow Overflow // what becomes of records with more tokens than SeqLen

	Files records.Options // how files are read
	Split records.Split   // which files of a directory; "": those for training
	// EvalSplit is the share of the records, by a hash of their content, that LoadSplit holds back for evaluation. Of a
	// text it is a share of its pieces.
	EvalSplit float64

	// Cache says where token ids are kept that are more than fit into memory easily.
	Cache Cache
}

// Overflow says what becomes of a record with more tokens than a sequence may have. A text file, which is no record, is
// always cut into pieces.
type Overflow string

// The ways. Auto splits texts and cuts what has a prompt, a label or ready-made ids.
const (
	OverflowAuto Overflow = ""
	OverflowCut  Overflow = "cut" // it loses the beginning of its prompt, then its end; a text loses its end
	// it becomes several examples, of which those without a predicted token are left out; with a template or classes it is
	// cut
	OverflowSplit Overflow = "split"
	OverflowDrop  Overflow = "drop"  // it is left out
	OverflowError Overflow = "error" // it is an error
)

// Overflows are the ways that can be asked for.
func Overflows() []string {
	return []string{string(OverflowCut), string(OverflowSplit), string(OverflowDrop), string(OverflowError)}
}

// Source is a file, a directory or standard input, with what share of the examples of an epoch it gives.
type Source struct {
	Path string
	// Weight is relative to those of the other sources. 0, of all sources: each gives all its examples, once an epoch.
	Weight float64
}

// Set is the examples of files, in their order. They are in Examples, or in a file: Len, Size and At know both.
type Set struct {
	Examples []Example // nil where the examples are in a file
	Counts   Counts
	Classes  int       // how many classes there are; 0: the examples have none
	Answers  [][]int32 // the tokens of each class's label, where labels are predicted as words
	Files    []File    // which files the examples are of, in their order; nil: it is not known

	parts   []part // of each source, where they have weights
	held    *held  // the examples where they are in a file
	scratch Example
}

// File is a file and where its examples end.
type File struct {
	Path string
	End  int
}

// part is the examples of a source, up to end, and its weight.
type part struct {
	end    int
	weight float64
}

// Counts counts what was cut and dropped.
type Counts struct {
	Records        int // records of all files; a text is one
	Split          int // records longer than SeqLen, now several examples
	CutTexts       int // texts that lost their end
	CutPrompts     int // prompts that lost their beginning
	CutCompletions int // completions that lost their end
	CutIDs         int // sequences of ready-made ids and of conversations that lost their end
	TooLong        int // records longer than SeqLen that were left out
	Dropped        int // records without a predicted token
	Refused        int // conversations that cannot be learned and were left out
	Conversations  int // records that are conversations

	About map[string]Mention // sentences about conversations, such as why they were left out
}

// Mention is how many records something is to be said of.
type Mention struct {
	Records int
	First   int // the number of the first
}

// note remembers a sentence about a record.
func (c *Counts) note(text string, record int) {
	if c.About == nil {
		c.About = map[string]Mention{}
	}
	m := c.About[text]
	if m.First == 0 {
		m.First = record
	}
	m.Records++
	c.About[text] = m
}

// add adds the counts of other records.
func (c *Counts) add(d *Counts) {
	c.Records += d.Records
	c.Split += d.Split
	c.CutTexts += d.CutTexts
	c.CutPrompts += d.CutPrompts
	c.CutCompletions += d.CutCompletions
	c.CutIDs += d.CutIDs
	c.TooLong += d.TooLong
	c.Dropped += d.Dropped
	c.Refused += d.Refused
	c.Conversations += d.Conversations
	for text, more := range d.About {
		c.note(text, more.First)
		m := c.About[text]
		m.Records += more.Records - 1
		c.About[text] = m
	}
}

// Notes are sentences for the user.
func (c Counts) Notes() []string {
	var out []string
	for _, n := range []struct {
		count int
		what  string
	}{
		{c.Split, "longer than the sequence length, split into several examples"},
		{c.CutTexts, "longer than the sequence length, cut at their end"},
		{c.CutPrompts, "longer than the sequence length, the prompt cut at its beginning"},
		{c.CutCompletions, "longer than the sequence length, the completion cut at its end"},
		{c.CutIDs, "longer than the sequence length, cut at their end"},
		{c.TooLong, "longer than the sequence length, left out"},
		{c.Dropped, "with nothing to predict, dropped"},
		{c.Refused, "refused and left out"},
	} {
		if n.count > 0 {
			out = append(out, fmt.Sprintf("%d of %d records %s", n.count, c.Records, n.what))
		}
	}
	return append(out, c.mentions()...)
}

// maxMentions is how many different sentences about conversations are given.
const maxMentions = 8

// mentions are the sentences about conversations, those of the most records first.
func (c Counts) mentions() (out []string) {
	texts := slices.Sorted(maps.Keys(c.About))
	slices.SortStableFunc(texts, func(a, b string) int { return c.About[b].Records - c.About[a].Records })
	for i, text := range texts {
		if i == maxMentions {
			return append(out, fmt.Sprintf("%d more such notes", len(texts)-i))
		}
		if m := c.About[text]; m.Records == 1 {
			out = append(out, fmt.Sprintf("record %d: %s", m.First, text))
		} else {
			out = append(out, fmt.Sprintf("%d records, first %d: %s", m.Records, m.First, text))
		}
	}
	return out
}

// Len is the number of examples.
func (s *Set) Len() int {
	if s.held != nil {
		return len(s.held.index)
	}
	return len(s.Examples)
}

// InFile says whether the examples are in a file.
func (s *Set) InFile() bool { return s.held != nil }

// Size is the number of tokens of an example.
func (s *Set) Size(i int) int {
	if s.held != nil {
		return int(s.held.index[i].tokens)
	}
	return len(s.Examples[i].IDs)
}

// At is an example. Where the examples are in a file it is read, and the next call may overwrite its slices.
func (s *Set) At(i int) (Example, error) {
	if s.held == nil {
		return s.Examples[i], nil
	}
	err := s.held.read(i, &s.scratch)
	return s.scratch, err
}

// Tokens is the number of tokens of all examples.
func (s *Set) Tokens() int {
	if s.held != nil {
		return s.held.tokens
	}
	n := 0
	for _, e := range s.Examples {
		n += len(e.IDs)
	}
	return n
}

// Longest is the number of tokens of the longest example.
func (s *Set) Longest() int {
	longest := 0
	for i := range s.Len() {
		longest = max(longest, s.Size(i))
	}
	return longest
}

// Targets is the number of predicted tokens in all examples.
func (s *Set) Targets() int {
	if s.held != nil {
		return s.held.targets
	}
	n := 0
	for _, e := range s.Examples {
		n += e.Targets()
	}
	return n
}

// Sample is at most a number of tokens of a set, in whole examples spread evenly over it.
func (s *Set) Sample(tokens int) (*Set, error) {
	total := s.Tokens()
	if total <= tokens {
		return s, nil
	}
	n := max(1, s.Len()*tokens/total)
	out := &Set{Classes: s.Classes, Answers: s.Answers}
	for i := range n {
		e, err := s.At(i * s.Len() / n)
		if err != nil {
			return nil, err
		}
		if s.held != nil {
			e.IDs, e.Loss = slices.Clone(e.IDs), slices.Clone(e.Loss)
		}
		out.Examples = append(out.Examples, e)
	}
	return out, nil
}

// Kept is the path of the file that Cache.Keep leaves; "" where there is none.
func (s *Set) Kept() string {
	if s.held == nil {
		return ""
	}
	return s.held.file.kept
}

// Close gives up the file that examples are in, where there is one.
func (s *Set) Close() error {
	if s == nil || s.held == nil {
		return nil
	}
	return s.held.file.close()
}

// Memory is about how many bytes of memory the examples take.
func (s *Set) Memory() int64 {
	if s.held != nil {
		const each = 3 * entrySize // where it stands, and its places in orders and batches
		return each * int64(s.Len())
	}
	return 8 * int64(s.Tokens())
}

// Hash is a hash of everything that the examples of an epoch depend on but the seed: their tokens, loss masks and
// classes, and the weights of the sources.
func (s *Set) Hash() (string, error) {
	if s.held != nil { // others may read at the same time, into memory of their own
		s = &Set{parts: s.parts, held: &held{file: s.held.file, index: s.held.index}}
	}
	h := sha256.New()
	var buf []byte
	for i := range s.Len() {
		e, err := s.At(i)
		if err != nil {
			return "", err
		}
		buf = binary.LittleEndian.AppendUint32(buf[:0], uint32(len(e.IDs)))
		for i, id := range e.IDs {
			buf = binary.LittleEndian.AppendUint32(buf, uint32(id))
			if e.Loss == nil || e.Loss[i] {
				buf = append(buf, 1)
			}
		}
		if e.Class > 0 {
			buf = binary.LittleEndian.AppendUint32(buf, uint32(e.Class))
		}
		h.Write(buf)
	}
	for _, p := range s.parts {
		fmt.Fprintf(h, "part to %d of %v", p.end, p.weight)
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}
