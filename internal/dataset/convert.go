package dataset

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/peftconv/peftconv/internal/chat"
	"github.com/peftconv/peftconv/internal/records"
	"github.com/peftconv/peftconv/internal/tokenizer"
)

// converter turns texts and records into examples. It is safe for concurrent use.
type converter struct {
	tok     *tokenizer.Tokenizer
	opt     Options
	vocab   int
	bos     []int32   // one id or none
	eos     []int32   // likewise; of texts see textEOS
	answers [][]int32 // the tokens of each class's label, where labels are predicted as words
}

// made is what becomes of some records.
type made struct {
	examples []Example
	counts   Counts
	number   int // of the record being read, among those of its batch
}

func newConverter(tok *tokenizer.Tokenizer, opt Options) (*converter, error) {
	c := &converter{tok: tok, opt: opt, vocab: opt.VocabSize}
	if opt.Chat == nil {
		c.opt.Chat = &chat.Encoder{Tokenizer: tok}
	}
	switch {
	case opt.SeqLen < 2:
		return nil, fmt.Errorf("sequences of %d tokens, want at least 2", opt.SeqLen)
	case (opt.PromptField == "") != (opt.CompletionField == "") && opt.Format == "" && opt.PromptTemplate == "":
		return nil, errors.New("name the fields of both prompt and completion, or of neither")
	case opt.TextField != "" && opt.PromptField != "":
		return nil, errors.New("name a text field, or fields of prompt and completion, not both")
	case tok == nil && c.vocab == 0:
		return nil, errors.New("neither a tokenizer nor the size of a vocabulary")
	case tok == nil:
		return c, nil
	}
	if c.vocab == 0 {
		c.vocab = tok.Size()
	}
	if id, ok := tok.BOS(); ok && tok.AddBOS() {
		c.bos = []int32{id}
	}
	id, ok := tok.EOS()
	if ok && opt.EOS.or(true) {
		c.eos = []int32{id}
	}
	if !ok && opt.EOS == Yes {
		return nil, errors.New("texts must end with EOS, but the vocabulary has none")
	}
	if opt.Classes != nil {
		return c, c.classes()
	}
	return c, nil
}

// textEOS is what ends a text file.
func (c *converter) textEOS() []int32 {
	if c.opt.EOS == Yes {
		return c.eos
	}
	return nil
}

// needTokenizer is an error where there is none.
func (c *converter) needTokenizer() error {
	if c.tok == nil {
		return errors.New(`text needs a tokenizer, and the base model has none; give "input_ids"`)
	}
	return nil
}

// checkText is an error where a text file cannot be used.
func (c *converter) checkText() error {
	if c.opt.Classes != nil {
		return errors.New("a text; classes need records with fields (.jsonl, .json, .csv, .tsv or .parquet)")
	}
	return c.needTokenizer()
}

// record adds the examples of a record.
func (m *made) record(c *converter, r *records.Object) error {
	m.counts.Records++
	before, left := len(m.examples), m.counts.TooLong+m.counts.Refused
	err := m.formed(c, r)
	for i := before; i < len(m.examples); i++ {
		m.examples[i].Record = m.number
	}
	if err == nil && len(m.examples) == before && m.counts.TooLong+m.counts.Refused == left {
		m.counts.Dropped++
	}
	return err
}

// formed adds the examples of a record of any form.
func (m *made) formed(c *converter, r *records.Object) error {
	switch {
	case c.opt.Classes != nil:
		return m.classRecord(c, r)
	case c.opt.Template != nil:
		return m.templateRecord(c, r)
	case c.opt.PromptTemplate != "":
		return m.filledRecord(c, r)
	case c.opt.TextField != "":
		return m.textRecord(c, r, c.opt.TextField)
	}
	format, fields, err := c.format(r)
	if err != nil {
		return err
	}
	if fields != nil {
		return m.chatRecord(c, fields, format)
	}
	switch format {
	case chat.IDs:
		return m.idsRecord(c, r)
	case chat.Text:
		return m.textRecord(c, r, "text")
	case chat.Completion:
		return m.promptRecord(c, r, cmp.Or(c.opt.PromptField, "prompt"), cmp.Or(c.opt.CompletionField, "completion"))
	case chat.Question:
		return m.promptRecord(c, r, cmp.Or(c.opt.PromptField, "question"), cmp.Or(c.opt.CompletionField, "answer"))
	}
	return fmt.Errorf("records of the form %q are not known, want %s", format, strings.Join(chat.Formats(), ", "))
}

