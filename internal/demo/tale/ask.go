package tale

import "strings"

// A Pair is a question about a text and its answer.
type Pair struct{ Question, Answer string }

// Ask is every question that the story answers in one way only.
func (s *Story) Ask(variant uint64) []Pair { return s.ask(newSource(variant, 1)) }

func (s *Story) ask(src *source) []Pair {
	var pairs []Pair
	for _, e := range s.events {
		for _, q := range phrasebook[e.verb].asks {
			if s.unique(e, q) {
				part := func(p string) string { return plainPart(src, e, p) }
				pairs = append(pairs, Pair{fill(q.text, part), sentence(fill(q.answer, part))})
			}
		}
		if e.verb == feels && e.cause >= 0 {
			pairs = append(pairs, s.why(src, e))
		}
	}
	pairs = append(pairs, Pair{"How did " + s.Hero.Name + " feel in the end?", sentence(string(s.Mood))})
	pairs = append(pairs, s.looksOf(src)...)
	return append(pairs, s.whereNow(src)...)
}

// unique says whether no other event of the same kind fits the question and has another answer.
func (s *Story) unique(e event, q question) bool {
	for _, f := range s.events {
		if f.verb == e.verb && agree(e, f, q.text) && !agree(e, f, q.answer) {
			return false
		}
	}
	return true
}

// agree says whether two events have the same parts where the text names parts.
func agree(e, f event, text string) bool {
	same := true
	fill(text, func(part string) string {
		switch part {
		case "N":
			same = same && e.who == f.who
		case "O":
			same = same && e.whom == f.whom
		case "t", "r":
			same = same && e.thing == f.thing
		case "at", "to", "P":
			same = same && e.place == f.place
		case "w":
			same = same && e.word == f.word
		}
		return ""
	})
	return same
}

func (s *Story) why(src *source, e event) Pair {
	n := &narrator{source: src, story: s, seen: map[*Thing]bool{}, met: map[*Person]bool{e.who: true}}
	for _, p := range people {
		n.met[p] = true
	}
	return Pair{"Why was " + e.who.Name + " " + e.word + "?", sentence("because " + n.because(e))}
}

// looksOf asks for the adjective of each thing that has a name of its own.
func (s *Story) looksOf(src *source) []Pair {
	var pairs []Pair
	asked := map[string]bool{}
	for _, e := range s.events {
		if e.thing == nil || asked[e.thing.Name] {
			continue
		}
		asked[e.thing.Name] = true
		text := "What was the " + e.thing.Name + " like?"
		for _, c := range colours {
			if c == e.thing.Adj {
				text = "What colour was the " + e.thing.Name + "?"
			}
		}
		pairs = append(pairs, Pair{text, sentence(e.thing.Adj)})
	}
	return pairs
}

// whereNow follows each thing through the story and asks who has it, or where it is, in the end.
func (s *Story) whereNow(src *source) []Pair {
	var order []*Thing
	end := map[*Thing]Pair{}
	keep := func(t *Thing, text, answer string) {
		if _, ok := end[t]; !ok {
			order = append(order, t)
		}
		end[t] = Pair{text, sentence(answer)}
	}
	for _, e := range s.events {
		if e.thing == nil {
			continue
		}
		name := definite(src, e.thing)
		switch e.verb {
		case has, finds, takes, makes:
			keep(e.thing, "Who has "+name+" now?", e.who.Name)
		case gives, trades:
			keep(e.thing, "Who has "+name+" now?", e.whom.Name)
		case loses, puts, brings:
			keep(e.thing, "Where is "+name+" now?", e.place.in())
		}
	}
	var pairs []Pair
	for _, t := range order {
		pairs = append(pairs, end[t])
	}
	return pairs
}

// write puts pairs under each other as "Q: …" and "A: …" lines.
func write(pairs []Pair) string {
	var out strings.Builder
	for i, p := range pairs {
		if i > 0 {
			out.WriteByte('\n')
		}
		out.WriteString("Q: " + p.Question + "\nA: " + p.Answer)
	}
	return out.String()
}
