// Package methods holds the methods of peftconv train and compare on the command line: their names, their
// flags, and the adapters that these make.
package methods

import (
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/pflag"

	"github.com/peftconv/peftconv/internal/cli"
	"github.com/peftconv/peftconv/peft"
	"github.com/peftconv/peftconv/peft/method"
)

// Method is one PEFT method on the command line.
type Method struct {
	name, short string
	shared      []string                // names of flags of Flags that apply to this method
	flags       func(fs *pflag.FlagSet) // adds the flags of this method alone; nil: there are none
	check       func(*Flags) error      // of their values; nil: nothing to check
	adapter     func(b *peft.Base, f *Flags) (*peft.Adapter, error)
	// Search are the flags of a method that makes no adapter but searches for a prompt; nil: adapter makes one to train.
	Search *DiscreteFlags

	own []string // names of the flags that flags added
}

// registered are the constructors of the methods, by place.
var registered []registration

type registration struct {
	place int
	make  func() *Method
}

// register adds a method, at a place in the order in which help lists them. Each method's file calls it.
func register(place int, make func() *Method) {
	registered = append(registered, registration{place, make})
	slices.SortStableFunc(registered, func(a, b registration) int { return a.place - b.place })
}

// All are all methods, with flags of their own.
func All() []*Method {
	all := make([]*Method, len(registered))
	for i, r := range registered {
		all[i] = r.make()
	}
	return all
}

// Flags are --method, the flags that several methods have, and those of each method.
type Flags struct {
	method  string
	rank    int
	alpha   float64
	dropout float64
	targets []string
	layers  string
	Seed    uint64 // of the adapter's start

	virtualTokens, encoderHidden int
	promptText, Template         string
	Classes                      func() *peft.Classes // what records are classified into, nil where they are not
	QAT                          QATFlags

	all     []*Method
	flagSet *pflag.FlagSet
}

// Add adds the flags.
func (f *Flags) Add(fs *pflag.FlagSet) {
	f.flagSet, f.all = fs, All()
	fs.StringVar(&f.method, "method", "lora", "the `METHOD`: "+strings.Join(f.names(), ", "))
	fs.IntVarP(&f.rank, "rank", "r", 8, "`RANK` of the change of each weight")
	fs.Float64Var(&f.alpha, "alpha", 0, "the change is scaled by `ALPHA`/rank; 0 is twice the rank")
	fs.Float64Var(&f.dropout, "dropout", 0, "`PROBABILITY` of dropping an input of the adapter in training")
	fs.StringSliceVar(&f.targets, "targets", []string{"all-linear"},
		"which `WEIGHTS` to adapt, separated by commas: all-linear, attention, "+
			"ffn, names (q_proj, attn_q), globs (*.mlp.*_proj) or re:EXPRESSION")
	fs.StringVar(&f.layers, "layers", "all",
		"which `LAYERS` to adapt: all, first:N, last:N, or numbers and ranges from 0 (3-7,9)")
	fs.IntVar(&f.virtualTokens, "virtual-tokens", 0,
		"`N` virtual tokens, or keys and values a layer; 0 is as many as --prompt-text has, or 20")
	fs.StringVar(&f.promptText, "prompt-text", "",
		"`TEXT` to start virtual tokens from, repeated or cut to --virtual-tokens")
	fs.IntVar(&f.encoderHidden, "encoder-hidden", 0,
		"`WIDTH` of the network that virtual tokens are trained through; 0 is the model's width")
	fs.StringVar(&f.Template, "template", "",
		"what becomes of the fields of a record: `TEMPLATE` such as \"[P*3] {question} [P*5] Answer: {answer}\" (p-tuning: "+
			"[P] are virtual tokens; by default before the text) or \"{sentence} It was [slot*2] {answer}\" (discrete-prompt)")
	f.QAT.add(fs)
	for _, m := range f.all {
		m.add(fs)
	}
	f.describe(fs)
}

// describe says for help and completion which flags are of which methods, and which of them come first.
func (f *Flags) describe(fs *pflag.FlagSet) {
	cli.Choices(fs, "method", f.names()...)
	cli.Choices(fs, "init", method.Inits...)
	cli.Choices(fs, "bias", method.BiasNone, method.BiasLoRA, method.BiasAll)
	fs.VisitAll(func(flag *pflag.Flag) {
		users := f.users(flag.Name)
		if users == nil {
			return
		}
		cli.InTopics(flag, users...)
		if !slices.Contains([]string{"rank", "alpha", "targets", "layers", "qat"}, flag.Name) {
			cli.Detail(fs, flag.Name)
		}
	})
}

