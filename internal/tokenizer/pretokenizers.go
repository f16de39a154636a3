package tokenizer

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"unicode"
	"unicode/utf8"

	"github.com/peftconv/peftconv/internal/tokenizer/pattern"
)

// preTokenizer describes how text is cut for a byte-level vocabulary. The stages apply one after the other: each cuts
// every piece of the stage before it, and both its matches and the text between them are pieces.
type preTokenizer struct {
	stages       []string
	ignoreMerges bool // a word that is a token as a whole is that token, whatever the merges say
	addBOS       bool // begin with BOS unless the file says otherwise
	raw          bool // words are runes, not bytes spelled as runes, and what is no token is spelled in byte tokens
	marks        bool // spaces are written as ▁
	newlines     bool // a run of newlines that is a token is that token
	noMerges     bool // the file may have no merges
	stripsMask   bool // <mask> swallows the white space before it
}

// The parts that many expressions share.
const (
	contraction = `(?:'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD])`
	gaps        = `\s*[\r\n]+|\s+(?!\S)|\s+`
	ascii       = "[!\"#$%&'()*+,\\-./:;<=>?@\\[\\\\\\]^_`{|}~]"
	cased       = `[^\r\n\p{L}\p{N}]?[%[3]s&&[^a-z]]*[%[3]s&&[^A-Z]]+%[1]s|` +
		`[^\r\n\p{L}\p{N}]?[%[3]s&&[^a-z]]+[%[3]s&&[^A-Z]]*%[1]s|%[2]s| ?[^\s\p{L}\p{N}]+[\r\n/]*|` + gaps
	gpt2Words  = `'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+`
	deepseek3  = ascii + `[A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*|` + gaps
	cjk        = `[一-龥\u3040-ゟ゠-ヿ]+`
	cjkWide    = `[\u0800-龥가-\ud7ff&&\S]+` // without the spaces in that range, which llama.cpp keeps apart
	bloomWords = ` ?[^(\s|.,!?…。，、।۔،)]+`
	lines      = `[^\n]+|[\n]+`
	han        = `\u4e00-\u9fff\u3400-\u4dbf\x{20000}-\x{2a6df}\x{2a700}-\x{2ebef}\uf900-\ufaff\x{2f800}-\x{2fa1f}`
	afmoeWide  = `[\u4e00-\u9fff\u3400-\u4dbf\u8c48-\ufaff\u3040-\u30ff\uff65-\uff9f\u2f00-\u2fdf\u0e40-\u0e7f` +
		`\u0e80-\u0eff\u1780-\u17ff\u1000-\u109f\uaa60-\uaa7f\ua9e0-\ua9ff\uac00-\ud7af\u1100-\u11ff]+`
	youtuWide = `[\uac00-\ud7a3\u3131-\u318e]+|[\uff01\u2026“”‘’—\uff1a\uff1b\uff0c\u3001-\u303f\ufe30-\ufe4f]+|` +
		`[\u3105-\u312f]+|` + cjk
	shrinking = `\s{512}(?!\S)|\s{256}(?!\S)|\s{128}(?!\S)|\s{64}(?!\S)|\s{32}(?!\S)|\s{16}(?!\S)|\s{8}(?!\S)|` +
		`\s{4}(?!\S)|\s{1,2}(?!\S)|\s`
)

