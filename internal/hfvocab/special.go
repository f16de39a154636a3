package hfvocab

import "slices"

// specials are the special tokens of a vocabulary, as the files name them.
type specials struct {
	names []string // of the tokens that are looked for
	texts map[string]any
	ids   []namedID
	flags []namedFlag
}

// namedID is the id of a special token.
type namedID struct {
	name string
	id   int
}

// namedFlag says whether a special token is put around texts.
type namedFlag struct {
	name string
	on   bool
}

// set enters an id, unless one is known or this is none; limit is the size of the vocabulary, 0 where it is not asked.
func (s *specials) set(name string, id, limit int) {
	known := slices.ContainsFunc(s.ids, func(n namedID) bool { return n.name == name })
	if !known && id >= 0 && (limit == 0 || id < limit) {
		s.ids = append(s.ids, namedID{name, id})
	}
}

// flag enters a flag. A known one keeps its place.
func (s *specials) flag(name string, on bool) {
	for i := range s.flags {
		if s.flags[i].name == name {
			s.flags[i].on = on
			return
		}
	}
	s.flags = append(s.flags, namedFlag{name, on})
}

// readSpecials finds the special tokens as llama.cpp's converter does: what is put around texts by the post-processor
// of tokenizer.json and by tokenizer_config.json, ids by the texts in the latter, and those still missing by
// config.json.
func (f *files) readSpecials(limit int) *specials {
	s := &specials{names: slices.Clone(namedTokens), texts: map[string]any{}}
	for key, value := range f.config {
		s.texts[key] = value
	}
	var added []addedToken
	if f.tokenizer != nil && !f.made {
		added = f.tokenizer.Added
		s.postProcessor(f)
	}
	if f.config != nil {
		for _, name := range s.names {
			if on, ok := s.texts["add_"+name+"_token"].(bool); ok {
				s.flag(name, on)
			}
			text := textOf(s.texts[name+"_token"])
			i := slices.IndexFunc(added, func(t addedToken) bool { return t.Content == text })
			if text != "" && i >= 0 {
				s.set(name, int(added[i].ID), limit)
			}
		}
	}
	text, _ := f.model["text_config"].(map[string]any)
	for _, name := range s.names {
		for _, config := range []map[string]any{f.model, text} {
			if value := config[name+"_token_id"]; value != nil {
				if id, ok := whole(value); ok {
					s.set(name, id, limit)
				}
				break
			}
		}
	}
	return s
}

// absent is true of a special token that a file does not name: it may name it and say null or "".
func absent(v any) bool {
	switch v := v.(type) {
	case string:
		return v == ""
	case map[string]any:
		return len(v) == 0
	}
	return v == nil
}

// is reports whether a special token is the one of this text. Objects never are: that is the converter's way, and it
// decides below which of two names a token gets.
func is(v any, text string) bool {
	s, ok := v.(string)
	return ok && s == text
}

// postProcessor reads which special tokens a post-processor puts around texts.
func (s *specials) postProcessor(f *files) {
	if absent(s.texts["bos_token"]) && !absent(s.texts["cls_token"]) {
		s.texts["bos_token"] = s.texts["cls_token"]
	}
	if absent(s.texts["eos_token"]) && !absent(s.texts["sep_token"]) {
		s.texts["eos_token"] = s.texts["sep_token"]
	}
	post := f.tokenizer.PostProcessor
	if post == nil {
		return
	}
	steps := post.Processors
	if post.Processors == nil {
		steps = []step{*post}
	}
	for _, p := range steps {
		switch p.Type {
		case "RobertaProcessing":
			s.roberta(&p)
		case "TemplateProcessing":
			first, last := s.single(p.Single, f.config != nil)
			s.pair(p.Pair, first, last)
		}
	}
}

// roberta reads RobertaProcessing.
func (s *specials) roberta(p *step) {
	for _, name := range []string{"bos", "eos", "sep"} {
		s.flag(name, true)
	}
	if absent(s.texts["cls_token"]) && len(p.CLS) > 0 {
		s.texts["cls_token"] = p.CLS[0]
	}
	if absent(s.texts["sep_token"]) && len(p.SEP) > 0 {
		s.texts["sep_token"] = p.SEP[0]
	}
}

// single reads the template of one text and returns the special tokens at its ends, "" where there are none. A leading
// one becomes BOS or CLS where these have no text, a trailing one EOS, and the EOS before it the end of a turn.
func (s *specials) single(parts []templatePart, config bool) (first, last string) {
	if len(parts) < 2 {
		return "", ""
	}
	if first = parts[0].special(); first != "" {
		known := is(s.texts["bos_token"], first) || is(s.texts["cls_token"], first)
		for _, key := range []string{"bos_token", "cls_token"} {
			if !known && absent(s.texts[key]) {
				s.texts[key] = first
			}
		}
		s.flag("bos", is(s.texts["bos_token"], first) || is(s.texts["cls_token"], first))
	}
	if last = parts[len(parts)-1].special(); last != "" {
		if config && !is(s.texts["eos_token"], last) {
			for _, name := range []string{"eot", "eom"} {
				if !slices.Contains(s.names, name) {
					s.names = append(s.names, name)
					s.texts[name+"_token"] = s.texts["eos_token"]
					break
				}
			}
		}
		s.texts["eos_token"] = last
		s.flag("eos", true)
	}
	return first, last
}

// pair reads from the template of two texts whether a separator stands between them: A [sep] [eos] B.
func (s *specials) pair(parts []templatePart, first, last string) {
	if len(parts) > 0 && first != "" && parts[0].special() == first {
		parts = parts[1:]
	}
	if len(parts) > 0 && last != "" && parts[len(parts)-1].special() == last {
		parts = parts[:len(parts)-1]
	}
	if len(parts) < 3 || parts[0].sequence() != "A" || parts[len(parts)-1].sequence() != "B" {
		return
	}
	parts = parts[1 : len(parts)-1]
	ends := func(p templatePart) bool {
		text := p.special()
		return text != "" && (is(s.texts["sep_token"], text) || is(s.texts["eos_token"], text))
	}
	on := ends(parts[0]) && last == "" || len(parts) == 2 && ends(parts[1])
	s.flag("sep", on)
	if on && absent(s.texts["sep_token"]) {
		s.texts["sep_token"] = s.texts["eos_token"]
	}
}
