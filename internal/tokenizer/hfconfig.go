package tokenizer

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
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
func readHFConfig(dir string) (*hfConfig, error) {
	c := &hfConfig{}
	for name, into := range map[string]any{
		"tokenizer_config.json": &c.tokenizer, "special_tokens_map.json": &c.specialMap,
		"config.json": &c.model, "generation_config.json": &c.generation,
	} {
		path := filepath.Join(dir, name)
		data, err := os.ReadFile(path)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		if err := json.Unmarshal(data, into); err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
	}
	return c, nil
}

// specials sets the special tokens of t: those that the files name, then those known by their text.
func (c *hfConfig) specials(f *hfFile, t *Tokenizer) error {
	v := t.vocab
	v.fim = []int32{none, none, none}
	first, last := f.template()
	var err error
	if v.bos, err = c.find(v, "BOS", []*hfName{c.tokenizer.BOS, c.specialMap.BOS}, c.model.BOS, first); err != nil {
		return err
	}
	if v.eos, err = c.find(v, "EOS", []*hfName{c.tokenizer.EOS, c.specialMap.EOS}, c.model.EOS, last); err != nil {
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
	v.finish()
	for _, ids := range []hfIDList{c.model.EOS, c.generation.EOS} {
		for _, id := range ids {
			if id >= 0 && id < int64(len(v.text)) {
				v.eog[int32(id)] = true
			}
		}
	}
	t.setHFStrips(f)
	return nil
}

// find is the token that the first of several sources names.
func (c *hfConfig) find(v *vocab, what string, names []*hfName, ids hfIDList, template string) (int32, error) {
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
	return v.id(template), nil
}

// template is the special tokens that the post-processor puts before and after a text.
func (f *hfFile) template() (first, last string) {
	for _, p := range flatten(f.PostProcessor, func(s *hfStep) []hfStep { return s.Processors }) {
		if p.Type != "TemplateProcessing" {
			continue
		}
		text := false
		for _, part := range p.Single {
			switch {
			case part.SpecialToken == nil:
				text = true
			case text:
				last = part.SpecialToken.ID
			default:
				first = part.SpecialToken.ID
			}
		}
	}
	return first, last
}

// setHFStrips enters the added tokens that swallow white space.
func (t *Tokenizer) setHFStrips(f *hfFile) {
	t.lstrip, t.rstrip = map[int32]bool{}, map[int32]bool{}
	for _, a := range f.Added {
		id := t.vocab.id(a.Content)
		t.lstrip[id], t.rstrip[id] = a.LStrip, a.RStrip
	}
}
