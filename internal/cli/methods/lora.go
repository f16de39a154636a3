package methods

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/pflag"

	"github.com/peftconv/peftconv/internal/attach"
	"github.com/peftconv/peftconv/internal/cli"
	"github.com/peftconv/peftconv/peft"
	"github.com/peftconv/peftconv/peft/method"
)

func init() { register(10, loraMethod) }

// loraMethod is low-rank adaptation and its variants.
func loraMethod() *Method {
	o := &loraFlags{}
	return &Method{
		name: "lora", short: "W + s·B·A, two thin matrices beside each weight",
		shared: qatMethods("rank", "alpha", "dropout", "targets", "layers"),
		flags:  o.add, check: o.check, adapter: o.adapter,
	}
}

// loraFlags are the flags of LoRA alone.
type loraFlags struct {
	options       method.LoRA
	ranks, alphas []string // patterns
	tokens        []string
	rankPattern   map[string]int
	alphaPattern  map[string]float64
}

func (o *loraFlags) add(fs *pflag.FlagSet) {
	opt := &o.options
	fs.BoolVar(&opt.RSLoRA, "rslora", false, "scale by alpha/√rank instead of alpha/rank")
	fs.BoolVar(&opt.DoRA, "dora", false, "DoRA: also train the norms of the weights' rows")
	fs.StringVar(&opt.Init, "init", method.InitKaiming, "how the matrices are initialized: `INIT` "+
		strings.Join(method.Inits, ", "))
	fs.StringVar(&opt.Original, "original", "", "for --init loftq: the model that the base was quantized from, a "+
		"GGUF `FILE`, a Hugging Face directory or a name")
	cli.Models(fs, "original")
	fs.StringSliceVar(&o.ranks, "rank-pattern", nil, "other ranks for single weights, `NAME=RANK`, separated by commas")
	fs.StringSliceVar(&o.alphas, "alpha-pattern", nil,
		"other alphas for single weights, `NAME=ALPHA`, separated by commas")
	fs.StringVar(&opt.Bias, "bias", method.BiasNone, "also train biases of the base: `WHICH` is none, lora_only or all")
	fs.BoolVar(&opt.Norms, "train-norms", false, "also train the weights of all norms")
	fs.StringSliceVar(&opt.Save, "train-whole", nil, "also train whole tensors: `WHAT` is embed_tokens, lm_head or both")
	fs.StringSliceVar(&o.tokens, "train-tokens", nil,
		"also train the embeddings of single tokens: ids or `TOKENS` of the vocabulary, separated by commas (\"peftconv "+
			"edit --add-token\" adds new ones)")
}

func (o *loraFlags) check(f *Flags) error {
	opt := &o.options
	switch {
	case !slices.Contains(method.Inits, opt.Init):
		return fmt.Errorf("--init: %q is not known, expected %s", opt.Init, strings.Join(method.Inits, ", "))
	case (opt.Init == method.InitLoftQ) != (opt.Original != ""):
		return errors.New("--init loftq and --original need each other")
	case !slices.Contains([]string{method.BiasNone, method.BiasLoRA, method.BiasAll}, opt.Bias):
		return fmt.Errorf("--bias: %q is not known, expected none, lora_only or all", opt.Bias)
	}
	var err error
	if o.rankPattern, err = patterns(o.ranks, strconv.Atoi); err != nil {
		return fmt.Errorf("--rank-pattern: %w", err)
	}
	parse := func(s string) (float64, error) { return strconv.ParseFloat(s, 64) }
	if o.alphaPattern, err = patterns(o.alphas, parse); err != nil {
		return fmt.Errorf("--alpha-pattern: %w", err)
	}
	if f.QAT.On() && (opt.Bias != method.BiasNone || opt.Norms || opt.Save != nil || o.tokens != nil) {
		return errors.New("--qat trains the blocks of linear maps: --bias and --train-… cannot be combined with it")
	}
	return f.QAT.check(f, o.plain())
}

// plain reports whether the adapter consists only of pairs of one rank whose change is zero at first.
func (o *loraFlags) plain() bool {
	return !o.options.DoRA && o.options.Init == method.InitKaiming && o.ranks == nil && o.alphas == nil
}

// patterns reads NAME=VALUE entries.
func patterns[V any](entries []string, parse func(string) (V, error)) (map[string]V, error) {
	all := map[string]V{}
	for _, entry := range entries {
		at := strings.LastIndexByte(entry, '=')
		if at <= 0 {
			return nil, fmt.Errorf("%q, expected NAME=VALUE", entry)
		}
		v, err := parse(entry[at+1:])
		if err != nil {
			return nil, fmt.Errorf("%q: %q is not a number", entry, entry[at+1:])
		}
		all[entry[:at]] = v
	}
	return all, nil
}

func (o *loraFlags) adapter(b *peft.Base, f *Flags) (*peft.Adapter, error) {
	opt := o.options
	if f.QAT.On() && o.plain() {
		return f.QAT.pairs(b, f, opt.RSLoRA)
	}
	opt.Rank, opt.Alpha, opt.Dropout, opt.Targets, opt.Layers, opt.Seed = f.rank, f.alpha, f.dropout, f.targets, f.layers,
		f.Seed
	opt.RankPattern, opt.AlphaPattern = o.rankPattern, o.alphaPattern
	var err error
	if opt.TokenIDs, err = tokenIDs(b, o.tokens); err != nil {
		return nil, fmt.Errorf("--train-tokens: %w", err)
	}
	a, err := peft.New(b, opt)
	if errors.Is(err, attach.ErrNoInit) {
		err = fmt.Errorf("--original: %w", err)
	}
	return a, err
}

// tokenIDs are the ids of tokens that are given by id or by their text in the vocabulary.
func tokenIDs(b *peft.Base, tokens []string) ([]int32, error) {
	var ids []int32
	for _, token := range tokens {
		if id, err := strconv.ParseInt(token, 10, 32); err == nil {
			ids = append(ids, int32(id))
			continue
		}
		encoded, err := b.Tokenize(token)
		if err != nil {
			return nil, fmt.Errorf("%q is no id, and %w", token, err)
		}
		if len(encoded) != 1 {
			return nil, fmt.Errorf("%q is not one token of the vocabulary but %d; \"peftconv edit --add-token\" writes a "+
				"model in which it is one", token, len(encoded))
		}
		ids = append(ids, encoded[0])
	}
	slices.Sort(ids)
	return slices.Compact(ids), nil
}
