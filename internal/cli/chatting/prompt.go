package chatting

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/pflag"

	"github.com/peftconv/peftconv/internal/cli"
	"github.com/peftconv/peftconv/internal/infile"
	"github.com/peftconv/peftconv/peft"
	"github.com/peftconv/peftconv/peft/generate"
)

// Prompt are the flags of a text to continue.
type Prompt struct {
	text, file string
	hidden     bool
	answers    int
}

// Add adds the flags that give the text.
func (p *Prompt) Add(fs *pflag.FlagSet) {
	fs.StringVarP(&p.text, "prompt", "p", "", "the `TEXT` to continue")
	fs.StringVarP(&p.file, "file", "f", "", "read the prompt from a `FILE`; - is the standard input")
}

// AddDisplay adds the flags that say how many answers there are, and how they are printed.
func (p *Prompt) AddDisplay(fs *pflag.FlagSet) {
	fs.IntVar(&p.answers, "parallel", 1,
		"`N` answers to the prompt, computed together: each is the one that its seed alone gives, --seed and those after it")
	fs.BoolVar(&p.hidden, "no-display-prompt", false, "print only what is generated")
}

// Check wants one of the flags, unless the prompt may be left out.
func (p *Prompt) Check(optional bool) error {
	switch {
	case p.text == "" && p.file == "" && !optional:
		return errors.New("missing required flag --prompt (or --file)")
	case p.text != "" && p.file != "":
		return errors.New("--prompt and --file: one of them, not both")
	case p.answers < 1:
		return fmt.Errorf("--parallel: %d, expected 1 or more", p.answers)
	case p.answers > 1 && optional:
		return errors.New("--parallel: a conversation has one answer, expected no --chat")
	}
	return nil
}

// Read is the text.
func (p *Prompt) Read(stdin io.Reader) (string, error) {
	var data []byte
	var err error
	switch p.file {
	case "":
		return p.text, nil
	case "-":
		data, err = infile.ReadFrom(stdin, "standard input", infile.Text)
	default:
		data, err = infile.ReadStream(p.file, infile.Text)
	}
	if err != nil {
		return "", fmt.Errorf("--file: %w", err)
	}
	return strings.TrimSuffix(string(data), "\n"), nil
}

// Continue prints the text and how it goes on, or what was generated as one JSON document.
func (p *Prompt) Continue(ctx context.Context, s cli.Streams, b *peft.Base, adapters []peft.Scaled, text string,
	opt generate.Options, asJSON bool) error {
	if p.answers > 1 {
		return p.continueEach(ctx, s, b, adapters, text, opt, asJSON)
	}
	if asJSON {
		r, err := generate.Run(ctx, b, adapters, text, opt, nil)
		if err != nil {
			return err
		}
		return cli.PrintJSON(s.Out, r)
	}
	if !p.hidden {
		fmt.Fprint(s.Out, text)
	}
	r, err := generate.Run(ctx, b, adapters, text, opt, func(piece string) { io.WriteString(s.Out, piece) })
	fmt.Fprintln(s.Out)
	if err != nil {
		return err
	}
	fmt.Fprintf(s.Err, "%s after a prompt of %d, %.1f tokens/s\n", cli.Plural(r.Tokens, "token"), r.PromptTokens,
		r.TokensPerSecond)
	return nil
}

// Answers are those to one prompt.
type Answers struct {
	Answers []*generate.Result `json:"answers"` // in the order of their seeds
}

// continueEach prints several answers, each below a line with its seed, or as one JSON document.
func (p *Prompt) continueEach(ctx context.Context, s cli.Streams, b *peft.Base, adapters []peft.Scaled, text string,
	opt generate.Options, asJSON bool) error {
	found, err := generate.RunEach(ctx, b, adapters, text, p.answers, opt)
	if err != nil {
		return err
	}
	if asJSON {
		return cli.PrintJSON(s.Out, Answers{found})
	}
	if p.hidden {
		text = ""
	}
	tokens, rate := 0, 0.0
	for i, r := range found {
		fmt.Fprintf(s.Out, "--- seed %d\n%s%s\n", opt.Seed+uint64(i), text, r.Text)
		tokens += r.Tokens
		rate += r.TokensPerSecond
	}
	fmt.Fprintf(s.Err, "%s in %d answers after a prompt of %d, %.1f tokens/s\n", cli.Plural(tokens, "token"), len(found),
		found[0].PromptTokens, rate)
	return nil
}
