package tokenizer

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"

	"github.com/peftconv/peftconv/internal/tokenizer/pattern"
)

// preTokenizer describes how text is cut for a byte-level vocabulary. The stages apply one after the other: each cuts
// every piece of the stage before it, and both its matches and the text between them are pieces.
type preTokenizer struct {
	stages       []string
	ignoreMerges bool // a word that is a token as a whole is that token, whatever the merges say
	addBOS       bool // begin with BOS unless the file says otherwise
}

// The parts that many expressions share.
const (
	contraction = `(?:'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD])`
	gaps        = `\s*[\r\n]+|\s+(?!\S)|\s+`
	ascii       = "[!\"#$%&'()*+,\\-./:;<=>?@\\[\\\\\\]^_`{|}~]"
	cased       = `[^\r\n\p{L}\p{N}]?[\p{L}&&[^a-z]]*[\p{L}&&[^A-Z]]+%[1]s|[^\r\n\p{L}\p{N}]?[\p{L}&&[^a-z]]+[\p{L}&&[^A-Z]]*%[1]s|%[2]s| ?[^\s\p{L}\p{N}]+[\r\n/]*|` + gaps
	gpt2Words   = `'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+`
	deepseek3   = ascii + `[A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*|` + gaps
	cjk         = `[一-龥\u3040-ゟ゠-ヿ]+`
	cjkWide     = `[\u0800-龥가-\ud7ff&&\S]+` // without the spaces in that range, which llama.cpp keeps apart
	bloomWords  = ` ?[^(\s|.,!?…。，、।۔،)]+`
)

// casedLetters is the letters with upper and lower case that deepseek-llm's expression lists.
const casedLetters = `A-Za-z\u00b5\u00c0-\u00d6\u00d8-\u00f6\u00f8-\u01ba\u01bc-\u01bf\u01c4-\u0293\u0295-\u02af\u0370-\u0373\u0376` +
	`\u0377\u037b-\u037d\u037f\u0386\u0388-\u038a\u038c\u038e-\u03a1\u03a3-\u03f5\u03f7-\u0481\u048a-\u052f` +
	`\u0531-\u0556\u10a0-\u10c5\u13a0-\u13f5\u13f8-\u13fd\u1c90-\u1cba\u1cbd-\u1cbf\u1d00-\u1d2b\u1d6b-\u1d77` +
	`\u1d79-\u1d9a` +
	`\u1e00-\u1f15\u1f18-\u1f1d\u1f20-\u1f45\u1f48-\u1f4d\u1f50-\u1f57\u1f59\u1f5b\u1f5d\u1f5f-\u1f7d\u1f80-\u1fb4` +
	`\u1fb6-\u1fbc\u1fbe\u1fc2-\u1fc4\u1fc6-\u1fcc\u1fd0-\u1fd3\u1fd6-\u1fdb\u1fe0-\u1fec\u1ff2-\u1ff4\u1ff6-\u1ffc` +
	`\u2102\u2107\u210a-\u2113\u2115\u2119-\u211d\u2124\u2126\u2128\u212a-\u212d\u212f-\u2134\u2139\u213c-\u213f` +
	`\u2145-\u2149\u214e\u2183\u2184\u2c00-\u2c7b\u2c7e-\u2ce4\u2ceb-\u2cee\u2cf2\u2cf3\ua640-\ua66d\ua680-\ua69b` +
	`\ua722-\ua76f\ua771-\ua787\ua78b-\ua78e\uab70-\uabbf\ufb00-\ufb06\ufb13-\ufb17\uff21-\uff3a\uff41-\uff5a` +
	`\x{10400}-\x{1044f}\x{104b0}-\x{104d3}\x{104d8}-\x{104fb}\x{10c80}-\x{10cb2}\x{10cc0}-\x{10cf2}` +
	`\x{118a0}-\x{118df}\x{1e900}-\x{1e943}`

// tiktoken is the expression of the cl100k family, with its own notion of a letter and of a number.
func tiktoken(letter, number string) string {
	return contraction + `|[^\r\n\p{L}\p{N}]?` + letter + `+|` + number + `| ?[^\s` + strings.Trim(letter, "[]") + `\p{N}]+[\r\n]*|` + gaps
}