// overflows deals with a sequence of some tokens that may be too long, BOS included, where it has to be left out or is
// an error. Then it is left.
func (m *made) overflows(c *converter, tokens int) (left bool, err error) {
	if tokens <= c.opt.SeqLen {
		return false, nil
	}
	switch c.opt.Overflow {
	case OverflowDrop:
		m.counts.TooLong++
		return true, nil
	case OverflowError:
		return true, fmt.Errorf("%d tokens, more than the sequence length of %d; make that longer, or have such records "+
			"cut, split or dropped (--seq-len, --overflow)", tokens, c.opt.SeqLen)
	}
	return false, nil
}

// split adds a sequence that begins after BOS in pieces of the length of a sequence, each after BOS. Pieces without a
// predicted token are left out. A nil loss is of a text, all of which is predicted.
func (m *made) split(c *converter, ids []int32, loss []bool) {
	room := c.opt.SeqLen - len(c.bos)
	if len(ids) > room {
		m.counts.Split++
	}
	for from := 0; from < len(ids); from += room {
		to := min(from+room, len(ids))
		e := Example{IDs: concat(c.bos, ids[from:to])}
		if loss != nil {
			e.Loss = concat(make([]bool, len(c.bos)), loss[from:to])
		}
		if len(e.IDs) >= 2 && e.Targets() > 0 {
			m.examples = append(m.examples, e)
		}
	}
}

// concat is two slices end to end, in memory of their own.
func concat[E any](a, b []E) []E { return append(append(make([]E, 0, len(a)+len(b)), a...), b...) }

// textRecord adds a text, in several pieces if it is long.
func (m *made) textRecord(c *converter, r *records.Object, field string) error {
	text, err := r.Text(field)
	if err != nil || text == "" {
		return err
	}
	if err := c.needTokenizer(); err != nil {
		return err
	}
	ids := append(c.tok.Encode(text, c.opt.Special.or(true)), c.eos...)
	if left, err := m.overflows(c, len(c.bos)+len(ids)); left || err != nil {
		return err
	}
	if room := c.opt.SeqLen - len(c.bos); c.opt.Overflow == OverflowCut && len(ids) > room {
		m.counts.CutTexts++
		ids = ids[:room]
	}
	m.split(c, ids, nil)
	return nil
}

// promptRecord adds a prompt and its completion.
func (m *made) promptRecord(c *converter, r *records.Object, promptField, completionField string) error {
	prompt, err := r.Text(promptField)
	if err != nil {
		return err
	}
	completion, err := r.Text(completionField)
	if err != nil || completion == "" {
		return err
	}
	if err := c.needTokenizer(); err != nil {
		return err
	}
	if prompt != "" {
		prompt += c.separator(promptField, completionField)
	}
	special := c.opt.Special.or(true)
	before := c.tok.Encode(prompt, special)
	var after []int32
	if prompt == "" {
		after = c.tok.Encode(completion, special)
	} else {
		after = c.tok.EncodeContinuation(completion, special)
	}
	return m.prompted(c, before, append(after, c.eos...))
}

func (c *converter) separator(promptField, completionField string) string {
	switch {
	case c.opt.Separator != nil:
		return *c.opt.Separator
	case promptField == "prompt" && completionField == "completion":
		return ""
	}
	return "\n"
}

// prompted adds BOS, a prompt and the predicted tokens after it, cut to the length of a sequence.
func (m *made) prompted(c *converter, prompt, completion []int32) error {
	if left, err := m.overflows(c, len(c.bos)+len(prompt)+len(completion)); left || err != nil {
		return err
	}
	room := c.opt.SeqLen - len(c.bos)
	if len(prompt)+len(completion) > room {
		if c.opt.Overflow == OverflowSplit && c.opt.Template == nil && c.opt.Classes == nil {
			m.split(c, concat(prompt, completion), lastOf(len(prompt)+len(completion), len(completion)))
			return nil
		}
		keep := max(room-len(completion), min(len(prompt), c.opt.SeqLen/4))
		if keep < len(prompt) {
			m.counts.CutPrompts++
			prompt = cutPrompt(prompt, len(prompt)-keep)
		}
		if rest := room - len(prompt); rest < len(completion) {
			m.counts.CutCompletions++
			completion = completion[:max(rest, 0)]
		}
	}
	ids := concat(concat(c.bos, prompt), completion)
	targets := min(len(completion), len(ids)-1) // nothing predicts the first token
	if targets > 0 {
		m.examples = append(m.examples, Example{IDs: ids, Loss: lastOf(len(ids), targets)})
	}
	return nil
}

