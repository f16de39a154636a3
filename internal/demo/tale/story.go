package tale

// A Mood is how a tale leaves its hero.
type Mood string

// The moods of the tales.
const (
	Happy  Mood = "happy"
	Sad    Mood = "sad"
	Angry  Mood = "angry"
	Afraid Mood = "afraid"
)

// Moods are the labels of the mood task, in a fixed order.
func Moods() []Mood { return []Mood{Happy, Sad, Angry, Afraid} }

// A verb names a kind of event; phrases.go says how it is told and what can be asked about it.
type verb uint8

const (
	goes verb = iota
	has
	finds
	loses
	looks
	gives
	feels
	breaks
	fixes
	apologizes
	thanks
	weather
	hides
	brings
	puts
	takes
	makes
	cooks
	eats
	meets
	trades
	races
	wins
	falls
	pulls
	helps
	hears
	heads
	plays
	shows
	sings
	asks
	verbCount
)

// An event is one step of a story. Which fields are set depends on its verb.
type event struct {
	verb  verb
	who   *Person
	whom  *Person
	thing *Thing
	place *Place
	word  string // the manner of going, a feeling, a food, the weather
	cause int    // feels: the event that made the person feel so, or -1
}

// A Story is what happens, before anybody tells it.
type Story struct {
	Hero   *Person
	Thing  *Thing
	Mood   Mood
	when   string // "one rainy morning", "on Monday evening"
	events []event
	owner  map[*Thing]*Person // who calls a thing "my"
}

// HeldOut says whether the story is kept out of every training text: one pair of hero and thing in eight is.
func (s *Story) HeldOut() bool {
	h := uint64(14695981039346656037)
	for _, b := range []byte(s.Hero.Name + "/" + s.Thing.full()) {
		h = (h ^ uint64(b)) * 1099511628211
	}
	return mix(h)%8 == 0
}

// WithoutMood is the story without its last event when that event says how the hero felt.
func (s *Story) WithoutMood() *Story {
	last := len(s.events) - 1
	if last < 1 || s.events[last].verb != feels || s.events[last].who != s.Hero {
		return s
	}
	short := *s
	short.events = s.events[:last]
	return &short
}

// newStory draws a story, held out or not as asked.
func newStory(src *source, heldOut bool) *Story {
	for {
		b := newBuilder(src)
		pick(src, plots)(b)
		if b.story.HeldOut() == heldOut {
			return b.story
		}
	}
}

// builder makes a story's events; its hero, friend, things and places are drawn beforehand and all different.
type builder struct {
	*source
	story         *Story
	hero, a, b    *Person
	thing, second *Thing
	places        []*Place // never the hero's home first
}

func newBuilder(src *source) *builder {
	b := &builder{source: src, story: &Story{owner: map[*Thing]*Person{}}}
	b.castPeople()
	b.castThings()
	b.castPlaces()
	b.story.when = when(src)
	return b
}

func (b *builder) castPeople() {
	b.hero = pick(b.source, people)
	b.a = person(b.hero.Friend)
	for b.a == b.hero || b.chance(60) {
		b.a = pick(b.source, people)
	}
	for b.b = b.a; b.b == b.a || b.b == b.hero; {
		b.b = pick(b.source, people)
	}
	b.story.Hero = b.hero
}

func (b *builder) castThings() {
	b.thing = &Thing{pick(b.source, adjectives), pick(b.source, things)}
	b.second = b.otherThing(things)
	b.story.Thing = b.thing
}

// otherThing is a thing with another name and another adjective than the story's first.
func (b *builder) otherThing(from []string) *Thing {
	t := &Thing{b.thing.Adj, b.thing.Name}
	for t.Name == b.thing.Name {
		t.Name = pick(b.source, from)
	}
	for t.Adj == b.thing.Adj {
		t.Adj = pick(b.source, adjectives)
	}
	return t
}

func (b *builder) castPlaces() {
	b.places = append([]*Place(nil), places...)
	shuffle(b.source, b.places)
	if b.places[0] == b.hero.Home {
		b.places[0], b.places[1] = b.places[1], b.places[0]
	}
}

func when(src *source) string {
	if src.chance(40) {
		return "on " + pick(src, days) + " " + pick(src, parts)
	}
	return "one " + pick(src, weathers) + " " + pick(src, parts)
}

func (b *builder) add(e event) int {
	b.story.events = append(b.story.events, e)
	return len(b.story.events) - 1
}

func (b *builder) going(who *Person, where *Place) int {
	return b.add(event{verb: goes, who: who, place: where, word: pick(b.source, steps)})
}

func (b *builder) feeling(who *Person, m Mood, cause int) {
	b.add(event{verb: feels, who: who, word: string(m), cause: cause})
	if who == b.hero {
		b.story.Mood = m
	}
}

// own says that who has the thing from the start.
func (b *builder) own(who *Person, t *Thing) {
	b.story.owner[t] = who
	b.add(event{verb: has, who: who, thing: t})
}

// aside is something that has nothing to do with the tale, so that questions need a careful reader.
func (b *builder) aside() {
	if !b.chance(35) {
		return
	}
	where := b.places[5]
	switch b.below(4) {
	case 0:
		b.add(event{verb: finds, who: b.b, thing: b.second, place: where})
	case 1:
		b.add(event{verb: puts, who: b.b, thing: b.second, place: where})
	case 2:
		b.add(event{verb: cooks, who: b.b, word: pick(b.source, foods[:4]), place: where})
	default:
		b.going(b.b, where)
	}
}