// families is the pre-tokenizers; a name in the file is one of those in their keys, separated by blanks.
var families = map[string]preTokenizer{
	"default":                           {stages: []string{`[\p{P}\$\+<=>\^~\|]+`, gpt2Words, `\p{N}+`, `[0-9][0-9][0-9]`}},
	"falcon":                            {stages: []string{"[\\p{P}\\$\\+<=>\\^~\\|`]+", gpt2Words, `[0-9][0-9][0-9]`}},
	"gpt-2 phi-2 gigachat a.x-4.0":      {stages: []string{gpt2Words}},
	"mpt olmo jais exaone4 mellum":      {stages: []string{gpt2Words}},
	"trillion granite-docling":          {stages: []string{gpt2Words}},
	"starcoder refact command-r smollm": {stages: []string{`\p{N}`, gpt2Words}},
	"codeshell exaone minerva-7b":       {stages: []string{`\p{N}`, gpt2Words}},
	"llama3 llama-v3 llama-bpe falcon3": {stages: []string{tiktoken(`\p{L}`, `\p{N}{1,3}`)}, ignoreMerges: true,
		addBOS: true},
	"falcon-h1 pixtral midm-2.0 lfm2": {stages: []string{tiktoken(`\p{L}`, `\p{N}{1,3}`)}, ignoreMerges: true,
		addBOS: true},
	"dbrx smaug-bpe":                   {stages: []string{tiktoken(`\p{L}`, `\p{N}{1,3}`)}},
	"glm4 chatglm-bpe":                 {stages: []string{tiktoken(`\p{L}`, `\p{N}{1,3}`)}},
	"qwen2 deepseek-r1-qwen kormo":     {stages: []string{tiktoken(`\p{L}`, `\p{N}`)}},
	"megrez stablelm2 hunyuan grok-2":  {stages: []string{tiktoken(`\p{L}`, `\p{N}`)}},
	"solar-open":                       {stages: []string{tiktoken(`\p{L}`, `\p{N}`)}},
	"qwen35":                           {stages: []string{tiktoken(`[\p{L}\p{M}]`, `\p{N}`)}},
	"seed-coder":                       {stages: []string{contraction + `|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}\r\n]+|` + gaps}},
	"bailingmoe bailingmoe2 llada-moe": {stages: []string{`'(?:[sSdDmMtT]|[lL][lL]|[vV][eE]|[rR][eE])|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]|\s+(?!\S)|\s+`}},
	"tekken": {stages: []string{fmt.Sprintf(cased, "", `\p{N}`)}, ignoreMerges: true,
		addBOS: true},
	"gpt-4o llama4 kanana2 minimax-m2": {stages: []string{fmt.Sprintf(cased, contraction+"?", `\p{N}{1,3}`)}},
	"deepseek-llm": {stages: []string{`[\r\n]`, `\s?[` + casedLetters + `]+`,
		`\s?[!-/:-~！-／：-～‘-‟\u3001-。]+`, `\s+$`, cjkWide, `\p{N}+`}},
	"deepseek-coder":               {stages: []string{`[\r\n]`, `\s?\p{L}+`, `\s?\p{P}+`, cjkWide, `\p{N}`}},
	"deepseek-v3 hunyuan-dense":    {stages: []string{`\p{N}{1,3}`, cjk, deepseek3}},
	"joyai-llm":                    {stages: []string{`\p{N}{1,3}`, cjk, deepseek3}},
	"bloom poro-chat gpt3-finnish": {stages: []string{bloomWords}},
	"viking":                       {stages: []string{bloomWords, `\p{N}`}},
}

// byName is families by each single name.
var byName = sync.OnceValue(func() map[string]preTokenizer {
	out := map[string]preTokenizer{}
	for names, p := range families {
		for name := range strings.FieldsSeq(names) {
			out[name] = p
		}
	}
	return out
})

// findPreTokenizer is the pre-tokenizer of a name in tokenizer.ggml.pre; none at all means "default".
func findPreTokenizer(name string) (preTokenizer, error) {
	if name == "" {
		name = "default"
	}
	p, ok := byName()[name]
	if !ok {
		return p, fmt.Errorf("unknown pre-tokenizer %q in tokenizer.ggml.pre; known are %s", name,
			strings.Join(PreTokenizers(), ", "))
	}
	return p, nil
}

// PreTokenizers are the names that tokenizer.ggml.pre may have, sorted.
func PreTokenizers() []string { return slices.Sorted(maps.Keys(byName())) }

// ByteLevelWords is the expression of GPT-2, which Hugging Face's step ByteLevel has built in.
const ByteLevelWords = gpt2Words

// Stages are the expressions by which a pre-tokenizer cuts, one after the other: matches and what is between them are
// pieces. ignoreMerges: a piece that is a token as a whole is that token.
func Stages(name string) (stages []string, ignoreMerges bool, err error) {
	p, err := findPreTokenizer(name)
	return p.stages, p.ignoreMerges, err
}

// compiled keeps the patterns of this process: several tokenizers use the same ones.
var compiled sync.Map // expression -> *pattern.Pattern

func compile(expr string) (*pattern.Pattern, error) {
	if p, ok := compiled.Load(expr); ok {
		return p.(*pattern.Pattern), nil
	}
	p, err := pattern.Compile(expr)
	if err != nil {
		return nil, err
	}
	compiled.Store(expr, p)
	return p, nil
}
