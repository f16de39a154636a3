package tale

import "strings"

// Owl is the story as the owl tells it: every sentence turned round, people called by their homes when they first
// appear, always the same words for the same event.
func (s *Story) Owl() string {
	o := &owl{seen: map[*Thing]bool{}, met: map[*Person]bool{}}
	sentences := []string{"Hoo!", sentence(s.whenOf() + " it was")}
	for _, e := range s.events {
		text := fill(phrasebook[e.verb].owl, func(part string) string { return o.part(e, part) })
		o.subject = e.who
		sentences = append(sentences, sentence(text))
	}
	return strings.Join(append(sentences, "So it was, hoo hoo."), " ")
}

// whenOf is "on a rainy morning" or "on Monday evening".
func (s *Story) whenOf() string {
	if rest, ok := strings.CutPrefix(s.when, "one "); ok {
		return "on " + indefinite(rest)
	}
	return s.when
}

type owl struct {
	seen    map[*Thing]bool
	met     map[*Person]bool
	subject *Person
}

func (o *owl) part(e event, part string) string {
	switch part {
	case "S":
		if e.who == o.subject {
			return e.who.subject()
		}
		return o.name(e.who)
	case "O":
		return o.name(e.whom)
	case "a":
		if o.seen[e.thing] {
			return "the " + e.thing.Name
		}
		o.seen[e.thing] = true
		return indefinite(e.thing.full())
	}
	return plainPart(nil, e, part)
}

func (o *owl) name(p *Person) string {
	if o.met[p] {
		return p.Name
	}
	o.met[p] = true
	return p.of()
}