// anyCase is the expression of tokenizers that tell upper from lower case, as llama.cpp runs it where its own letters
// have no case: words are letters and marks.
func anyCase(number string) string {
	return `[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+` + contraction + `?|` + number + `| ?[^\s\p{L}\p{N}]+[\r\n/]*|` + gaps
}

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
	"default": {stages: []string{`[\p{P}\$\+<=>\^~\|]+`, gpt2Words, `\p{N}+`, `[0-9][0-9][0-9]`}},
	"falcon":  {stages: []string{"[\\p{P}\\$\\+<=>\\^~\\|`]+", gpt2Words, `[0-9][0-9][0-9]`}},
	"gpt-2 phi-2 gigachat a.x-4.0 mpt olmo jais exaone4": {stages: []string{gpt2Words}},
	"mellum trillion granite-docling jina-es jina-de":    {stages: []string{gpt2Words}},
	"modern-bert jina-v1-en roberta-bpe":                 {stages: []string{gpt2Words}},
	"jina-v2-es jina-v2-de jina-v2-code":                 {stages: []string{gpt2Words}, stripsMask: true},
	"starcoder refact command-r smollm":                  {stages: []string{`\p{N}`, gpt2Words}},
	"codeshell exaone minerva-7b mellum2":                {stages: []string{`\p{N}`, gpt2Words}},
	"llama3 llama-v3 llama-bpe falcon3 falcon-h1 pixtral midm-2.0 lfm2 jina-v5-nano": {
		stages: []string{tiktoken(`\p{L}`, `\p{N}{1,3}`)}, ignoreMerges: true, addBOS: true},
	"dbrx smaug-bpe glm4 chatglm-bpe": {stages: []string{tiktoken(`\p{L}`, `\p{N}{1,3}`)}},
	"jais-2":                          {stages: []string{strings.TrimSuffix(tiktoken(`\p{L}`, `\p{N}{1,3}`), `\s+(?!\S)|\s+`) + shrinking}},
	"minicpm5":                        {stages: []string{`\p{N}{1,3}`, tiktoken(`\p{L}`, `\p{N}+`)}, ignoreMerges: true},
	"qwen2 deepseek-r1-qwen kormo f2llmv2 megrez stablelm2 hunyuan grok-2 solar-open": {
		stages: []string{tiktoken(`\p{L}`, `\p{N}`)}},
	"ufakzeka":   {stages: []string{strings.TrimPrefix(tiktoken(`\p{L}`, `\p{N}`), contraction+"|")}},
	"qwen35":     {stages: []string{tiktoken(`[\p{L}\p{M}]`, `\p{N}`)}},
	"laguna":     {stages: []string{lines, tiktoken(`\p{L}`, `\p{N}`)}},
	"seed-coder": {stages: []string{contraction + `|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}\r\n]+|` + gaps}},
	"bailingmoe bailingmoe2 llada-moe": {stages: []string{`'(?:[sSdDmMtT]|[lL][lL]|[vV][eE]|[rR][eE])|` +
		`[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]|\s+(?!\S)|\s+`}},
	"exaone-moe": {stages: []string{contraction + `|[^\r\n\p{L}\p{N}]?\p{L}\p{M}*(?: ?\p{L}\p{M}*)*|\p{N}|` +
		` ?[^\s\p{L}\p{N}]+[\r\n/]?|\s*[\r\n]|\s+(?!\S)|\s+`}},
	"tekken": {stages: []string{fmt.Sprintf(cased, "", `\p{N}`, `\p{L}`)}, ignoreMerges: true, addBOS: true},
	"gpt-4o llama4 kanana2 talkie minimax-m2": {
		stages: []string{fmt.Sprintf(cased, contraction+"?", `\p{N}{1,3}`, `\p{L}`)}},
	"granite-embed-multi-97m": {
		stages: []string{fmt.Sprintf(cased, contraction+"?", `\p{N}{1,3}`, `\p{L}\p{M}`)}, ignoreMerges: true},
	"tiny_aya cohere2moe": {stages: []string{digitGroups, anyCase(`\p{N}{1,3}`)}},
	"youtu":               {stages: []string{youtuWide, anyCase(`\p{N}`)}, ignoreMerges: true},
	"afmoe":               {stages: []string{digitGroups, afmoeWide, deepseek3}},
	"kimi-k2": {noMerges: true, stages: []string{`[` + han + `]+|[^\r\n\p{L}\p{N}]?[\p{L}&&[^` + han + `]]+` + contraction +
		`?|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|` + gaps}},
	"deepseek-llm": {stages: []string{`[\r\n]`, `\s?[` + casedLetters + `]+`,
		`\s?[!-/:-~！-／：-～‘-‟\u3001-。]+`, `\s+$`, cjkWide, `\p{N}+`}},
	"deepseek-coder": {stages: []string{`[\r\n]`, `\s?\p{L}+`, `\s?\p{P}+`, cjkWide, `\p{N}`}},
	"deepseek-v3 hunyuan-dense joyai-llm hy_v4": {stages: []string{`\p{N}{1,3}`, cjk, deepseek3}},
	"spark2_5": {stages: []string{`\p{N}{1,3}`, cjk, ascii + `[A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+|` +
		` ?[\p{P}\p{S}]+|[\r\n]|\s+(?!\S)|\s+`, `\p{N}`}},
	"bloom poro-chat gpt3-finnish": {stages: []string{bloomWords}},
	"viking":                       {stages: []string{bloomWords, `\p{N}`}},
	"superbpe":                     {stages: []string{`\p{N}+`, thousands}},
	"chameleon": {addBOS: true, stages: []string{`<sentinel:[0-9]+>`, `IMGIMG[A-I]{1,4}Z`, `[\t\n]|    |  `, `\p{N}`,
		"[\\p{P}!-/:-@\\[-`{-~]", gpt2Words}},
	"gemma4 granite-embed-multi-311m": {stages: []string{lines}, raw: true, marks: true, newlines: true},
	"sarvam-moe":                      {stages: []string{lines}, raw: true, marks: true},
	"whitespace":                      {stages: []string{`\S+`}, raw: true},
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

