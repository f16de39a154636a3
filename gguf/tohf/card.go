package tohf

import (
	"encoding/json"
	"fmt"
	"strings"

	"github.com/peftconv/peftconv/gguf"
)

// modelCard is a README.md with the front matter that the file's general.* values say, nil where they say nothing.
func modelCard(meta *gguf.Metadata) []byte {
	var b strings.Builder
	one := func(name, key string) {
		if v, ok := meta.String(key); ok && v != "" {
			fmt.Fprintf(&b, "%s: %s\n", name, quoted(v))
		}
	}
	list := func(name string, values []string) {
		if len(values) == 0 {
			return
		}
		fmt.Fprintf(&b, "%s:\n", name)
		for _, v := range values {
			fmt.Fprintf(&b, "- %s\n", quoted(v))
		}
	}
	one("license", "general.license")
	one("license_name", "general.license.name")
	one("license_link", "general.license.link")
	// These are no keys of the Hub; a conversion back to GGUF reads them.
	one("model_name", "general.name")
	for key := range strings.FieldsSeq("author version organization description finetune basename size_label") {
		one(key, "general."+key)
	}
	languages, _ := meta.Strings("general.languages")
	list("language", languages)
	list("base_model", sources(meta, "general.base_model"))
	list("datasets", sources(meta, "general.dataset"))
	tags, _ := meta.Strings("general.tags")
	list("tags", tags)
	name, _ := meta.String("general.name")
	if b.Len() == 0 && name == "" {
		return nil
	}
	text := ""
	if b.Len() > 0 {
		text = "---\n" + b.String() + "---\n\n"
	}
	if name != "" {
		text += "# " + strings.Join(strings.Fields(name), " ") + "\n\n"
	}
	return []byte(text + "Converted from GGUF by peftconv.\n")
}

// sources are the ids, or the names, of the models or sets of data that a file lists.
func sources(meta *gguf.Metadata, key string) (ids []string) {
	count, _ := meta.Uint(key + ".count")
	for i := range min(count, 100) {
		at := fmt.Sprintf("%s.%d.", key, i)
		if url, _ := meta.String(at + "repo_url"); url != "" {
			parts := strings.Split(strings.TrimSuffix(url, "/"), "/")
			ids = append(ids, strings.Join(parts[max(0, len(parts)-2):], "/"))
		} else if name, _ := meta.String(at + "name"); name != "" {
			ids = append(ids, name)
		}
	}
	return ids
}

// quoted is a text in YAML, which takes the strings of JSON.
func quoted(text string) string {
	plain := strings.IndexFunc(text, func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && !strings.ContainsRune("-._/", r)
	}) < 0
	first := text[:min(1, len(text))]
	if plain && strings.ContainsAny(first, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ") && len(text) > 3 {
		return text
	}
	b, err := json.Marshal(text)
	if err != nil {
		panic("tohf: a text that is no JSON: " + err.Error())
	}
	return string(b)
}
