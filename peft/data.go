package peft

import (
	"github.com/peftconv/peftconv/internal/attach"
	"github.com/peftconv/peftconv/internal/dataset"
)

// Data is token sequences with loss masks, to train or evaluate on.
type Data struct{ set *attach.Data }

// held is the set, nil of a nil Data.
func (d *Data) held() *attach.Data {
	if d == nil {
		return nil
	}
	return d.set
}

// holding is a Data of a set, nil of nil.
func holding(set *attach.Data) *Data {
	if set == nil {
		return nil
	}
	return &Data{set}
}

// Example is one token sequence.
type Example struct {
	IDs  []int32 // at least two
	Loss []bool  // token i is predicted; nil: every token but the first
}

// Classes configure the classification of records.
type Classes struct {
	Labels []string // the possible labels of a record
	Field  string   // the field that holds it; "": label
	Words  bool     // predict the label itself, as words after the text; otherwise a head over the last token does
}

// DataOptions says how a file becomes examples.
type DataOptions struct {
	SeqLen int // the most tokens of an example, BOS and EOS included; 0: 512, or less where the base was made for less

	TextField       string // field of a whole text; "": text. This field, or both others
	PromptField     string // field of the prompt; "": prompt, or question
	CompletionField string // field of the completion; "": completion, or answer
	// between the two; nil: nothing for fields called prompt and completion, a newline for others
	Separator *string

	// Adapters are those that the data is for: records are put into the template of the one that has one, and
	// classified as the adapters are.
	Adapters []*Adapter
	Classes  *Classes // records are classified; nil: they are not, unless an adapter's are
}

// LoadData reads a .txt or .jsonl file, plain or compressed (.gz, .zst), in the vocabulary of a base. A text is cut
// into pieces of SeqLen tokens. The lines of a .jsonl are objects with a text, with a prompt and a completion, or with
// a question and an answer; of the last two only the completion and the answer carry loss. Errors name the file, the
// line, what was found and what was expected.
func LoadData(path string, b *Base, opt DataOptions) (*Data, error) {
	o := attach.DataOptions{
		SeqLen: opt.SeqLen, TextField: opt.TextField, PromptField: opt.PromptField,
		CompletionField: opt.CompletionField, Separator: opt.Separator, Classes: (*attach.Classes)(opt.Classes),
	}
	for _, a := range opt.Adapters {
		if classes := a.adapter.Config.Classes; classes != nil {
			o.Classes = classes
		}
		t, err := a.adapter.Template()
		if err != nil {
			return nil, err
		}
		if t != nil && !dataset.IsText(path) {
			o.Template = t
		}
	}
	set, err := attach.LoadData(path, b.base, o)
	return holding(set), err
}

// NewData is data of sequences made by hand.
func NewData(examples []Example) *Data {
	set := &attach.Data{}
	for _, e := range examples {
		set.Examples = append(set.Examples, attach.Example{IDs: e.IDs, Loss: e.Loss})
	}
	return &Data{set}
}

// Len is the number of examples.
func (d *Data) Len() int { return len(d.set.Examples) }

// Tokens is the number of tokens of all examples.
func (d *Data) Tokens() int { return d.set.Tokens() }

// Targets is the number of predicted tokens in all examples.
func (d *Data) Targets() int { return d.set.Targets() }

// Notes are sentences about what LoadData cut and left out.
func (d *Data) Notes() []string { return d.set.Counts.Notes() }

// Sample is data of at most a number of tokens, in whole examples spread evenly over all.
func (d *Data) Sample(tokens int) *Data { return &Data{d.set.Sample(tokens)} }
