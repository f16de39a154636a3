package tale

import "strings"

// A Person is one of the world's inhabitants, people and animals alike. What is written here is true in every text.
type Person struct {
	Name   string
	Kind   string // "girl", "baker", "bear"
	She    bool
	Home   *Place
	Friend string // the name of another person
	Food   string
	Colour string
	Habit  string // "sings in the morning"
}

// A Place is somewhere a tale can happen.
type Place struct {
	Name  string // "mill"
	Prep  string // "in", "at", "on", "by"
	Look  string // "old and tall"
	Near  string // the name of another place
	Water bool   // one can fall into it
}

// A Thing is something that can be found, lost, given and broken.
type Thing struct {
	Adj, Name string
}

func (p *Place) in() string  { return p.Prep + " the " + p.Name }
func (p *Place) to() string  { return "to the " + p.Name }
func (p *Place) the() string { return "the " + p.Name }

func (t Thing) full() string { return t.Adj + " " + t.Name }

// indefinite puts "a" or "an" before words.
func indefinite(words string) string {
	if strings.ContainsRune("aeiou", rune(words[0])) {
		return "an " + words
	}
	return "a " + words
}

// of is the owl's name for a person: "Anna of the mill".
func (p *Person) of() string { return p.Name + " of the " + p.Home.Name }

func (p *Person) subject() string {
	if p.She {
		return "she"
	}
	return "he"
}

func (p *Person) object() string {
	if p.She {
		return "her"
	}
	return "him"
}

func (p *Person) possessive() string {
	if p.She {
		return "her"
	}
	return "his"
}

var places = []*Place{
	{Name: "barn", Prep: "in", Look: "big and brown", Near: "farm"},
	{Name: "beach", Prep: "on", Look: "long and white", Near: "harbour"},
	{Name: "bridge", Prep: "on", Look: "old and narrow", Near: "river"},
	{Name: "castle", Prep: "in", Look: "tall and grey", Near: "hill"},
	{Name: "cave", Prep: "in", Look: "deep and dark", Near: "forest"},
	{Name: "farm", Prep: "on", Look: "small and green", Near: "meadow"},
	{Name: "forest", Prep: "in", Look: "wide and dark", Near: "cave"},
	{Name: "garden", Prep: "in", Look: "small and green", Near: "castle"},
	{Name: "harbour", Prep: "at", Look: "wide and blue", Near: "beach"},
	{Name: "hill", Prep: "on", Look: "green and windy", Near: "castle"},
	{Name: "lake", Prep: "at", Look: "deep and blue", Near: "forest", Water: true},
	{Name: "market", Prep: "at", Look: "loud and full of people", Near: "school"},
	{Name: "meadow", Prep: "on", Look: "wide and green", Near: "farm"},
	{Name: "mill", Prep: "at", Look: "old and white", Near: "river"},
	{Name: "orchard", Prep: "in", Look: "small and quiet", Near: "mill"},
	{Name: "river", Prep: "at", Look: "long and cold", Near: "bridge", Water: true},
	{Name: "school", Prep: "at", Look: "red and loud", Near: "market"},
	{Name: "tower", Prep: "in", Look: "tall and old", Near: "well"},
	{Name: "well", Prep: "at", Look: "deep and cold", Near: "tower", Water: true},
	{Name: "village", Prep: "in", Look: "small and quiet", Near: "well"},
}

