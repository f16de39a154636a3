package methods

import (
	"errors"
	"fmt"

	"github.com/spf13/pflag"

	"github.com/peftconv/peftconv/peft/search"
)

func init() { register(150, discretePromptMethod) }

// discretePromptMethod finds the words of a prompt.
func discretePromptMethod() *Method {
	d := &DiscreteFlags{}
	return &Method{
		name: search.MethodDiscretePrompt, short: "no weight: the words of a prompt",
		shared: []string{"template"},
		flags: func(fs *pflag.FlagSet) {
			opt := &d.Options
			fs.StringSliceVar(&d.Verbalizer, "verbalizer", nil,
				"which words answer for a label: `LABEL=WORD|WORD`, separated by commas; by default each label itself")
			fs.BoolVar(&opt.SearchVerbalizer, "search-verbalizer", false, "look for answer words too")
			fs.StringVar(&d.Candidates, "candidates", "",
				"choose from the words in a `FILE` only, each one token of the model; by default from its vocabulary")
			fs.IntVar(&opt.Beam, "beam", 0, "keep the best `N` prompts; 0 is 4")
			fs.IntVar(&opt.Nominate, "nominate", 0, "try the `N` most promising words for each slot of each of them; 0 is 24")
			fs.IntVar(&opt.Examples, "search-examples", 0, "on `N` records, others each time; 0 is 32")
			fs.IntVar(&opt.Sweeps, "sweeps", 0, "go over all slots at most `N` times; 0 is 6")
			fs.Float64Var(&opt.Fluency, "fluency", 0,
				"`WEIGHT` of how likely the model itself finds the words of the prompt, so that they read well")
			fs.StringSliceVar(&d.Forms, "forms", nil,
				"write the prompt in other `FORMS` beside --out: text, system (a system prompt for a chat), modelfile (for Ollama)")
		},
		check:  d.check,
		Search: d,
	}
}

// DiscreteFlags are the flags of --method discrete-prompt alone.
type DiscreteFlags struct {
	Options    search.Options
	Verbalizer []string
	Candidates string
	Forms      []string
}

// promptForms are the values of --forms and what their files end in.
var promptForms = []struct{ name, end string }{
	{search.PromptText, ".txt"}, {search.PromptSystem, ".system.txt"}, {search.PromptModelfile, ".Modelfile"},
}

func (d *DiscreteFlags) check(f *Flags) error {
	for _, flag := range discreteUnused {
		if f.flagSet.Changed(flag) {
			return fmt.Errorf("--%s has no effect with --method %s", flag, search.MethodDiscretePrompt)
		}
	}
	if f.Template == "" {
		return fmt.Errorf("--method %s: needs --template, such as \"{sentence} It was [slot*2] {answer}\"",
			search.MethodDiscretePrompt)
	}
	if _, slots, err := search.ParseTemplate(f.Template); err != nil || slots == 0 {
		if err == nil {
			err = fmt.Errorf("template %q has no slot, expected [slot] where words are to be found", f.Template)
		}
		return fmt.Errorf("--template: %w", err)
	}
	for _, form := range d.Forms {
		if d.End(form) == "" {
			return fmt.Errorf("--forms: %q is not known, expected text, system or modelfile", form)
		}
	}
	if len(d.Verbalizer) > 0 && f.Classes() == nil {
		return errors.New("--verbalizer: needs --task classify and --labels")
	}
	if d.Options.SearchVerbalizer && f.Classes() == nil {
		return errors.New("--search-verbalizer: needs --task classify and --labels")
	}
	return nil
}

// discreteUnused are the flags of train that have no effect where nothing is trained.
var discreteUnused = []string{
	"resume", "dry-run", "save-every", "eval-every", "seq-len", "text-field", "prompt-field", "completion-field",
	"separator", "label-field", "epochs", "steps", "accumulate", "lr", "schedule", "warmup",
	"weight-decay", "clip", "optimizer", "recompute", "precision", "ignore-memory", "profile",
}

// End is what the name of the file of a form ends in, "" for a form that is not known.
func (d *DiscreteFlags) End(form string) string {
	for _, known := range promptForms {
		if known.name == form {
			return known.end
		}
	}
	return ""
}
