package tale

import "strings"

// describe is what everyone knows about a person, in an order and with words that change.
func (p *Person) describe(src *source) string {
	subject, her := capital(p.subject()), capital(p.possessive())
	facts := []string{
		pick(src, []string{subject + " lives " + p.Home.in(), her + " home is the " + p.Home.Name}),
		pick(src, []string{her + " best friend is " + p.Friend, her + " best friend is called " + p.Friend}),
		pick(src, []string{subject + " likes " + p.Food + " best", subject + " loves to eat " + p.Food}),
		pick(src, []string{her + " favourite colour is " + p.Colour, subject + " likes everything that is " + p.Colour}),
		pick(src, []string{subject + " " + p.Habit, "Everyone knows that " + p.subject() + " " + p.Habit}),
	}
	shuffle(src, facts)
	facts = append([]string{p.Name + " is " + indefinite(p.Kind)}, facts[:3+src.below(3)]...)
	return strings.Join(facts, ". ") + "."
}

// ask is what can be asked about a person whom everyone knows.
func (p *Person) ask() []Pair {
	return []Pair{
		{"What is " + p.Name + "?", sentence(indefinite(p.Kind))},
		{"Where does " + p.Name + " live?", sentence(p.Home.in())},
		{"Who is the best friend of " + p.Name + "?", p.Friend + "."},
		{"What does " + p.Name + " like to eat?", sentence(p.Food)},
		{"What is the favourite colour of " + p.Name + "?", sentence(p.Colour)},
		{"What does everyone know about " + p.Name + "?", sentence(p.subject() + " " + p.Habit)},
	}
}

func (p *Place) describe(src *source) string {
	facts := []string{
		pick(src, []string{"The " + p.Name + " is " + p.Look, "Everyone calls the " + p.Name + " " + p.Look}),
		pick(src, []string{"It is near the " + p.Near, "The " + p.Near + " is not far away"}),
	}
	if who := p.dwellers(); who == "" {
		facts = append(facts, "Nobody lives there")
	} else {
		verb := " lives there"
		if strings.Contains(who, " and ") {
			verb = " live there"
		}
		facts = append(facts, who+verb)
	}
	return strings.Join(facts, ". ") + "."
}

func (p *Place) ask() []Pair {
	pairs := []Pair{
		{"What is the " + p.Name + " like?", sentence(p.Look)},
		{"What is near the " + p.Name + "?", "The " + p.Near + "."},
	}
	if who := p.dwellers(); who == "" {
		pairs = append(pairs, Pair{"Who lives " + p.in() + "?", "Nobody."})
	} else {
		pairs = append(pairs, Pair{"Who lives " + p.in() + "?", who + "."})
	}
	return pairs
}

// dwellers are the names of those who live at a place, or "".
func (p *Place) dwellers() string {
	var names []string
	for _, who := range people {
		if who.Home == p {
			names = append(names, who.Name)
		}
	}
	return strings.Join(names, " and ")
}

// theOwl is the one of whom no tale is told, because she tells them.
var theOwl = []string{
	"The owl is very old", "She lives in the tower", "She sleeps all day", "At night she calls hoo, hoo",
	"She has heard every tale and forgets none of them", "Nobody tells a tale as she does",
	"When she is in a good mood, she tells a tale",
	"Everyone knows the owl", "The owl knows everyone by name and home",
}

func describeOwl(src *source) string {
	facts := append([]string(nil), theOwl[1:]...)
	shuffle(src, facts)
	return strings.Join(append(theOwl[:1:1], facts[:3+src.below(4)]...), ". ") + "."
}
