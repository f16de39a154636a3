package dataset

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"unicode/utf8"
)

// record is one line of a .jsonl.
type record map[string]json.RawMessage

func (l *loader) records() error {
	err := lines(l.path, func(_ int, line []byte) error {
		l.set.Counts.Records++
		return l.record(line)
	})
	if err == nil && l.set.Counts.Records == 0 {
		err = fmt.Errorf("%s: the file is empty", l.path)
	}
	return err
}

func (l *loader) record(line []byte) error {
	r, err := parseRecord(line)
	if err != nil {
		return err
	}
	before := len(l.set.Examples)
	switch {
	case l.opt.Classes != nil:
		err = l.classRecord(r)
	case l.opt.Template != nil:
		err = l.templateRecord(r)
	case l.opt.TextField != "":
		err = l.textRecord(r, l.opt.TextField)
	case l.opt.PromptField != "":
		err = l.promptRecord(r, l.opt.PromptField, l.opt.CompletionField)
	case r.has("input_ids"):
		err = l.idsRecord(r)
	case r.has("text"):
		err = l.textRecord(r, "text")
	case r.has("prompt", "completion"):
		err = l.promptRecord(r, "prompt", "completion")
	case r.has("question", "answer"):
		err = l.promptRecord(r, "question", "answer")
	case r.has("messages"):
		err = errors.New(`chat data ("messages") needs the model's chat template, which cannot be applied yet; give "prompt" and "completion" with the template filled in`)
	default:
		err = fmt.Errorf(`want "text", "prompt" and "completion", "question" and "answer", or "input_ids"; the fields are %s`,
			r.fields())
	}
	if err == nil && len(l.set.Examples) == before {
		l.set.Counts.Dropped++
	}
	return err
}

func parseRecord(line []byte) (record, error) {
	if at := invalidUTF8(line); at >= 0 {
		return nil, fmt.Errorf("byte %d of the line (%#02x) is not UTF-8", at+1, line[at])
	}
	var r record
	err := json.Unmarshal(line, &r)
	var syntax *json.SyntaxError
	switch {
	case err == nil && r != nil:
		return r, nil
	case errors.As(err, &syntax) && line[0] == '[':
		return nil, errors.New("a JSON array over several lines; want one object a line (jq -c '.[]' makes that)")
	case errors.As(err, &syntax):
		return nil, fmt.Errorf(`not JSON: %w at byte %d; want one object a line, such as {"text": "…"}`, syntax,
			syntax.Offset)
	case line[0] == '[':
		return nil, errors.New("a JSON array; want one object a line (jq -c '.[]' makes that)")
	}
	return nil, fmt.Errorf("%s; want one object a line", describe(line))
}

// invalidUTF8 is the place of the first byte that is not UTF-8, or -1.
func invalidUTF8(b []byte) int {
	for at := 0; at < len(b); {
		if b[at] < utf8.RuneSelf {
			at++
			continue
		}
		r, n := utf8.DecodeRune(b[at:])
		if r == utf8.RuneError && n == 1 {
			return at
		}
		at += n
	}
	return -1
}

func (r record) has(names ...string) bool {
	for _, n := range names {
		if _, ok := r[n]; !ok {
			return false
		}
	}
	return true
}

func (r record) fields() string { return list(slices.Sorted(maps.Keys(r))) }

// text is the string in a field.
func (r record) text(name string) (string, error) {
	raw, ok := r[name]
	if !ok {
		return "", fmt.Errorf("no field %q; the fields are %s", name, r.fields())
	}
	var s *string
	if err := json.Unmarshal(raw, &s); err != nil || s == nil {
		return "", fmt.Errorf("field %q is %s, want a string", name, describe(raw))
	}
	return *s, nil
}

// numbers is the array of integers in a field.
func (r record) numbers(name string) ([]int64, error) {
	var out []int64
	if err := json.Unmarshal(r[name], &out); err != nil || out == nil {
		return nil, fmt.Errorf("field %q is %s, want an array of integers", name, describe(r[name]))
	}
	return out, nil
}

// describe names the kind of a JSON value.
func describe(raw []byte) string {
	switch raw[0] {
	case '"':
		return "a string"
	case '{':
		return "an object"
	case '[':
		return "an array"
	case 't', 'f':
		return "a truth value"
	case 'n':
		return "null"
	}
	return "a number"
}

// textRecord adds a text, in several pieces if it is long.
func (l *loader) textRecord(r record, field string) error {
	text, err := r.text(field)
	if err != nil || text == "" {
		return err
	}
	if err := l.needTokenizer(); err != nil {
		return err
	}
	if l.pieces(append(l.tok.Encode(text, l.opt.Special.or(true)), l.eos...)) > 1 {
		l.set.Counts.Split++
	}
	return nil
}