// Topics are the parts of help that describe one method each.
func Topics() []cli.Topic {
	var topics []cli.Topic
	for _, m := range All() {
		topics = append(topics, cli.Topic{Name: m.name, Text: m.short})
	}
	return topics
}

// add adds the method's own flags and notes their names.
func (m *Method) add(fs *pflag.FlagSet) {
	if m.flags == nil {
		return
	}
	own := pflag.NewFlagSet(m.name, pflag.ContinueOnError)
	m.flags(own)
	own.VisitAll(func(f *pflag.Flag) {
		m.own = append(m.own, f.Name)
		f.Usage += " (" + m.name + ")"
	})
	fs.AddFlagSet(own)
}

func (f *Flags) names() []string {
	var names []string
	for _, m := range f.all {
		names = append(names, m.name)
	}
	return names
}

// Chosen is the method that --method names, nil where there is none of that name.
func (f *Flags) Chosen() *Method {
	i := slices.IndexFunc(f.all, func(m *Method) bool { return m.name == f.method })
	if i < 0 {
		return nil
	}
	return f.all[i]
}

// Validate checks the values of the flags, and that those that were given apply to the chosen method.
func (f *Flags) Validate() error {
	m := f.Chosen()
	switch {
	case m == nil:
		return fmt.Errorf("--method: %q is not known, expected %s", f.method, strings.Join(f.names(), ", "))
	case f.rank < 1:
		return fmt.Errorf("--rank: %d, expected 1 or more", f.rank)
	case !cli.IsFinite(f.alpha):
		return fmt.Errorf("--alpha: %v, expected a finite number", f.alpha)
	case !(f.dropout >= 0 && f.dropout < 1):
		return fmt.Errorf("--dropout: %v, expected a probability below 1", f.dropout)
	}
	if err := f.checkGiven(m); err != nil {
		return err
	}
	if m.check != nil {
		return m.check(f)
	}
	return f.QAT.check(f, false)
}

// checkGiven reports a flag of methods that was given but has no effect with m.
func (f *Flags) checkGiven(m *Method) (err error) {
	f.flagSet.Visit(func(flag *pflag.Flag) {
		users := f.users(flag.Name)
		switch {
		case err != nil || users == nil || slices.Contains(users, m.name):
		case flag.Name == "qat":
			err = fmt.Errorf("--qat: not with --method %s: %s", m.name, refusesQAT(m.name))
		default:
			err = fmt.Errorf("--%s has no effect with --method %s, only with %s", flag.Name, m.name, strings.Join(users, ", "))
		}
	})
	return err
}

// users are the names of the methods that have a flag; nil for a flag that belongs to no method.
func (f *Flags) users(flag string) []string {
	var users []string
	for _, m := range f.all {
		if slices.Contains(m.shared, flag) || slices.Contains(m.own, flag) {
			users = append(users, m.name)
		}
	}
	return users
}

// Adapter makes the untrained adapter, which records what it classifies into.
func (f *Flags) Adapter(b *peft.Base) (*peft.Adapter, error) {
	if f.QAT.Latent != "" {
		if err := b.OpenMaster(f.QAT.Latent); err != nil {
			return nil, fmt.Errorf("--latent: %w", err)
		}
	}
	a, err := f.Chosen().adapter(b, f)
	if err == nil {
		err = f.QAT.apply(b, a, f.Seed)
	}
	if err == nil {
		a.SetClasses(f.Classes())
	}
	return a, err
}

// placement is where the flags put an adapter; what was not given is the method's choice.
func (f *Flags) placement() method.Placement {
	p := method.Placement{Layers: f.layers, Seed: f.Seed}
	if f.flagSet.Changed("targets") {
		p.Targets = f.targets
	}
	return p
}

// givenRank is --rank, or 0 where it was not given: the method's choice.
func (f *Flags) givenRank() int {
	if f.flagSet.Changed("rank") {
		return f.rank
	}
	return 0
}
