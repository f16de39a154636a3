package tokenizer

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"

	"github.com/peftconv/peftconv/internal/infile"
)

// hfConfig is the special tokens in the files beside a tokenizer.json.
type hfConfig struct {
	tokenizer, specialMap hfNames // tokenizer_config.json, special_tokens_map.json
	model, generation     hfIDs   // config.json, generation_config.json
}

type hfNames struct {
	BOS    *hfName `json:"bos_token"`
	EOS    *hfName `json:"eos_token"`
	Unk    *hfName `json:"unk_token"`
	AddBOS *bool   `json:"add_bos_token"`
	AddEOS *bool   `json:"add_eos_token"`
	Class  string  `json:"tokenizer_class"`

	Added map[string]hfAdded `json:"added_tokens_decoder"` // by id
}

// rebuilds are the classes that write the post-processor anew: BOS unless add_bos_token is false, EOS if add_eos_token
// is true.
var rebuilds = map[string]bool{
	"LlamaTokenizer": true, "LlamaTokenizerFast": true, "CodeLlamaTokenizer": true, "CodeLlamaTokenizerFast": true,
	"GemmaTokenizer": true, "GemmaTokenizerFast": true, "CohereTokenizer": true, "CohereTokenizerFast": true,
}

// idsOf is the ids of special tokens. Those without one are found by their text.
func (v *vocab) idsOf(specials []hfSpecial) (ids []int32, err error) {
	for _, s := range specials {
		if s.id == int64(none) {
			s.id = int64(v.id(s.text))
		}
		if s.id < 0 || s.id >= int64(len(v.text)) {
			return nil, fmt.Errorf("the post-processor adds %q, token %d, want one of the %d tokens", s.text, s.id, len(v.text))
		}
		ids = append(ids, int32(s.id))
	}
	return ids, nil
}

type hfIDs struct {
	BOS hfIDList `json:"bos_token_id"`
	EOS hfIDList `json:"eos_token_id"`
}

// hfName is the text of a token, or an object with it.
type hfName string

// UnmarshalJSON reads either form.
func (n *hfName) UnmarshalJSON(data []byte) error {
	if data[0] == '"' {
		return json.Unmarshal(data, (*string)(n))
	}
	var o struct {
		Content string `json:"content"`
	}
	err := json.Unmarshal(data, &o)
	*n = hfName(o.Content)
	return err
}

// hfIDList is a number, several, or null.
type hfIDList []int64

// UnmarshalJSON reads each form.
func (l *hfIDList) UnmarshalJSON(data []byte) error {
	if data[0] == '[' || data[0] == 'n' {
		return json.Unmarshal(data, (*[]int64)(l))
	}
	var id int64
	err := json.Unmarshal(data, &id)
	*l = hfIDList{id}
	return err
}

// readHFConfig reads the files that exist.
func readHFConfig(files fs.FS) (*hfConfig, error) {
	c := &hfConfig{}
	for name, into := range map[string]any{
		"tokenizer_config.json": &c.tokenizer, "special_tokens_map.json": &c.specialMap,
		"config.json": &c.model, "generation_config.json": &c.generation,
	} {
		data, err := infile.ReadIn(files, name, infile.Config)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		if err := json.Unmarshal(data, into); err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
	}
	return c, nil
}

// specials sets the special tokens of t: those that the files name, then those known by their text.
func (c *hfConfig) specials(f *hfFile, t *Tokenizer) error {
	v := t.vocab
	v.fim = []int32{none, none, none}
	before, after := f.template()
	first, last := "", ""
	if len(before) > 0 {
		first = before[len(before)-1].text
	}
	if len(after) > 0 {
		last = after[len(after)-1].text
	}
	var err error
	names := []*hfName{c.tokenizer.BOS, c.specialMap.BOS}
	if v.bos, err = c.find(v, "BOS", names, c.model.BOS, first, v.bos); err != nil {
		return err
	}
	names = []*hfName{c.tokenizer.EOS, c.specialMap.EOS}
	if v.eos, err = c.find(v, "EOS", names, c.model.EOS, last, v.eos); err != nil {
		return err
	}
	if v.unk == none && c.tokenizer.Unk != nil {
		v.unk = v.id(string(*c.tokenizer.Unk))
	}
	if v.unk != none && v.types[v.unk] != typeNormal {
		v.types[v.unk] = typeUnknown
	}
	t.addBOS = first != "" && v.bos != none && v.text[v.bos] == first
	t.addEOS = last != "" && v.eos != none && v.text[v.eos] == last
	if add := c.tokenizer.AddBOS; add != nil {
		t.addBOS = *add && v.bos != none
	}
	if add := c.tokenizer.AddEOS; add != nil {
		t.addEOS = *add && v.eos != none
	}
	if err := c.setAround(t, before, after); err != nil {
		return err
	}
	v.finish()
	for _, ids := range []hfIDList{c.model.EOS, c.generation.EOS} {
		for _, id := range ids {
			if id >= 0 && id < int64(len(v.text)) {
				v.eog[int32(id)] = true
			}
		}
	}
	return nil
}

// setAround sets the special tokens around a text: those of the post-processor, or of the class that replaces it.
func (c *hfConfig) setAround(t *Tokenizer, before, after []hfSpecial) (err error) {
	v := t.vocab
	if !rebuilds[c.tokenizer.Class] {
		if t.before, err = v.idsOf(before); err != nil {
			return err
		}
		t.after, err = v.idsOf(after)
		return err
	}
	if add := c.tokenizer.AddBOS; v.bos != none && (add == nil || *add) {
		t.before = []int32{v.bos}
	}
	if add := c.tokenizer.AddEOS; v.eos != none && add != nil && *add {
		t.after = []int32{v.eos}
	}
	return nil
}

// find is the token that the first of several sources names, or def.
func (c *hfConfig) find(v *vocab, what string, names []*hfName, ids hfIDList, template string,
	def int32) (int32, error) {
	for _, name := range names {
		if name == nil || *name == "" {
			continue
		}
		id := v.id(string(*name))
		if id == none {
			return none, fmt.Errorf("the %s token %q is not in the vocabulary", what, *name)
		}
		return id, nil
	}
	if len(ids) > 0 && ids[0] >= 0 && ids[0] < int64(len(v.text)) {
		return int32(ids[0]), nil
	}
	if template == "" {
		return def, nil
	}
	return v.id(template), nil
}

// template is the special tokens that the post-processor puts before and after a text.
func (f *hfFile) template() (before, after []hfSpecial) {
	for _, p := range flatten(f.PostProcessor, func(s *hfStep) []hfStep { return s.Processors }) {
		switch p.Type {
		case "TemplateProcessing":
			b, a := p.parts()
			before, after = append(b, before...), append(after, a...)
		case "BertProcessing", "RobertaProcessing":
			if p.CLS != nil && p.Sep != nil {
				before, after = append([]hfSpecial{*p.CLS}, before...), append(after, *p.Sep)
			}
		}
	}
	return before, after
}

// parts is the special tokens of a template.
func (s *hfStep) parts() (before, after []hfSpecial) {
	text := false
	for _, part := range s.Single {
		if part.SpecialToken == nil {
			text = true
			continue
		}
		at := &before
		if text {
			at = &after
		}
		name := part.SpecialToken.ID
		ids, ok := s.SpecialTokens[name]
		if !ok {
			ids.IDs = []int64{int64(none)}
		}
		for _, id := range ids.IDs {
			*at = append(*at, hfSpecial{name, id})
		}
	}
	return before, after
}
