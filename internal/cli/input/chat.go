package input

import (
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/pflag"

	"github.com/peftconv/peftconv/internal/chat"
	"github.com/peftconv/peftconv/internal/cli"
	"github.com/peftconv/peftconv/internal/cli/chatting"
	"github.com/peftconv/peftconv/internal/infile"
	"github.com/peftconv/peftconv/internal/preview"
	"github.com/peftconv/peftconv/internal/records"
	"github.com/peftconv/peftconv/peft"
)

// conversations are the flags of data that is conversations.
type conversations struct {
	chatting.Template
	PromptTemplate string // a prompt made of fields
	SkipRefused    bool

	trainOn, form                          string
	messagesField, systemField, toolsField string
}

func (c *conversations) add(fs *pflag.FlagSet) {
	fs.StringVar(&c.form, "format", "", "`FORM` of the records: "+strings.Join(peft.DataFormats(), ", ")+
		" (default: found by their fields)")
	fs.StringVar(&c.trainOn, "train-on", "assistant", "what is learned of conversations, `WHAT` of assistant (its turns), "+
		"last (its last turn) and all")
	c.Template.Add(fs, "; prompts with completions and questions with answers are turns then, too")
	fs.StringVar(&c.messagesField, "messages-field", "", "`NAME` of the field that holds the messages of a conversation "+
		"(default: messages, or conversations)")
	fs.StringVar(&c.systemField, "system-field", "", "`NAME` of the field that holds a system prompt (default: system)")
	fs.StringVar(&c.toolsField, "tools-field", "", "`NAME` of the field that holds the tools (default: tools)")
	fs.BoolVar(&c.SkipRefused, "skip-refused", false, "leave out and count conversations that the chat template cannot "+
		"render or that cannot be learned, instead of stopping")
	cli.Choices(fs, "train-on", "assistant", "last", "all")
	cli.Choices(fs, "format", peft.DataFormats()...)
	cli.Detail(fs, "messages-field", "system-field", "tools-field", "skip-refused", "template-args")
}

// AddPromptTemplate adds --prompt-template.
func (c *conversations) AddPromptTemplate(fs *pflag.FlagSet) {
	fs.StringVar(&c.PromptTemplate, "prompt-template", "", "a prompt made of fields, a `TEXT` such as "+
		"\"{instruction}\\n{input}\"; the answer is in --completion-field, or in completion, output, answer or response, or "+
		"else it is the field that the template ends with")
}

// TakePromptTemplate takes the value of another flag of this name, whose templates end with the field of the answer,
// where --completion-field names another one.
func (d *Data) TakePromptTemplate(value *string) {
	if d.completionField != "" && d.promptField == "" && strings.Contains(*value, "{") && !cli.Exists(*value) {
		d.PromptTemplate, *value = *value, ""
	}
}

func (c *conversations) check() error {
	switch {
	case c.form != "" && !slices.Contains(peft.DataFormats(), c.form):
		return fmt.Errorf("--format: %q is not known, expected %s (--file-format is of files)", c.form,
			strings.Join(peft.DataFormats(), ", "))
	case !slices.Contains([]string{"assistant", "last", "all"}, c.trainOn):
		return fmt.Errorf("--train-on: %q is not known, expected assistant, last or all", c.trainOn)
	case c.PromptTemplate != "" && c.form != "":
		return fmt.Errorf("--prompt-template: cannot be combined with --format")
	case c.PromptTemplate != "" && c.ChatTemplate != "":
		return fmt.Errorf("--prompt-template: cannot be combined with --chat-template")
	}
	_, err := c.Arguments()
	return err
}

// unescaped is a text of a flag with \n and \t as what they stand for.
func unescaped(s string) string { return strings.NewReplacer(`\n`, "\n", `\t`, "\t").Replace(s) }

// apply completes the options of the library.
func (c *conversations) apply(opt *peft.DataOptions) {
	opt.PromptTemplate = unescaped(c.PromptTemplate)
	opt.Chat = c.Template.Options()
	opt.Chat.TrainOn, opt.Chat.Format, opt.Chat.SkipRefused = c.trainOn, c.form, c.SkipRefused
	opt.Chat.MessagesField, opt.Chat.SystemField, opt.Chat.ToolsField = c.messagesField, c.systemField, c.toolsField
}

// Texts are the conversations of a file as texts in --chat-template, which is a file.
func (d *Data) Texts(path string) (*preview.Examples, error) {
	source, err := infile.ReadStream(d.ChatTemplate, infile.Config)
	if err != nil {
		return nil, fmt.Errorf("--chat-template: %w", err)
	}
	t, err := chat.Standalone(string(source))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", d.ChatTemplate, err)
	}
	arguments, err := d.Arguments()
	if err != nil {
		return nil, err
	}
	t.Arguments = chat.Arguments(arguments)
	e := &chat.Encoder{
		Template: t, TrainOn: chat.TrainOn(d.trainOn), Pairs: true,
		Fields: chat.Fields{Messages: d.messagesField, System: d.systemField, Tools: d.toolsField, Prompt: d.promptField,
			Completion: d.completionField},
	}
	files, err := records.Find(path, records.Train)
	if err == nil && len(files) == 0 {
		err = records.NoSplit(path, records.Train)
	}
	if err != nil {
		return nil, err
	}
	opt := records.Options{Format: records.Format(d.format), Stdin: d.In}
	return preview.OfTexts(files, opt, e, chat.Format(d.form))
}