// promptRecord adds a prompt and its completion.
func (l *loader) promptRecord(r record, promptField, completionField string) error {
	prompt, err := r.text(promptField)
	if err != nil {
		return err
	}
	completion, err := r.text(completionField)
	if err != nil || completion == "" {
		return err
	}
	if err := l.needTokenizer(); err != nil {
		return err
	}
	if prompt != "" {
		prompt += l.separator(promptField, completionField)
	}
	special := l.opt.Special.or(true)
	before := l.tok.Encode(prompt, special)
	var after []int32
	if prompt == "" {
		after = l.tok.Encode(completion, special)
	} else {
		after = l.tok.EncodeContinuation(completion, special)
	}
	l.prompted(before, append(after, l.eos...))
	return nil
}

func (l *loader) separator(promptField, completionField string) string {
	switch {
	case l.opt.Separator != nil:
		return *l.opt.Separator
	case promptField == "prompt" && completionField == "completion":
		return ""
	}
	return "\n"
}

// prompted adds BOS, a prompt and the predicted tokens after it, cut to the length of a sequence.
func (l *loader) prompted(prompt, completion []int32) {
	room := l.opt.SeqLen - len(l.bos)
	if len(prompt)+len(completion) > room {
		keep := max(room-len(completion), min(len(prompt), l.opt.SeqLen/4))
		if keep < len(prompt) {
			l.set.Counts.CutPrompts++
			prompt = cutPrompt(prompt, len(prompt)-keep)
		}
		if rest := room - len(prompt); rest < len(completion) {
			l.set.Counts.CutCompletions++
			completion = completion[:rest]
		}
	}
	ids := l.memory.ids(l.bos, prompt, completion)
	targets := min(len(completion), len(ids)-1) // nothing predicts the first token
	if targets > 0 {
		l.set.Examples = append(l.set.Examples, Example{IDs: ids, Loss: l.memory.loss(len(ids), targets)})
	}
}

// ignoredLabel is the label of a token without loss.
const ignoredLabel = -100

// idsRecord adds ready-made ids. A token that attention_mask hides is padding and is left out.
func (l *loader) idsRecord(r record) error {
	ids, err := r.numbers("input_ids")
	if err != nil {
		return err
	}
	beside := map[string][]int64{}
	for _, name := range []string{"labels", "attention_mask"} {
		if !r.has(name) {
			continue
		}
		if beside[name], err = r.numbers(name); err != nil {
			return err
		}
		if len(beside[name]) != len(ids) {
			return fmt.Errorf("%q has %d numbers, %q has %d; want as many", name, len(beside[name]), "input_ids", len(ids))
		}
	}
	kept, loss, err := l.checkIDs(ids, beside["labels"], beside["attention_mask"])
	if err != nil {
		return err
	}
	if len(kept) > l.opt.SeqLen {
		l.set.Counts.CutIDs++
		kept, loss = kept[:l.opt.SeqLen], loss[:l.opt.SeqLen]
	}
	e := Example{IDs: l.memory.ids(kept)}
	if beside["labels"] != nil {
		e.Loss = l.memory.loss(len(kept), 0)
		copy(e.Loss, loss)
	}
	if len(kept) >= 2 && e.Targets() > 0 {
		l.set.Examples = append(l.set.Examples, e)
	}
	return nil
}

// checkIDs checks ids against the vocabulary and labels against ids, and removes masked tokens.
func (l *loader) checkIDs(ids, labels, mask []int64) (kept []int32, loss []bool, err error) {
	for i, id := range ids {
		if id < 0 || id >= int64(l.vocab) {
			return nil, nil, fmt.Errorf("input_ids[%d] is %d, beyond the vocabulary of %d", i, id, l.vocab)
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
func (l *loader) templateRecord(r record) error {
	if err := l.needTokenizer(); err != nil {
		return err
	}
	t, special := l.opt.Template, l.opt.Special.or(true)
	fields := t.Fields()
	completion, err := r.text(fields[len(fields)-1])
	if err != nil || completion == "" {
		return err
	}
	prompt, err := t.Prompt(l.tok, special, r.text)
	if err != nil {
		return err
	}
	encode := l.tok.Encode
	if t.Continues(prompt) {
		encode = l.tok.EncodeContinuation
	}
	l.prompted(prompt, append(encode(completion, special), l.eos...))
	return nil
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
