package attach

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/peftconv/peftconv/gguf"
	"github.com/peftconv/peftconv/internal/chat"
	"github.com/peftconv/peftconv/internal/tokenizer"
)

// chatTokenizer is a vocabulary of a few tokens.
func chatTokenizer(t *testing.T) (*gguf.Metadata, *tokenizer.Tokenizer) {
	t.Helper()
	meta := &gguf.Metadata{}
	for key, value := range map[string]any{
		"tokenizer.ggml.model": "llama", "tokenizer.ggml.tokens": []string{"<unk>", "<s>", "</s>", "<|im_end|>", "a"},
		"tokenizer.ggml.token_type": []int32{2, 3, 3, 3, 1}, "tokenizer.ggml.scores": make([]float32, 5),
		"tokenizer.ggml.bos_token_id": uint32(1), "tokenizer.ggml.eos_token_id": uint32(3),
		"tokenizer.chat_template":          "default {{ bos_token }}{{ eos_token }}",
		"tokenizer.chat_templates":         []string{"rag", "tool_use"},
		"tokenizer.chat_template.rag":      "rag",
		"tokenizer.chat_template.tool_use": "tools",
	} {
		if err := meta.Set(key, value); err != nil {
			t.Fatal(err)
		}
	}
	tok, err := tokenizer.FromGGUF(meta)
	if err != nil {
		t.Fatal(err)
	}
	return meta, tok
}

func TestChatTemplate(t *testing.T) {
	meta, tok := chatTokenizer(t)
	dir := t.TempDir()
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		return path
	}
	write("tokenizer_config.json", `{"chat_template": [{"name": "default", "template": "of the directory"},
		{"name": "rag", "template": "rag of the directory"}]}`)
	file := write("t.jinja", "of the file")
	ofGGUF := &Base{Path: "model.gguf", GGUF: &gguf.File{Meta: meta}, Tokenizer: tok}
	ofDir := &Base{Path: dir, Tokenizer: tok}
	for _, c := range []struct {
		name  string
		base  *Base
		given string
		want  string // the rendering, or a part of the error
		fails bool
	}{
		{"the default", ofGGUF, "", "default <s><|im_end|>", false},
		{"a name", ofGGUF, "rag", "rag", false},
		{"a file", ofGGUF, file, "of the file", false},
		{"of a directory", ofDir, "", "of the directory", false},
		{"a name of a directory", ofDir, "rag", "rag of the directory", false},
		{"an unknown name", ofGGUF, "rags", "the templates of the base are rag, tool_use", true},
		{"an absent file", ofGGUF, "x.jinja", "x.jinja", true},
		{"no tokenizer", &Base{Path: "x"}, "", "x has no tokenizer", true},
	} {
		template, err := c.base.ChatTemplate(c.given)
		if c.fails {
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%s: error %v, want one with %q", c.name, err, c.want)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		if got, err := template.Prompt(&chat.Conversation{}); err != nil || got.Text != c.want {
			t.Errorf("%s: %q, error %v, want %q", c.name, got.Text, err, c.want)
		}
		if !strings.Contains(strings.Join(template.Stops, " "), "<|im_end|>") {
			t.Errorf("%s: turns end with %q", c.name, template.Stops)
		}
	}
	if template, err := (&Base{Path: t.TempDir(), Tokenizer: tok}).ChatTemplate(""); template != nil || err != nil {
		t.Errorf("a directory without a template gives %v, error %v", template, err)
	}
}
