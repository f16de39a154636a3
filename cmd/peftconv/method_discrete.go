package main

import (
	"github.com/spf13/pflag"

	"github.com/peftconv/peftconv/peft/search"
)

// discretePromptMethod finds the words of a prompt.
func discretePromptMethod() *trainMethod {
	var d discreteSearch
	return &trainMethod{
		name: search.MethodDiscretePrompt, short: "no weight: the words of a prompt",
		shared: []string{"template"},
		flags: func(fs *pflag.FlagSet) {
			opt := &d.options
			fs.StringSliceVar(&d.verbalizer, "verbalizer", nil, "which words answer for a label: `LABEL=WORD|WORD`, separated by commas; by default each label itself")
			fs.BoolVar(&opt.SearchVerbalizer, "search-verbalizer", false, "look for answer words too")
			fs.StringVar(&d.candidates, "candidates", "", "choose from the words in a `FILE` only, each one token of the model; by default from its vocabulary")
			fs.IntVar(&opt.Beam, "beam", 0, "keep the best `N` prompts; 0 is 4")
			fs.IntVar(&opt.Nominate, "nominate", 0, "try the `N` words that promise most, for each slot of each of them; 0 is 24")
			fs.IntVar(&opt.Examples, "search-examples", 0, "on `N` records, others each time; 0 is 32")
			fs.IntVar(&opt.Sweeps, "sweeps", 0, "go over all slots at most `N` times; 0 is 6")
			fs.Float64Var(&opt.Fluency, "fluency", 0, "`WEIGHT` of how likely the model itself finds the words of the prompt, so that they read well")
			fs.StringSliceVar(&d.forms, "forms", nil, "write the prompt in other `FORMS` beside --out: text, system (a system prompt for a chat), modelfile (for Ollama)")
		},
		check:  d.check,
		search: d.run,
	}
}
