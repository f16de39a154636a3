package tale

import (
	"bufio"
	"io"
	"strings"
)

// Document is text number i of the corpus that a seed stands for: a tale, mostly with questions and answers, a
// description, a conversation, a puzzle. Held-out documents are all tales with questions, whose hero and thing never
// meet in the others.
func Document(seed, i uint64, heldOut bool) string {
	src := newSource(seed, i)
	if heldOut {
		return taleAndQuestions(src, true)
	}
	n := src.below(100)
	for _, k := range kinds {
		if n < k.share {
			return k.write(src)
		}
		n -= k.share
	}
	panic("tale: the shares of the kinds of documents do not make 100")
}

// kinds are the kinds of documents and how many of a hundred each has.
var kinds = []struct {
	share int
	write func(*source) string
}{
	{50, func(src *source) string { return taleAndQuestions(src, false) }},
	{7, requested},
	{8, retold},
	{6, card},
	{4, puzzles},
	{8, aboutPerson},
	{5, aboutPlace},
	{1, func(src *source) string { return heading(src, "the owl") + describeOwl(src) }},
	{4, quiz},
	{7, func(src *source) string { text, pairs := talk(src); return text + some(src, pairs, 4) }},
}

func aboutPerson(src *source) string {
	p := pick(src, people)
	return heading(src, p.Name) + p.describe(src) + some(src, p.ask(), 3)
}

func aboutPlace(src *source) string {
	p := pick(src, places)
	return heading(src, "the "+p.Name) + p.describe(src) + some(src, p.ask(), 2)
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
	return text + "\n\n" + write(pairs[:min(len(pairs), 3+src.below(5))])
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

// retold is a tale told twice in the plain voice, the second time by somebody of the valley.
func retold(src *source) string {
	s := newStory(src, false)
	first, teller := s.tell(src), pick(src, people)
	for teller == s.Hero {
		teller = pick(src, people)
	}
	who := teller.Name
	if src.chance(50) {
		who = "The " + teller.Kind
	}
	return first + "\n\n" + who + " tells it: " + s.tell(src)
}

// card is a tale with a few lines that say what it is about.
func card(src *source) string {
	s := newStory(src, false)
	lines := []string{"Hero: " + s.Hero.Name, "Thing: " + s.Thing.full(), "Time: " + s.when}
	if p := s.firstPlace(); p != nil {
		lines = append(lines, "Place: "+p.Name)
	}
	if p := s.firstOther(); p != nil {
		lines = append(lines, "Friend: "+p.Name)
	}
	shuffle(src, lines)
	return s.tell(src) + "\n\n" + strings.Join(lines[:1+src.below(len(lines))], "\n")
}

func (s *Story) firstPlace() *Place {
	for _, e := range s.events {
		if e.place != nil {
			return e.place
		}
	}
	return nil
}

func (s *Story) firstOther() *Person {
	for _, e := range s.events {
		if e.whom != nil && e.whom != s.Hero {
			return e.whom
		}
	}
	return nil
}

// puzzles are sentences whose words have been mixed, each with its solution.
func puzzles(src *source) string {
	var lines []string
	for _, text := range strings.Split(newStory(src, false).tell(src), ". ") {
		text = strings.TrimSuffix(text, ".")
		if strings.ContainsAny(text, `",`) || len(lines) == 8 {
			continue
		}
		words := strings.Fields(text)
		if !isName(words[0]) {
			words[0] = strings.ToLower(words[0])
		}
		shuffle(src, words)
		lines = append(lines, "Puzzle: "+strings.Join(words, " ")+".", "Solution: "+text+".")
	}
	if len(lines) == 0 {
		return quiz(src)
	}
	return strings.Join(lines, "\n")
}

func isName(word string) bool {
	for _, p := range people {
		if p.Name == word {
			return true
		}
	}
	return false
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
