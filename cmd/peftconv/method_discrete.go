package main

import (
	"github.com/spf13/pflag"

	"github.com/peftconv/peftconv/peft"
)

// discretePromptMethod finds the words of a prompt.
func discretePromptMethod() *trainMethod {
	var d discreteSearch
	return &trainMethod{
		name: peft.MethodDiscretePrompt, short: "no weight: the words of a prompt",
		shared: []string{"template"},
		flags: func(fs *pflag.FlagSet) {
			opt := &d.options
			fs.StringSliceVar(&d.verbalizer, "verbalizer", nil, "the words that stand for a label: `LABEL=WORD|WORD`, separated by commas; by default the label itself")
			fs.BoolVar(&opt.SearchVerbalizer, "search-verbalizer", false, "also search the words that stand for each label")
			fs.StringVar(&d.candidates, "candidates", "", "use only the words in a `FILE`, each one token of the model; by default its vocabulary")
			fs.IntVar(&opt.Beam, "beam", 0, "beam width: keep the best `N` prompts; 0 is 4")
			fs.IntVar(&opt.Nominate, "nominate", 0, "for each slot of each prompt of the beam, try the `N` words with the best gradient; 0 is 24")
			fs.IntVar(&opt.Examples, "search-examples", 0, "score candidates on `N` records, other ones each time; 0 is 32")
			fs.IntVar(&opt.Sweeps, "sweeps", 0, "make at most `N` passes over all slots; 0 is 6")
			fs.Float64Var(&opt.Fluency, "fluency", 0, "`WEIGHT` of the model's own likelihood of the prompt in the objective, for prompts that read well")
			fs.StringSliceVar(&d.forms, "forms", nil, "also write the prompt in other `FORMS`: text, system (a system prompt for a chat), modelfile (for Ollama)")
		},
		check:  d.check,
		search: d.run,
	}
}
