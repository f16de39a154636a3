package hfvocab

import (
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"

	"github.com/peftconv/peftconv/internal/arch"
)

// chatTemplate is a template and its name, "default" for the one that is used where none is named.
type chatTemplate struct{ name, text string }

// defaultTemplate is the name of the template that is used where none is named.
const defaultTemplate = "default"

// readTemplates finds the chat templates: in tokenizer_config.json, in files of their own, or in chat_template.json.
// Without a tokenizer_config.json there are none, but beside a tekken.json, which never has one.
func (f *files) readTemplates(source arch.VocabularySource) ([]chatTemplate, error) {
	if f.config == nil && source != arch.Tekken {
		return nil, nil
	}
	given := f.config["chat_template"]
	if given == nil && f.has(templateFile) {
		return f.templateFiles()
	}
	if given == nil {
		var file map[string]any
		if _, err := f.readJSON(templateJSONFile, &file); err != nil {
			return nil, err
		}
		given = file["chat_template"]
	}
	switch given := given.(type) {
	case nil:
		return nil, nil
	case string:
		return []chatTemplate{{defaultTemplate, given}}, nil
	case []any:
		return listedTemplates(given)
	}
	return nil, fmt.Errorf("%s: chat_template is a %T, expected a text or a list of them with names",
		tokenizerConfigFile, given)
}

// listedTemplates are the templates of a list of objects with a name and a template.
func listedTemplates(list []any) ([]chatTemplate, error) {
	var all []chatTemplate
	for i, item := range list {
		object, _ := item.(map[string]any)
		name, hasName := object["name"].(string)
		text, hasText := object["template"].(string)
		if !hasName || !hasText {
			return nil, fmt.Errorf("%s: chat template %d has no name or no template", tokenizerConfigFile, i)
		}
		all = append(all, chatTemplate{name, text})
	}
	return all, nil
}

// templateFiles are the templates in files of their own.
func (f *files) templateFiles() ([]chatTemplate, error) {
	text, err := f.readText(templateFile)
	if err != nil {
		return nil, err
	}
	all := []chatTemplate{{defaultTemplate, text}}
	more, err := fs.Glob(f.FS, templatesFolder+"/*.jinja")
	if err != nil {
		return nil, err
	}
	slices.Sort(more)
	for _, name := range more {
		text, err := f.readText(name)
		if err != nil {
			return nil, err
		}
		all = append(all, chatTemplate{strings.TrimSuffix(path.Base(name), ".jinja"), text})
	}
	return all, nil
}

// templateKey is a name that a key may hold: letters, digits and "_".
func templateKey(name string) string {
	return strings.Map(func(r rune) rune {
		if r < 0x80 && (r >= '0' && r <= '9' || r >= 'A' && r <= 'Z' || r >= 'a' && r <= 'z') {
			return r
		}
		return '_'
	}, name)
}

// ChatTemplates are the chat templates of a Hugging Face directory by their names; "" is the one that is used where
// none is named. A directory without any gives an empty map.
func ChatTemplates(dir fs.FS) (map[string]string, error) {
	f := &files{FS: dir}
	if _, err := f.readJSON(tokenizerConfigFile, &f.config); err != nil {
		return nil, err
	}
	all, err := f.readTemplates(arch.Tekken) // which needs no tokenizer_config.json
	if err != nil {
		return nil, err
	}
	out := map[string]string{}
	for _, t := range all {
		if t.name == defaultTemplate {
			t.name = ""
		}
		out[t.name] = t.text
	}
	return out, nil
}