// lastOf is n flags, the last few of them set.
func lastOf(n, last int) []bool {
	flags := make([]bool, n)
	for i := n - last; i < n; i++ {
		flags[i] = true
	}
	return flags
}

// ignoredLabel is the label of a token without loss.
const ignoredLabel = -100

// idsRecord adds ready-made ids. A token that attention_mask hides is padding and is left out.
func (m *made) idsRecord(c *converter, r *records.Object) error {
	ids, err := r.Integers("input_ids")
	if err != nil {
		return err
	}
	beside := map[string][]int64{}
	for _, name := range []string{"labels", "attention_mask"} {
		if !r.Has(name) {
			continue
		}
		if beside[name], err = r.Integers(name); err != nil {
			return err
		}
		if len(beside[name]) != len(ids) {
			return fmt.Errorf("%q has %d numbers, %q has %d; want as many", name, len(beside[name]), "input_ids", len(ids))
		}
	}
	kept, loss, err := c.checkIDs(ids, beside["labels"], beside["attention_mask"])
	if err != nil {
		return err
	}
	if beside["labels"] == nil {
		loss = nil
	}
	return m.ready(c, kept, loss)
}

// ready adds a sequence that is whole, with its BOS where it has one. A nil loss is of one that is predicted but for
// its first token.
func (m *made) ready(c *converter, ids []int32, loss []bool) error {
	if left, err := m.overflows(c, len(ids)); left || err != nil {
		return err
	}
	if len(ids) > c.opt.SeqLen && c.opt.Overflow == OverflowSplit {
		whole := *c
		whole.bos = nil
		m.split(&whole, ids, loss)
		return nil
	}
	if n := c.opt.SeqLen; len(ids) > n {
		m.counts.CutIDs++
		ids = ids[:n]
		if loss != nil {
			loss = loss[:n]
		}
	}
	if e := (Example{IDs: slices.Clip(ids), Loss: slices.Clip(loss)}); len(ids) >= 2 && e.Targets() > 0 {
		m.examples = append(m.examples, e)
	}
	return nil
}

// checkIDs checks ids against the vocabulary and labels against ids, and removes masked tokens.
func (c *converter) checkIDs(ids, labels, mask []int64) (kept []int32, loss []bool, err error) {
	for i, id := range ids {
		if id < 0 || id >= int64(c.vocab) {
			return nil, nil, fmt.Errorf("input_ids[%d] is %d, beyond the vocabulary of %d", i, id, c.vocab)
		}
		if labels != nil && labels[i] != ignoredLabel && labels[i] != id {
			return nil, nil, fmt.Errorf("labels[%d] is %d, want %d (the token itself) or %d (no loss)", i, labels[i], id,
				ignoredLabel)
		}
		if mask != nil && mask[i] == 0 {
			continue
		}
		kept = append(kept, int32(id))
		loss = append(loss, labels == nil || labels[i] != ignoredLabel)
	}
	return kept, loss, nil
}

// templateRecord adds a record with the template.
func (m *made) templateRecord(c *converter, r *records.Object) error {
	if err := c.needTokenizer(); err != nil {
		return err
	}
	t, special := c.opt.Template, c.opt.Special.or(true)
	fields := t.Fields()
	completion, err := r.Text(fields[len(fields)-1])
	if err != nil || completion == "" {
		return err
	}
	prompt, err := t.Prompt(c.tok, special, r.Text)
	if err != nil {
		return err
	}
	encode := c.tok.Encode
	if t.Continues(prompt) {
		encode = c.tok.EncodeContinuation
	}
	return m.prompted(c, prompt, append(encode(completion, special), c.eos...))
}

// cutPrompt removes n tokens from the beginning of a prompt, but no virtual ones.
func cutPrompt(prompt []int32, n int) []int32 {
	out := make([]int32, 0, len(prompt))
	for _, id := range prompt {
		if id >= 0 && n > 0 {
			n--
			continue
		}
		out = append(out, id)
	}
	return out
}
