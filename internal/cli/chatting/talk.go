package chatting

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/pflag"
	"golang.org/x/term"

	"github.com/peftconv/peftconv/internal/atomicfile"
	"github.com/peftconv/peftconv/internal/cli"
	"github.com/peftconv/peftconv/internal/infile"
	"github.com/peftconv/peftconv/peft"
	"github.com/peftconv/peftconv/peft/generate"
)

// Talk are the flags of a conversation with a model.
type Talk struct {
	Template
	On bool // --chat

	system, history string
	set             *pflag.FlagSet
}

// Add adds the flags.
func (t *Talk) Add(fs *pflag.FlagSet) {
	t.set = fs
	cli.Group(fs, "Chat", func() {
		fs.BoolVar(&t.On, "chat", false, "talk with the model in its chat template: --prompt is a message of the user; "+
			"without it, each line of standard input is one")
		fs.StringVar(&t.system, "system", "", "the system prompt, a `TEXT`")
		fs.StringVar(&t.history, "history", "", "continue the conversation in a `FILE` ({\"messages\": […]}), and write it "+
			"back with what was said")
		t.Template.Add(fs, "")
	})
}

// Check reports flags that make no sense.
func (t *Talk) Check() error {
	for _, name := range []string{"system", "history", "chat-template", "template-args"} {
		if !t.On && t.set.Changed(name) {
			return fmt.Errorf("--%s: needs --chat", name)
		}
	}
	_, err := t.Arguments()
	return err
}

// Result is an answer with the conversation.
type Result struct {
	*generate.Result
	Messages int `json:"messages"` // of the conversation, with the answer
}

// Run talks: prompt is the message of the user; without one, each line that is read is. Answers are printed as they are
// generated, or as JSON, one object a line.
func (t *Talk) Run(ctx context.Context, s cli.Streams, b *peft.Base, adapters []peft.Scaled, prompt string,
	opt generate.Options, asJSON bool) error {
	chat, err := generate.NewChat(b, adapters, t.Options())
	if err != nil {
		return err
	}
	if err := t.begin(chat); err != nil {
		return err
	}
	answer := func(message string) error {
		chat.Add("user", message)
		if err := t.answer(ctx, s, chat, opt, asJSON); err != nil {
			return err
		}
		return t.save(chat)
	}
	if prompt != "" {
		return answer(prompt)
	}
	return eachLine(s, answer)
}

// begin reads the history and sets the system prompt.
func (t *Talk) begin(chat *generate.Chat) error {
	if t.history != "" {
		data, err := infile.Read(t.history, infile.Text)
		if err == nil {
			err = chat.Load(data)
		}
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			return fmt.Errorf("--history %s: %w", t.history, err)
		}
	}
	switch {
	case t.system != "" && chat.Len() > 0:
		return fmt.Errorf("--system: the conversation in %s has begun already", t.history)
	case t.system != "":
		chat.Add("system", t.system)
	}
	return nil
}

func (t *Talk) answer(ctx context.Context, s cli.Streams, chat *generate.Chat, opt generate.Options,
	asJSON bool) error {
	var emit func(string)
	if !asJSON {
		emit = func(piece string) { io.WriteString(s.Out, piece) }
	}
	r, err := chat.Answer(ctx, opt, emit)
	if asJSON && err == nil {
		return cli.PrintJSON(s.Out, Result{r, chat.Len()})
	}
	if !asJSON {
		fmt.Fprintln(s.Out)
	}
	if err != nil {
		return err
	}
	if r.Stop == "length" || r.Stop == "context" {
		fmt.Fprintf(s.Err, "note: cut off after %s; --n and --ctx allow more\n", cli.Plural(r.Tokens, "token"))
	}
	return nil
}

// save writes the history.
func (t *Talk) save(chat *generate.Chat) error {
	if t.history == "" {
		return nil
	}
	return atomicfile.Write(t.history, func(w io.Writer) error {
		_, err := io.WriteString(w, chat.JSON()+"\n")
		return err
	})
}

// eachLine calls f for each line of the standard input that is not blank; on a terminal it asks for them.
func eachLine(s cli.Streams, f func(line string) error) error {
	in, ok := s.In.(*os.File)
	asks := ok && term.IsTerminal(int(in.Fd()))
	if asks {
		fmt.Fprintln(s.Err, "Ctrl-D ends the conversation.")
	}
	lines := bufio.NewReader(s.In)
	for {
		if asks {
			fmt.Fprint(s.Err, "> ")
		}
		line, err := lines.ReadString('\n')
		if text := strings.TrimSpace(line); text != "" {
			if err := f(text); err != nil {
				return err
			}
		}
		if err == io.EOF {
			if asks {
				fmt.Fprintln(s.Err)
			}
			return nil
		}
		if err != nil {
			return fmt.Errorf("standard input: %w", err)
		}
	}
}
