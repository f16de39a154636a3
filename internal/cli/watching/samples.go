package watching

import (
	"context"
	"encoding/json"
	"fmt"
	"path/filepath"
	"strings"

	"github.com/peftconv/peftconv/internal/infile"
	"github.com/peftconv/peftconv/peft"
	"github.com/peftconv/peftconv/peft/generate"
)

// mostPrompts is how many prompts a file may have: each is answered every time.
const mostPrompts = 100

// readPrompts are the prompts of --sample-prompts.
func (f *Flags) readPrompts() (prompts []string, err error) {
	if f.prompts == "" {
		return nil, nil
	}
	text, err := infile.ReadStream(f.prompts, infile.Text)
	if err != nil {
		return nil, fmt.Errorf("--sample-prompts: %w", err)
	}
	objects := strings.EqualFold(filepath.Ext(f.prompts), ".jsonl")
	number := 0
	for line := range strings.Lines(string(text)) {
		number++
		prompt := strings.TrimRight(line, "\r\n")
		if strings.TrimSpace(prompt) == "" {
			continue
		}
		if objects {
			if prompt, err = promptOf(prompt); err != nil {
				return nil, fmt.Errorf("--sample-prompts: %s:%d: %w", f.prompts, number, err)
			}
		}
		prompts = append(prompts, prompt)
	}
	if len(prompts) == 0 || len(prompts) > mostPrompts {
		return nil, fmt.Errorf("--sample-prompts: %s has %d prompts, expected 1 to %d", f.prompts, len(prompts), mostPrompts)
	}
	return prompts, nil
}

// promptOf is the prompt of an object.
func promptOf(line string) (string, error) {
	var object struct {
		Prompt *string `json:"prompt"`
	}
	if err := json.Unmarshal([]byte(line), &object); err != nil {
		return "", err
	}
	if object.Prompt == nil || *object.Prompt == "" {
		return "", fmt.Errorf("no \"prompt\", expected an object such as {\"prompt\": \"…\"}")
	}
	return *object.Prompt, nil
}

// answer answers prompts with the likeliest tokens: as messages of a user where the data is conversations, and as they
// are otherwise.
func (f *Flags) answer(r *Run) func(ctx context.Context, a *peft.Adapter, prompt string) (string, error) {
	opt := generate.Options{N: f.sampleTokens}
	return func(ctx context.Context, a *peft.Adapter, prompt string) (string, error) {
		var adapters []peft.Scaled
		if a != nil {
			adapters = []peft.Scaled{{Adapter: a, Scale: 1}}
		}
		var answer *generate.Result
		var err error
		if r.Data.Conversations() == 0 {
			answer, err = generate.Run(ctx, r.Base, adapters, prompt, opt, nil)
		} else {
			var chat *generate.Chat
			if chat, err = generate.NewChat(r.Base, adapters, r.Chat); err == nil {
				chat.Add("user", prompt)
				answer, err = chat.Answer(ctx, opt, nil)
			}
		}
		if err != nil {
			return "", fmt.Errorf("the prompt %.60q: %w", prompt, err)
		}
		return answer.Text, nil
	}
}