// PreTokenizers is the names that tokenizer.ggml.pre may have, sorted.
func PreTokenizers() []string { return slices.Sorted(maps.Keys(byName())) }

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

// ByteLevelWords is the expression of GPT-2, which Hugging Face's step ByteLevel has built in.
const ByteLevelWords = gpt2Words

// Rules are how texts are cut for a byte-level vocabulary.
type Rules struct {
	Stages       []string // expressions, one after the other: matches and what is between them are pieces
	IgnoreMerges bool     // a piece that is a token as a whole is that token
	Raw          bool     // tokens are of characters, not of bytes,
	Marks        bool     // and have ▁ for spaces
}

// RulesOf are those of a name in tokenizer.ggml.pre.
func RulesOf(name string) (Rules, error) {
	p, err := findPreTokenizer(name)
	return Rules{p.stages, p.ignoreMerges, p.raw, p.marks}, err
}

// stage cuts a text into pieces, in order and without leaving anything out.
type stage interface {
	Split(text string, m *pattern.Scratch, yield func(piece string, matched bool) bool)
}

// compiled keeps the stages of this process: several tokenizers use the same ones.
var compiled sync.Map // expression -> stage

func compile(expr string) (stage, error) {
	if s, ok := compiled.Load(expr); ok {
		return s.(stage), nil
	}
	if s, ok := byHand[expr]; ok {
		return s, nil
	}
	p, err := pattern.Compile(expr)
	if err != nil {
		return nil, err
	}
	compiled.Store(expr, p)
	return p, nil
}

// Stages that llama.cpp does by hand, or that would take quadratic time as expressions.
const (
	digitGroups = `\p{AFMoE_digits}`
	thousands   = `(?=(\d{3})+(?!\d))`
)

var byHand = map[string]stage{digitGroups: groups{unicode.IsNumber, true}, thousands: groups{isDigit, false}}

func isDigit(r rune) bool { return '0' <= r && r <= '9' }

// groups cuts runs of digits into groups of three, counted from the right of a run.
type groups struct {
	digit func(rune) bool
	// joined: what stands before a run belongs to its first group, and a cut comes behind the run. Otherwise there is
	// a cut before each whole group and none behind.
	joined bool
}

func (g groups) Split(text string, _ *pattern.Scratch, yield func(piece string, matched bool) bool) {
	from := 0
	cut := func(at int) bool {
		ok := at == from || yield(text[from:at], true)
		from = at
		return ok
	}
	for at := 0; at < len(text); {
		end, n := at, 0
		for end < len(text) {
			r, size := utf8.DecodeRuneInString(text[end:])
			if !g.digit(r) {
				break
			}
			end += size
			n++
		}
		if n == 0 {
			_, size := utf8.DecodeRuneInString(text[at:])
			at += size
			continue
		}
		for left := n; left > 0; left-- {
			if left%3 == 0 && !(g.joined && left == n) && !cut(at) {
				return
			}
			_, size := utf8.DecodeRuneInString(text[at:])
			at += size
		}
		if g.joined && !cut(end) {
			return
		}
	}
	cut(len(text))
}
