package tale

import "strings"

// Tell is the story as the plain narrator tells it; the variant chooses among the ways to say it.
func (s *Story) Tell(variant uint64) string {
	return s.tell(newSource(variant, 0))
}

func (s *Story) tell(src *source) string {
	n := &narrator{source: src, story: s, seen: map[*Thing]bool{}, met: map[*Person]bool{}}
	var sentences []string
	for i := 0; i < len(s.events); {
		text, used := n.sentence(i)
		sentences = append(sentences, text)
		i += used
	}
	return strings.Join(sentences, " ")
}

// narrator remembers what has been said, so that pronouns and articles are right.
type narrator struct {
	*source
	story   *Story
	seen    map[*Thing]bool
	met     map[*Person]bool
	subject *Person // of the last sentence
	object  *Person // the other person in it
	thing   *Thing  // the thing in it
	place   *Place  // the place in it
	timed   bool    // the time has been told
	begun   int     // sentences told
}

// sentence tells event i, or i and the next in one; used is how many.
func (n *narrator) sentence(i int) (text string, used int) {
	e := n.story.events[i]
	if forms := n.joins(i); forms != nil {
		second := n.story.events[i+1]
		second.word = e.word
		return n.finish(second, pick(n.source, forms), false), 2
	}
	form := pick(n.source, phrasebook[e.verb].plain)
	if e.verb == feels && e.cause >= 0 && n.chance(35) {
		return n.finish(e, form+" because "+n.because(e), false), 1
	}
	return n.finish(e, form, i == len(n.story.events)-1), 1
}

func (n *narrator) joins(i int) []string {
	if i+1 == len(n.story.events) {
		return nil
	}
	e, f := n.story.events[i], n.story.events[i+1]
	if e.who == nil || e.who != f.who || e.place != f.place || !n.chance(50) {
		return nil
	}
	return joined[[2]verb{e.verb, f.verb}]
}

// because is the cause of a feeling as a clause.
func (n *narrator) because(e event) string {
	c := n.story.events[e.cause]
	form := phrasebook[c.verb].plain[0]
	if c.who == e.who {
		form = strings.ReplaceAll(form, "{S}", "{s}")
	} else {
		form = strings.ReplaceAll(form, "{S}", "{N}")
	}
	if c.thing != nil {
		form = strings.ReplaceAll(form, "{it}", "{t}")
		form = strings.ReplaceAll(form, "{a}", "{t}")
	}
	if c.whom == e.who {
		form = strings.ReplaceAll(form, "{O}", e.who.object())
	}
	form = strings.ReplaceAll(form, "{in}", "{at}")
	return fill(form, func(part string) string { return n.part(c, part) })
}

// finish fills the phrase, puts the time or a connecting word before it and closes the sentence.
func (n *narrator) finish(e event, form string, last bool) string {
	text := n.opening(e, form, last) + fill(form, func(part string) string { return n.part(e, part) })
	n.remember(e)
	return sentence(text)
}

func (n *narrator) opening(e event, form string, last bool) string {
	defer func() { n.begun++ }()
	if !n.timed && e.verb != has {
		n.timed = true
		return n.story.when + ", "
	}
	plainStart := strings.HasPrefix(form, "{S}") || strings.HasPrefix(form, "{N}")
	if n.begun == 0 || !plainStart {
		return ""
	}
	switch {
	case e.verb == feels && last && n.chance(40):
		return "in the end, "
	case e.verb != feels && e.who != n.subject && n.object != e.who && n.chance(25):
		return "meanwhile "
	case e.verb != feels && n.chance(30):
		return pick(n.source, []string{"then ", "soon ", "after that, ", "later "})
	}
	return ""
}

func (n *narrator) remember(e event) {
	n.subject, n.object, n.thing = e.who, e.whom, e.thing
	if e.place != nil {
		n.place = e.place
	}
	if e.thing != nil {
		n.seen[e.thing] = true
	}
	for _, p := range []*Person{e.who, e.whom} {
		if p != nil {
			n.met[p] = true
		}
	}
}

func (n *narrator) part(e event, part string) string {
	switch part {
	case "S":
		return n.who(e)
	case "N":
		return n.name(e.who)
	case "O":
		return n.name(e.whom)
	case "a":
		return n.what(e, false)
	case "it":
		return n.what(e, true)
	case "in":
		if e.place == n.place && n.chance(60) {
			return "there"
		}
	}
	return plainPart(n.source, e, part)
}

// who is a pronoun where it can mean nobody else.
func (n *narrator) who(e event) string {
	clear := e.who == n.subject && (n.object == nil || n.object.She != e.who.She)
	if clear && (e.whom == nil || e.whom.She != e.who.She) && n.chance(70) {
		return e.who.subject()
	}
	return n.name(e.who)
}

// name is "Bruno", or "Bruno the bear" where he is new.
func (n *narrator) name(p *Person) string {
	known := n.met[p]
	n.met[p] = true
	if !known && p.Kind != "girl" && p.Kind != "boy" && n.chance(50) {
		return p.Name + " the " + p.Kind
	}
	return p.Name
}

func (n *narrator) what(e event, pronoun bool) string {
	t := e.thing
	switch owner := n.story.owner[t]; {
	case !n.seen[t]:
		return indefinite(t.full())
	case pronoun && n.thing == t && n.chance(60):
		return "it"
	case owner == e.who && n.chance(60):
		return owner.possessive() + " " + t.Name
	}
	return definite(n.source, t)
}

func definite(src *source, t *Thing) string {
	if src.chance(35) {
		return "the " + t.full()
	}
	return "the " + t.Name
}

// plainPart fills what does not depend on what was said before.
func plainPart(src *source, e event, part string) string {
	switch part {
	case "N":
		return e.who.Name
	case "O":
		return e.whom.Name
	case "s":
		return e.who.subject()
	case "his":
		return e.who.possessive()
	case "him":
		return e.who.object()
	case "t":
		return definite(src, e.thing)
	case "r":
		return indefinite(e.thing.full())
	case "n":
		return e.thing.Name
	case "in", "at":
		return e.place.in()
	case "to":
		return e.place.to()
	case "P":
		return e.place.the()
	case "w":
		return e.word
	}
	panic("tale: unknown part of a phrase")
}

// fill replaces every {part} of a phrase.
func fill(form string, part func(string) string) string {
	var out strings.Builder
	for {
		open := strings.IndexByte(form, '{')
		if open < 0 {
			out.WriteString(form)
			return out.String()
		}
		end := open + strings.IndexByte(form[open:], '}')
		out.WriteString(form[:open])
		out.WriteString(part(form[open+1 : end]))
		form = form[end+1:]
	}
}

// sentence gives a text its capital letter and its full stop.
func sentence(text string) string {
	text = capital(text)
	if last := text[len(text)-1]; last == '.' || last == '?' || last == '!' {
		return text
	}
	return text + "."
}

// capital makes the first letter, behind a quotation mark too, a capital.
func capital(text string) string {
	i := strings.IndexFunc(text, func(r rune) bool { return r != '"' })
	return text[:i] + strings.ToUpper(text[i:i+1]) + text[i+1:]
}
