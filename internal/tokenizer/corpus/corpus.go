// Package corpus makes the texts by which tokenizers are compared: many scripts, every kind of white space, numbers,
// punctuation, marks, emoji, code, and all of them side by side. The same seed gives the same texts.
package corpus

import (
	"math/rand/v2"
	"strings"
	"unicode"
)

// words are what real texts are made of, and what expressions tell apart.
var words = strings.Split(`the|The|THE|hello|Hello world|don't|DON'T|we'll|I'Ve|they're|'tis|o'clock|it's|x'S|can''t|naïve|café|Ünïcödé|`+
	`straße|ﬁne|ŒUVRE|İstanbul|ıssız|Ǆ|ǅ|ǆ|ſ|ß|Привет|МИР|ещё|Ελληνικά|ΣΑΣ|ς|Ⴀ|ქართული|Ꭰꭰ|שלום|עולם|مرحبا|بالعالم|`+
	`नमस्ते|हिन्दी|বাংলা|தமிழ்|తెలుగు|ไทย|สวัสดี|ລາວ|ខ្មែរ|မြန်မာ|བོད|한국어|안녕|ㄱㄴ|ㅏ|日本語|カタカナ|ひらがな|ー|々|〇|中文|漢字|東京|台灣|`+
	`𠀀|𪛖|𫝀|ㄅㄆ|豈|𝒜𝓁𝓅|ａＢｃ|ａｂ|ﾊﾝｶｸ|１２３|٣٤٥|१२३|Ⅷ|½|²|①|〡|0|1|12|123|1234|12345|123456|1234567|12345678901234567890|3.14|`+
	`1,000,000|1e-9|0xFF|2024-01-02|12:34:56|$5|€9.99|100%|#tag|@name|a_b|snake_case|camelCase|HTTPServer|XMLHttp2|foo.bar()|`+
	`if (x == 1) {|return;|=>|!=|&&|+=|//|/*|*/|<b>|</b>|"quoted"|“curly”|‘single’|«guillemets»|…|...|!!!|?!|、|。|！|？|（|）|「」|《》|—|–|-|`+
	`http://a.b/c?d=e&f=g|user@example.com|C:\\dir\\file|/usr/bin|\\n|\\u00e9|`+"`code`|```|~|^|_|__init__"+`|😀|👍🏽|👨‍👩‍👧‍👦|🇩🇪|❤️|☺|♥|→|∑|≠|∞|°C|`+
	`e`+"\u0301"+`|a`+"\u0308\u0323"+`|`+"\u0301"+`|क`+"\u094d"+`ष|`+"\u200d|\u200b|\u200c|\u200e|\ufeff|\u00ad|\u2060|\u0000|\u0001|\u001f|\u007f|\u0085|\ufffd|\ue000|▁|▁▁|▁a|"+
	`<|`+`>|<s>|</s>|<unk>|[CLS]|[MASK]|<mask>|<pad>|<0x0A>|<dna>|##ing|Ġ|Ċ|ing|tion|un|re|anti|zzzz|aaaa|Q|q`, "|")

// spaces are kinds of white space, alone and in runs.
var spaces = []string{" ", " ", " ", " ", "  ", "   ", "    ", "        ", "\t", "\t\t", "\n", "\n\n", "\n\n\n", "\r\n", "\r",
	" \n", "\n ", " \t ", "\v", "\f", "\u00a0", "\u2003", "\u2028", "\u2029", "\u3000", "\u1680", "\u205f", "\u202f"}

// scripts are the tables that random runes come from.
var scripts = []*unicode.RangeTable{unicode.Latin, unicode.Cyrillic, unicode.Greek, unicode.Arabic, unicode.Hebrew,
	unicode.Devanagari, unicode.Thai, unicode.Hangul, unicode.Hiragana, unicode.Katakana, unicode.Han, unicode.Tamil,
	unicode.Ethiopic, unicode.Khmer, unicode.P, unicode.S, unicode.N, unicode.M, unicode.Lu, unicode.Lm, unicode.Lo, unicode.Zs,
	unicode.Cf}

// Texts makes n texts, most of them short.
func Texts(n int, seed uint64) []string {
	r := rand.New(rand.NewPCG(seed, 20))
	runes := make([][]rune, len(scripts))
	for i, t := range scripts {
		runes[i] = members(t)
	}
	out := make([]string, n)
	for i := range out {
		var b strings.Builder
		parts := 1 + r.IntN(12)
		glued := r.IntN(3) == 0
		for range parts {
			switch k := r.IntN(20); {
			case k < 12:
				b.WriteString(words[r.IntN(len(words))])
			case k < 15:
				b.WriteString(spaces[r.IntN(len(spaces))])
			case k < 18:
				of := runes[r.IntN(len(runes))]
				for range 1 + r.IntN(4) {
					b.WriteRune(of[r.IntN(len(of))])
				}
			case k < 19:
				b.WriteRune(rune(' ' + r.IntN(95)))
			default:
				s := spaces[r.IntN(len(spaces))]
				b.WriteString(strings.Repeat(s, 1+r.IntN(20)))
			}
			if !glued && r.IntN(3) > 0 {
				b.WriteString(spaces[r.IntN(len(spaces))])
			}
		}
		out[i] = b.String()
	}
	return out
}

// members is the runes of a table.
func members(t *unicode.RangeTable) []rune {
	var out []rune
	for _, p := range t.R16 {
		for c := rune(p.Lo); c <= rune(p.Hi); c += rune(p.Stride) {
			out = append(out, c)
		}
	}
	for _, p := range t.R32 {
		for c := rune(p.Lo); c <= rune(p.Hi); c += rune(p.Stride) {
			out = append(out, c)
		}
	}
	return out
}
