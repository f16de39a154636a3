package tale

import (
	"bufio"
	"io"
)

// Document is text number i of the corpus that a seed stands for: a tale, mostly with questions and answers, a
// description, or a conversation. Held-out documents are all tales, whose hero and thing never meet in the others.
func Document(seed, i uint64, heldOut bool) string {
	src := newSource(seed, i)
	if heldOut {
		return taleAndQuestions(src, true)
	}
	switch n := src.below(100); {
	case n < 62:
		return taleAndQuestions(src, false)
	case n < 75:
		return requested(src)
	case n < 83:
		p := pick(src, people)
		return heading(src, p.Name) + p.describe(src) + some(src, p.ask(), 3)
	case n < 86:
		p := pick(src, places)
		return heading(src, "the "+p.Name) + p.describe(src) + some(src, p.ask(), 2)
	case n < 88:
		return heading(src, "the owl") + describeOwl(src)
	case n < 91:
		return quiz(src)
	}
	text, pairs := talk(src)
	return text + some(src, pairs, 4)
}

func taleAndQuestions(src *source, heldOut bool) string {
	s := newStory(src, heldOut)
	told := s
	if src.chance(25) {
		told = s.WithoutMood()
	}
	text := told.tell(src)
	pairs := s.ask(src)
	shuffle(src, pairs)
	return text + "\n\n" + write(pairs[:min(len(pairs), 2+src.below(5))])
}

// requested is a tale that the reader has asked for, or one with a title.
func requested(src *source) string {
	s := newStory(src, false)
	title := "The tale of " + s.Hero.Name + " and the " + s.Thing.full() + "."
	if src.chance(60) {
		title = "Tell a tale of " + s.Hero.Name + " and " + indefinite(s.Thing.full()) + "."
	}
	return title + "\n\n" + s.tell(src)
}

// quiz asks about people and places without any text.
func quiz(src *source) string {
	var pairs []Pair
	for range 4 + src.below(4) {
		if src.chance(70) {
			pairs = append(pairs, pick(src, pick(src, people).ask()))
		} else {
			pairs = append(pairs, pick(src, pick(src, places).ask()))
		}
	}
	return write(pairs)
}

func heading(src *source, what string) string {
	if src.chance(50) {
		return "Tell me about " + what + ".\n\n"
	}
	return ""
}

// some is up to n of the pairs, below a text.
func some(src *source, pairs []Pair, n int) string {
	shuffle(src, pairs)
	n = src.below(min(n, len(pairs)) + 1)
	if n == 0 {
		return ""
	}
	return "\n\n" + write(pairs[:n])
}

// WriteCorpus writes documents first to first+n-1, an empty line between two of them.
func WriteCorpus(w io.Writer, seed, first, n uint64, heldOut bool) error {
	b := bufio.NewWriter(w)
	for i := first; i < first+n; i++ {
		if i > first {
			b.WriteString("\n\n")
		}
		b.WriteString(Document(seed, i, heldOut))
	}
	b.WriteByte('\n')
	return b.Flush()
}

// A Probe is a question about a held-out tale: the model reads the prompt and should go on with the answer.
type Probe struct{ Prompt, Answer string }

// Probes draws n questions about held-out tales, one from each.
func Probes(seed uint64, n int) []Probe {
	probes := make([]Probe, n)
	for i := range probes {
		src := newSource(seed, uint64(i))
		s := newStory(src, true)
		text := s.tell(src)
		p := pick(src, s.ask(src))
		probes[i] = Probe{text + "\n\nQ: " + p.Question + "\nA:", " " + p.Answer}
	}
	return probes
}

// FactProbes are all questions about the world's people and places, without any text to read the answer from.
func FactProbes() []Probe {
	var probes []Probe
	add := func(pairs []Pair) {
		for _, p := range pairs {
			probes = append(probes, Probe{"Q: " + p.Question + "\nA:", " " + p.Answer})
		}
	}
	for _, p := range people {
		add(p.ask())
	}
	for _, p := range places {
		add(p.ask())
	}
	return probes
}
