package peft

import (
	"errors"
	"fmt"
	"io"

	"github.com/peftconv/peftconv/internal/attach"
	"github.com/peftconv/peftconv/internal/chat"
	"github.com/peftconv/peftconv/internal/dataset"
	"github.com/peftconv/peftconv/internal/mapped"
	"github.com/peftconv/peftconv/internal/records"
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

// FileLoss is the loss on the examples of one file of several.
type FileLoss struct {
	Path     string   `json:"path"`
	Loss     float64  `json:"loss"`   // mean cross entropy, natural logarithm
	Tokens   int      `json:"tokens"` // targets that the mean is over
	Examples int      `json:"examples"`
	Accuracy *float64 `json:"accuracy,omitempty"` // of classified data
}

// Example is one token sequence.
type Example struct {
	IDs  []int32 // at least two
	Loss []bool  // token i is predicted; nil: every token but the first
	// Record is the number of the record that it was made of, from 1; 0 where there is none, or it is not known.
	Record int
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

	// PromptTemplate is a prompt made of fields, such as "{instruction}\n{input}"; the answer is in CompletionField, or
	// in completion, output, answer or response. "": prompts are fields.
	PromptTemplate string
	Chat           ChatOptions // of conversations

	// Adapters are those that the data is for: records are put into the template of the one that has one, and
	// classified as the adapters are.
	Adapters []*Adapter
	Classes  *Classes // records are classified; nil: they are not, unless an adapter's are

	// What becomes of records with more tokens than SeqLen: OverflowCut, OverflowSplit, OverflowDrop or OverflowError;
	// "": texts are split, others cut.
	Overflow string

	// Format, such as "jsonl" or "csv", is that of files whose names do not tell, and of standard input; "": that tells by
	// how it begins.
	Format string
	Split  string    // of a directory, which files: SplitTrain ("" is the same), SplitValidation or SplitTest
	Stdin  io.Reader // what the path "-" reads; nil: the standard input of the process
	// Progress is told, from another goroutine, how many bytes of the files were read since the last time; may be nil. Its
	// error ends reading.
	Progress func(bytes int) error

	// EvalSplit is the share of the records that LoadSources holds back, by a hash of their content: a record is always
	// in the same part, whatever else is in the data. Of a text it is a share of its pieces.
	EvalSplit float64

	// Cache is the folder, or the output, beside which token ids are kept in a file while they are needed, where they
	// are more than 64 MiB; "": all of them are in memory. Data.Close gives the file up.
	Cache string
	// KeepCache leaves the file under the name Cache.<hash>.tokens, and uses the one of an earlier run.
	KeepCache bool
}

// ChatOptions says how conversations become examples.
type ChatOptions struct {
	// Template is a file with a chat template, or the name of one of the base's; "": the one that the base uses. Where
	// it is given, prompts with completions and questions with answers are turns of a conversation too.
	Template  string
	Arguments map[string]string // more variables of the template, as JSON; what is no JSON is a text
	// TrainOn is what is learned: "assistant", all turns of the assistant, also where ""; "last", the last of them; or
	// "all", the whole text.
	TrainOn string
	// Format is the form of the records, one of DataFormats; "": found by their fields.
	Format string
	// Names of fields, where they are not the usual ones.
	MessagesField, SystemField, ToolsField string
	SkipRefused                            bool // leave out and count conversations that cannot be learned
}

// DataFormats are the forms of records that a program can choose.
func DataFormats() []string { return chat.Formats() }

// encoder makes examples of conversations for a base; nil where it has no tokenizer.
func (opt *DataOptions) encoder(b *attach.Base) (*chat.Encoder, error) {
	o := &opt.Chat
	e := &chat.Encoder{
		Tokenizer: b.Tokenizer, TrainOn: chat.TrainOn(o.TrainOn), Pairs: o.Template != "",
		Fields: chat.Fields{Messages: o.MessagesField, System: o.SystemField, Tools: o.ToolsField,
			Prompt: opt.PromptField, Completion: opt.CompletionField},
	}
	if b.Tokenizer == nil {
		return e, nil
	}
	t, err := b.ChatTemplate(o.Template)
	if err != nil && o.Template != "" {
		return nil, err
	}
	if t != nil {
		t.Arguments = chat.Arguments(o.Arguments)
	}
	e.Template, e.Err = t, err
	return e, nil
}

// Values of DataOptions.Overflow.
const (
	OverflowCut   = string(dataset.OverflowCut)   // a record loses the beginning of its prompt, then its end
	OverflowSplit = string(dataset.OverflowSplit) // it becomes several examples
	OverflowDrop  = string(dataset.OverflowDrop)  // it is left out
	OverflowError = string(dataset.OverflowError) // it is an error
)

// Values of DataOptions.Split.
const (
	SplitTrain      = string(records.Train)
	SplitValidation = string(records.Validation)
	SplitTest       = string(records.Test)
)

// DataSource is a file, a directory with the splits of a data set, or standard input ("-").
type DataSource struct {
	Path string
	// Weight is the share of the source in the examples of an epoch, relative to those of the other sources. 0, for all
	// sources: each gives all its examples.
	Weight float64
}

// files is how files are opened.
func (o *DataOptions) files() records.Options {
	return records.Options{Format: records.Format(o.Format), Stdin: o.Stdin, Read: o.Progress}
}

func (o *DataOptions) split() records.Split { return records.Split(o.Split) }

// LoadData reads a file, the files of a directory, or standard input ("-") in the vocabulary of a base. The files are
// .txt, .jsonl, .json, .csv, .tsv or .parquet, plain or compressed (.gz, .zst). A text is cut into pieces of SeqLen
// tokens. Records have a text, a prompt and a completion, or a question and an answer; of the last two only the
// completion and the answer carry loss. Conversations ("messages", ShareGPT's "conversations", Alpaca's "instruction"
// and "output") are rendered with a chat template; the turns of the assistant carry loss. Errors name the file, the
// place in it, what was found and what was expected.
func LoadData(path string, b *Base, opt DataOptions) (_ *Data, err error) {
	defer mapped.Guard(&err)()
	opt.EvalSplit = 0
	set, _, err := LoadSources([]DataSource{{Path: path}}, b, opt)
	return set, err
}

// LoadSources is LoadData for several sources, of which it holds the share EvalSplit back. Without that share eval is
// nil. Tokenizing runs on all cores.
func LoadSources(sources []DataSource, b *Base, opt DataOptions) (train, eval *Data, err error) {
	defer mapped.Guard(&err)()
	o := attach.DataOptions{
		SeqLen: opt.SeqLen, TextField: opt.TextField, PromptField: opt.PromptField,
		CompletionField: opt.CompletionField, Separator: opt.Separator, Classes: (*attach.Classes)(opt.Classes),
		Overflow: dataset.Overflow(opt.Overflow), Files: opt.files(), Split: opt.split(), EvalSplit: opt.EvalSplit,
		Cache: dataset.Cache{Prefix: opt.Cache, Keep: opt.KeepCache}, PromptTemplate: opt.PromptTemplate,
		Format: chat.Format(opt.Chat.Format), SkipRefused: opt.Chat.SkipRefused,
	}
	if o.Chat, err = opt.encoder(b.base); err != nil {
		return nil, nil, err
	}
	for _, a := range opt.Adapters {
		if classes := a.adapter.Config.Classes; classes != nil {
			o.Classes = classes
		}
		t, err := a.adapter.Template()
		if err != nil {
			return nil, nil, err
		}
		if t != nil {
			o.Template = t
		}
	}
	from := make([]attach.Source, len(sources))
	for i, s := range sources {
		from[i] = attach.Source(s)
	}
	trainSet, evalSet, err := attach.LoadData(from, b.base, o)
	if err == nil && trainSet.Targets() == 0 {
		err = errors.Join(fmt.Errorf("%s: no token carries loss", sources[0].Path), trainSet.Close())
		return nil, nil, err
	}
	return holding(trainSet), holding(evalSet), err
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
func (d *Data) Len() int { return d.set.Len() }

// At is an example. Its slices may be overwritten by the next call.
func (d *Data) At(i int) (Example, error) {
	e, err := d.set.At(i)
	return Example{IDs: e.IDs, Loss: e.Loss, Record: e.Record}, err
}

// Size is the number of tokens of an example, which need not be read for it.
func (d *Data) Size(i int) int { return d.set.Size(i) }

// Tokens is the number of tokens of all examples.
func (d *Data) Tokens() int { return d.set.Tokens() }

// Targets is the number of predicted tokens in all examples.
func (d *Data) Targets() int { return d.set.Targets() }

// Conversations is the number of records that are conversations.
func (d *Data) Conversations() int { return d.set.Counts.Conversations }

// Notes are sentences about what LoadData cut and left out.
func (d *Data) Notes() []string { return d.set.Counts.Notes() }

// Sample is data of at most a number of tokens, in whole examples spread evenly over all.
func (d *Data) Sample(tokens int) (*Data, error) {
	set, err := d.set.Sample(tokens)
	return holding(set), err
}

// CacheFile is the file of token ids that DataOptions.KeepCache leaves; "" where there is none.
func (d *Data) CacheFile() string { return d.set.Kept() }

// Close gives up the file that the token ids are in, where there is one. The data cannot be used any more.
func (d *Data) Close() error { return d.held().Close() }