var people = []*Person{
	{Name: "Anna", Kind: "girl", She: true, Home: place("mill"), Friend: "Ben", Food: "apples", Colour: "red",
		Habit: "sings every morning"},
	{Name: "Ben", Kind: "boy", Home: place("farm"), Friend: "Anna", Food: "bread", Colour: "blue",
		Habit: "climbs every tree"},
	{Name: "Clara", Kind: "girl", She: true, Home: place("castle"), Friend: "Rosa", Food: "cake", Colour: "golden",
		Habit: "reads every evening"},
	{Name: "David", Kind: "boy", Home: place("harbour"), Friend: "Oskar", Food: "fish", Colour: "white",
		Habit: "counts the boats"},
	{Name: "Emma", Kind: "girl", She: true, Home: place("village"), Friend: "Pia", Food: "soup", Colour: "green",
		Habit: "draws the clouds"},
	{Name: "Finn", Kind: "boy", Home: place("orchard"), Friend: "Max", Food: "pears", Colour: "yellow",
		Habit: "runs to school"},
	{Name: "Greta", Kind: "girl", She: true, Home: place("market"), Friend: "Otto", Food: "cheese", Colour: "black",
		Habit: "asks many questions"},
	{Name: "Hugo", Kind: "boy", Home: place("school"), Friend: "Ida", Food: "nuts", Colour: "brown",
		Habit: "tells long jokes"},
	{Name: "Ida", Kind: "girl", She: true, Home: place("tower"), Friend: "Hugo", Food: "honey", Colour: "silver",
		Habit: "looks at the stars"},
	{Name: "Jonas", Kind: "boy", Home: place("meadow"), Friend: "Tilda", Food: "berries", Colour: "red",
		Habit: "sleeps in the grass"},
	{Name: "Otto", Kind: "baker", Home: place("village"), Friend: "Martha", Food: "cake", Colour: "white",
		Habit: "gets up at night"},
	{Name: "Martha", Kind: "miller", She: true, Home: place("mill"), Friend: "Otto", Food: "bread", Colour: "yellow",
		Habit: "hums at work"},
	{Name: "Simon", Kind: "fisher", Home: place("lake"), Friend: "Vera", Food: "fish", Colour: "blue",
		Habit: "never talks much"},
	{Name: "Vera", Kind: "smith", She: true, Home: place("bridge"), Friend: "Simon", Food: "soup", Colour: "black",
		Habit: "laughs very loud"},
	{Name: "Bruno", Kind: "bear", Home: place("cave"), Friend: "Fiona", Food: "honey", Colour: "brown",
		Habit: "sleeps all winter"},
	{Name: "Fiona", Kind: "fox", She: true, Home: place("forest"), Friend: "Bruno", Food: "berries", Colour: "red",
		Habit: "knows every path"},
	{Name: "Max", Kind: "hare", Home: place("meadow"), Friend: "Finn", Food: "apples", Colour: "green",
		Habit: "hops over every stone"},
	{Name: "Oskar", Kind: "otter", Home: place("river"), Friend: "David", Food: "fish", Colour: "silver",
		Habit: "swims every day"},
	{Name: "Rosa", Kind: "goat", She: true, Home: place("hill"), Friend: "Clara", Food: "pears", Colour: "white",
		Habit: "eats old hats"},
	{Name: "Tilda", Kind: "duck", She: true, Home: place("lake"), Friend: "Jonas", Food: "bread", Colour: "yellow",
		Habit: "talks all day"},
	{Name: "Willi", Kind: "wolf", Home: place("forest"), Friend: "Pia", Food: "cheese", Colour: "black",
		Habit: "sings at night"},
	{Name: "Pia", Kind: "cat", She: true, Home: place("barn"), Friend: "Willi", Food: "cream", Colour: "golden",
		Habit: "sleeps in the sun"},
}

var (
	adjectives = []string{"red", "blue", "green", "yellow", "white", "black", "brown", "golden", "silver", "big", "small",
		"old", "new", "wooden", "shiny"}
	colours = adjectives[:9]
	// The first ten things can be broken.
	things = []string{"drum", "lamp", "boat", "kite", "cup", "mirror", "clock", "doll", "flute", "pot", "ball", "book",
		"key", "ring", "hat", "basket", "bell", "rope", "map", "coin", "blanket", "spoon", "box", "scarf",
		"shell", "stone", "feather", "bag"}
	breakable = things[:10]
	// The first four foods are made, the others are found.
	foods    = []string{"bread", "cake", "soup", "cheese", "fish", "pears", "apples", "nuts", "honey", "berries", "cream"}
	steps    = []string{"went", "walked", "ran", "hurried"}
	days     = []string{"Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"}
	parts    = []string{"morning", "afternoon", "evening"}
	weathers = []string{"sunny", "rainy", "cold", "warm", "windy", "quiet"}
)

func place(name string) *Place {
	for _, p := range places {
		if p.Name == name {
			return p
		}
	}
	panic("tale: no such place")
}

func person(name string) *Person {
	for _, p := range people {
		if p.Name == name {
			return p
		}
	}
	panic("tale: no such person")
}
