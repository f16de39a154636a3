package modelcard

import (
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode"
)

// parts are what the name of a model tells. A part that it does not tell is "".
type parts struct {
	organization, name                     string
	basename, finetune, version, sizeLabel string
}

// kind is what a part of a name is, as a set of bits: a version may be a part of the basename too.
type kind uint8

const (
	isBasename kind = 1 << iota
	isSize
	isFinetune
	isVersion
	isType
)

var (
	versionPart  = regexp.MustCompile(`(?i)^(v|iter)?\d+([.]\d+)*$`)
	typePart     = regexp.MustCompile(`(?i)^(i?q\d(_\w)*|b?fp?(16|32))$`)
	sizePart     = regexp.MustCompile(`(?i)^(([A]|\d+[x])?\d+([._]\d+)?[KMBT]\d?|small|mini|medium|large|x?xl)$`)
	finetunePart = regexp.MustCompile(`(?i)^(chat|instruct|vision|lora)$`)
)

// cutName cuts a model id ("owner/name") or the name of a directory at its hyphens. params is how many parameters the
// model has, negative for an adapter, which need not reach all layers, and 0 where that is not known: a part that looks
// like a size and is far from it is no size, but, say, a context length.
func cutName(id string, params int64) parts {
	if strings.Contains(id, " ") {
		return parts{name: id} // a name for people
	}
	owner, name, ok := strings.Cut(id, "/")
	if !ok {
		owner, name = "", id
	}
	if strings.HasPrefix(owner, ".") { // "./" and "../" are no owners
		owner = ""
	}
	p := parts{organization: owner, name: name}
	words := slices.DeleteFunc(strings.Split(name, "-"), func(w string) bool { return w == "" })
	kinds := make([]kind, len(words))
	for i := range words {
		words[i], kinds[i] = classify(words[i], i == 0, params)
	}
	dropWordSizes(words, kinds)
	markBasename(words, kinds)
	collect := func(want func(k kind) bool) string {
		var all []string
		for i, k := range kinds {
			if want(k) {
				all = append(all, words[i])
			}
		}
		return strings.Join(all, "-")
	}
	p.basename = collect(func(k kind) bool { return k&isBasename != 0 })
	p.finetune = collect(func(k kind) bool { return k&isFinetune != 0 })
	p.version = collect(func(k kind) bool { return k&isVersion != 0 && k&isBasename == 0 })
	seen := map[string]bool{}
	for i, k := range kinds {
		if k&isSize != 0 && !seen[words[i]] {
			seen[words[i]] = true
			p.sizeLabel = strings.TrimPrefix(p.sizeLabel+"-"+words[i], "-")
		}
	}
	if p.sizeLabel == "" && p.finetune == "" && p.version == "" {
		p.basename = "" // it would be the whole name
	}
	return p
}

// classify is the kind of one part, and how it is written.
func classify(word string, first bool, params int64) (string, kind) {
	switch {
	case versionPart.MatchString(word):
		return word, isVersion
	case typePart.MatchString(word):
		return strings.ToUpper(word), isType
	case !first && sizePart.MatchString(word):
		return classifySize(normalSize(word), params)
	case !first && finetunePart.MatchString(word):
		if params < 0 && strings.EqualFold(word, "lora") {
			return word, isType
		}
		return word, isFinetune
	}
	return word, 0
}

// normalSize writes a size as others are: "7b1" is 7.1B.
func normalSize(label string) string {
	label = strings.ReplaceAll(label, "_", ".")
	n := len(label)
	if isDigit(label[n-1]) {
		label = label[:n-2] + "." + label[n-1:] + label[n-2:n-1]
		n++
	}
	if n > 1 && isDigit(label[n-2]) && strings.ContainsRune("kmbt", rune(label[n-1])) {
		label = label[:n-1] + strings.ToUpper(label[n-1:])
	}
	return label
}

func isDigit(c byte) bool { return '0' <= c && c <= '9' }

// classifySize is isSize unless the number is far from the real one.
func classifySize(label string, params int64) (string, kind) {
	last := len(label) - 1
	number, err := strconv.ParseFloat(label[:last], 64)
	if params == 0 || err != nil {
		return label, isSize
	}
	for range strings.IndexByte(" KMBT", label[last]) {
		number *= 1000
	}
	off := max(number-float64(params), float64(params)-number) > float64(7*params/8)
	if params < 0 {
		off = number < float64(-params/8)
	}
	if off {
		return label[:last] + strings.ToLower(label[last:]), isFinetune
	}
	return label, isSize
}

// dropWordSizes takes the kind of sizes that are words where one is a number.
func dropWordSizes(words []string, kinds []kind) {
	numeric := false
	for i, k := range kinds {
		numeric = numeric || k&isSize != 0 && strings.ContainsFunc(words[i], unicode.IsDigit)
	}
	for i := range kinds {
		if numeric && kinds[i]&isSize != 0 && !strings.ContainsFunc(words[i], notLetter) {
			kinds[i] &^= isSize
		}
	}
}

func notLetter(r rune) bool { return !unicode.IsLetter(r) }

// markBasename finds the parts that the basename has, from the start, and calls what no kind fits the finetune.
func markBasename(words []string, kinds []kind) {
	atStart := true
	for i, k := range kinds {
		begins := k == 0 && !strings.ContainsFunc(words[i][:firstRune(words[i])], notLetter)
		switch {
		case atStart && (begins || k&isVersion != 0):
			kinds[i] |= isBasename
		default:
			atStart = false
			if k == 0 {
				kinds[i] = isFinetune
			}
		}
	}
	for i := len(kinds) - 1; i >= 0 && kinds[i]&isBasename != 0 && kinds[i] != isBasename; i-- {
		kinds[i] &^= isBasename // a version at the end is that
	}
}

// firstRune is the bytes of the first character of a text.
func firstRune(s string) int {
	for i := range s {
		if i > 0 {
			return i
		}
	}
	return len(s)
}

// untitled are words that stay as they are in titles: versions and numbers.
var untitled = regexp.MustCompile(`^(v\d+(?:\.\d+)*|\d.*)$`)

// title is a name in words: "smollm2-chat-135m" becomes "Smollm2 Chat 135m".
func title(name string) string {
	words := strings.Fields(strings.ReplaceAll(strings.TrimSpace(name), "-", " "))
	for i, w := range words {
		if isLower(w) && !untitled.MatchString(w) {
			words[i] = capitalize(w)
		}
	}
	return strings.Join(words, " ")
}

// isLower is true where a word has letters and all are lower case.
func isLower(w string) bool {
	return strings.ContainsFunc(w, unicode.IsLower) &&
		!strings.ContainsFunc(w, func(r rune) bool { return unicode.IsUpper(r) || unicode.IsTitle(r) })
}

// capitalize makes each letter upper case that follows none: "the_pile2x" becomes "The_Pile2X".
func capitalize(w string) string {
	var b strings.Builder
	inside := false
	for _, r := range w {
		letter := unicode.IsLetter(r)
		if letter && !inside {
			r = unicode.ToTitle(r)
		}
		inside = letter
		b.WriteRune(r)
	}
	return b.String()
}
