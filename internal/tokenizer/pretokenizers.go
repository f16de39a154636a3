package tokenizer

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"

	"github.com/peftconv/peftconv/internal/tokenizer/pattern"
)

// preTokenizer is how a byte-level vocabulary wants its text cut. The stages apply one after the other: each cuts
// every piece that those before it left, and both its matches and what lies between them are pieces.
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
	cjkWide     = `[一-龥ࠀ-一가-\ud7ff]+`
	bloomWords  = ` ?[^(\s|.,!?…。，、।۔،)]+`
)

// casedLetters is the letters with upper and lower case that deepseek-llm's expression lists.
const casedLetters = `A-Za-zµÀ-ÖØ-öø-ƺƼ-ƿǄ-ʓʕ-ʯͰ-ͳͶͷͻ-ͽͿΆΈ-ΊΌΎ-ΡΣ-ϵϷ-ҁҊ-ԯԱ-ՖႠ-ჅᎠ-Ᏽᏸ-ᏽᲐ-ᲺᲽ-Ჿᴀ-ᴫᵫ-ᵷᵹ-ᶚḀ-ἕἘ-Ἕἠ-ὅὈ-Ὅὐ-ὗὙὛὝ` +
	`Ὗ-ώᾀ-ᾴᾶ-ᾼ\u1fbeῂ-ῄῆ-ῌῐ-\u1fd3ῖ-\u1fdbῠ-Ῥῲ-ῴῶ-ῼℂℇℊ-ℓℕℙ-ℝℤ\u2126ℨ\u212a-ℭℯ-ℴℹℼ-ℿⅅ-ⅉⅎↃↄⰀ-ⱻⱾ-ⳤⳫ-ⳮⳲⳳꙀ-ꙭꚀ-ꚛꜢ-ꝯꝱ-ꞇꞋ-ꞎꭰ-ꮿﬀ-ﬆﬓ-ﬗＡ-Ｚａ-ｚ` +
	`𐐀-𐑏𐒰-𐓓𐓘-𐓻𐲀-𐲲𐳀-𐳲𑢠-𑣟𞤀-𞥃`

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
	"llama3 llama-v3 llama-bpe falcon3": {stages: []string{tiktoken(`\p{L}`, `\p{N}{1,3}`)}, ignoreMerges: true, addBOS: true},
	"falcon-h1 pixtral midm-2.0 lfm2":   {stages: []string{tiktoken(`\p{L}`, `\p{N}{1,3}`)}, ignoreMerges: true, addBOS: true},
	"dbrx smaug-bpe":                    {stages: []string{tiktoken(`\p{L}`, `\p{N}{1,3}`)}},
	"glm4 chatglm-bpe":                  {stages: []string{tiktoken(`\p{L}`, `\p{N}{1,3}`)}},
	"qwen2 deepseek-r1-qwen kormo":      {stages: []string{tiktoken(`\p{L}`, `\p{N}`)}},
	"megrez stablelm2 hunyuan grok-2":   {stages: []string{tiktoken(`\p{L}`, `\p{N}`)}},
	"solar-open":                        {stages: []string{tiktoken(`\p{L}`, `\p{N}`)}},
	"qwen35":                            {stages: []string{tiktoken(`[\p{L}\p{M}]`, `\p{N}`)}},
	"seed-coder":                        {stages: []string{contraction + `|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}\r\n]+|` + gaps}},
	"bailingmoe bailingmoe2 llada-moe":  {stages: []string{`'(?:[sSdDmMtT]|[lL][lL]|[vV][eE]|[rR][eE])|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]|\s+(?!\S)|\s+`}},
	"tekken":                            {stages: []string{fmt.Sprintf(cased, "", `\p{N}`)}, ignoreMerges: true, addBOS: true},
	"gpt-4o llama4 kanana2 minimax-m2":  {stages: []string{fmt.Sprintf(cased, contraction+"?", `\p{N}{1,3}`)}},
	"deepseek-llm":                      {stages: []string{`[\r\n]`, `\s?[` + casedLetters + `]+`, `\s?[!-/:-~！-／：-～‘-‟\u3000-。]+`, `\s+$`, cjkWide, `\p{N}+`}},
	"deepseek-coder":                    {stages: []string{`[\r\n]`, `\s?\p{L}+`, `\s?\p{P}+`, cjkWide, `\p{N}`}},
	"deepseek-v3 hunyuan-dense":         {stages: []string{`\p{N}{1,3}`, cjk, deepseek3}},
	"joyai-llm":                         {stages: []string{`\p{N}{1,3}`, cjk, deepseek3}},
	"bloom poro-chat gpt3-finnish":      {stages: []string{bloomWords}},
	"viking":                            {stages: []string{bloomWords, `\p{N}`}},
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
		known := slices.Sorted(maps.Keys(byName()))
		return p, fmt.Errorf("unknown pre-tokenizer %q in tokenizer.ggml.pre; known are %s", name, strings.Join(known, ", "))
	}
	return p, nil
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
