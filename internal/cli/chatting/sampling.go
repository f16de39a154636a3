package chatting

import (
	"errors"
	"fmt"
	"slices"

	"github.com/spf13/pflag"

	"github.com/peftconv/peftconv/internal/cli"
	"github.com/peftconv/peftconv/peft/generate"
)

// AddSampling adds the flags that say how tokens are chosen.
func AddSampling(fs *pflag.FlagSet, g *generate.Options) {
	fs.IntVarP(&g.N, "n", "n", 128, "the most `TOKENS` to generate")
	fs.Float64Var(&g.Temperature, "temperature", 0.8,
		"sampling temperature `T`: 0 always takes the likeliest token, 1 samples by the model's probabilities")
	fs.IntVar(&g.TopK, "top-k", 40, "sample from the `K` likeliest tokens; 0 is all tokens")
	fs.Float64Var(&g.TopP, "top-p", 0.95,
		"sample from the likeliest tokens that together have probability `P`; 1 is all tokens")
	fs.Float64Var(&g.MinP, "min-p", 0, "sample from tokens at least `P` times as likely as the likeliest; 0 is all tokens")
	fs.Float64Var(&g.RepeatPenalty, "repeat-penalty", 1,
		"make tokens of the last --repeat-last-n less likely by a `FACTOR`; 1 is not")
	fs.IntVar(&g.RepeatLast, "repeat-last-n", 64, "`N` tokens of prompt and answer that --repeat-penalty looks back at")
	fs.StringArrayVar(&g.Stop, "stop", nil, "end the answer before this `TEXT`; may be repeated")
	fs.Uint64Var(&g.Seed, "seed", 42, "`SEED` of the sampling")
	fs.IntVarP(&g.Context, "ctx", "c", 0,
		"the most `TOKENS` of prompt and answer together; 0 is what the model was made for")
	fs.StringVar(&g.Cache, "kv", generate.CacheF32,
		"keep keys and values in a `TYPE`: f32, f16 or q8_0; the others are rounded and take half and a quarter of the memory")
	fs.BoolVar(&g.ExactActivations, "exact-activations", false,
		"multiply quantized weights with activations as they are, not rounded as llama.cpp's CPU backend rounds them: slower")
	fs.BoolVar(&g.IgnoreEOG, "ignore-eos", false, "continue after a token that ends an answer")
}

// CheckSampling reports values that make no sense.
func CheckSampling(g *generate.Options) error {
	switch {
	case g.N < 1:
		return fmt.Errorf("--n: %d, expected 1 or more", g.N)
	case !(g.Temperature >= 0) || !cli.IsFinite(g.Temperature):
		return fmt.Errorf("--temperature: %v, expected 0 or more", g.Temperature)
	case g.TopK < 0:
		return fmt.Errorf("--top-k: %d, expected 0 or more", g.TopK)
	case !(g.TopP > 0 && g.TopP <= 1):
		return fmt.Errorf("--top-p: %v, expected more than 0 and at most 1", g.TopP)
	case !(g.MinP >= 0 && g.MinP <= 1):
		return fmt.Errorf("--min-p: %v, expected 0 to 1", g.MinP)
	case !(g.RepeatPenalty > 0) || !cli.IsFinite(g.RepeatPenalty):
		return fmt.Errorf("--repeat-penalty: %v, expected more than 0", g.RepeatPenalty)
	case g.RepeatLast < 1:
		return fmt.Errorf("--repeat-last-n: %d, expected 1 or more", g.RepeatLast)
	case slices.Contains(g.Stop, ""):
		return errors.New("--stop: an empty text, expected one that ends the answer")
	case !slices.Contains([]string{generate.CacheF32, generate.CacheF16, generate.CacheQ8_0}, g.Cache):
		return fmt.Errorf("--kv: %q is not known, expected f32, f16 or q8_0", g.Cache)
	case g.Context < 0:
		return fmt.Errorf("--ctx: %d, expected 0 or more", g.Context)
	}
	return nil
}
