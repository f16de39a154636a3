package tale

// plots are the tales that the world knows. Each ends with the hero's mood.
var plots = []func(*builder){
	findAndGive, findAndKeep, lostAndFound, lostForGood, foundByFriend, brokenByFriend, brokenByHero, mended,
	storm, stormAndLamp, trade, race, hidingGame, feast, delivery, rescue, thief, thiefForgiven, strangeSound,
	present, visit, loneVisit,
}

func findAndGive(b *builder) {
	b.going(b.hero, b.places[0])
	b.add(event{verb: finds, who: b.hero, thing: b.thing, place: b.places[0]})
	b.aside()
	b.add(event{verb: meets, who: b.hero, whom: b.a, place: b.places[1]})
	e := b.add(event{verb: gives, who: b.hero, thing: b.thing, whom: b.a})
	b.add(event{verb: thanks, who: b.a, whom: b.hero})
	if b.chance(50) {
		b.feeling(b.a, Happy, e)
	}
	b.feeling(b.hero, Happy, -1)
}

func findAndKeep(b *builder) {
	b.aside()
	b.add(event{verb: finds, who: b.hero, thing: b.thing, place: b.places[0]})
	e := len(b.story.events) - 1
	b.add(event{verb: shows, who: b.hero, thing: b.thing, whom: b.a})
	b.add(event{verb: brings, who: b.hero, thing: b.thing, place: b.hero.Home, word: "carried"})
	b.feeling(b.hero, Happy, e)
}

// lose is the beginning that three tales share; it gives the index of the loss.
func lose(b *builder) int {
	b.own(b.hero, b.thing)
	b.going(b.hero, b.places[0])
	e := b.add(event{verb: loses, who: b.hero, thing: b.thing, place: b.places[0]})
	if b.chance(40) {
		b.feeling(b.hero, Sad, e)
	}
	b.aside()
	b.add(event{verb: looks, who: b.hero, thing: b.thing, place: b.places[1]})
	return e
}

func lostAndFound(b *builder) {
	lose(b)
	if b.chance(50) {
		b.add(event{verb: asks, who: b.hero, whom: b.a, thing: b.thing})
	}
	e := b.add(event{verb: finds, who: b.hero, thing: b.thing, place: b.places[2]})
	b.feeling(b.hero, Happy, e)
}

func lostForGood(b *builder) {
	e := lose(b)
	b.add(event{verb: asks, who: b.hero, whom: b.a, thing: b.thing})
	b.add(event{verb: looks, who: b.hero, thing: b.thing, place: b.places[3]})
	b.add(event{verb: heads, who: b.hero})
	b.feeling(b.hero, Sad, e)
}

func foundByFriend(b *builder) {
	lose(b)
	b.add(event{verb: finds, who: b.a, thing: b.thing, place: b.places[2]})
	e := b.add(event{verb: gives, who: b.a, thing: b.thing, whom: b.hero})
	b.add(event{verb: thanks, who: b.hero, whom: b.a})
	b.feeling(b.hero, Happy, e)
}

// playAndBreak lets someone break the hero's thing at play.
func playAndBreak(b *builder, who *Person) int {
	b.thing.Name = pick(b.source, breakable)
	if b.second.Name == b.thing.Name {
		b.second.Name = "stone"
	}
	b.own(b.hero, b.thing)
	b.add(event{verb: plays, who: b.hero, whom: b.a, place: b.places[0]})
	b.aside()
	return b.add(event{verb: breaks, who: who, thing: b.thing})
}

func brokenByFriend(b *builder) {
	e := playAndBreak(b, b.a)
	b.add(event{verb: heads, who: pick(b.source, []*Person{b.a, b.hero})})
	b.feeling(b.hero, Angry, e)
}

func brokenByHero(b *builder) {
	e := playAndBreak(b, b.hero)
	if b.chance(50) {
		b.add(event{verb: shows, who: b.hero, thing: b.thing, whom: b.b})
	} else {
		b.add(event{verb: heads, who: b.hero})
	}
	b.feeling(b.hero, Sad, e)
}

func mended(b *builder) {
	e := playAndBreak(b, b.a)
	if b.chance(60) {
		b.feeling(b.hero, Angry, e)
	}
	b.add(event{verb: apologizes, who: b.a, whom: b.hero})
	e = b.add(event{verb: fixes, who: b.a, thing: b.thing})
	b.feeling(b.hero, Happy, e)
}

var storms = []string{"a storm came", "it began to rain", "it became dark", "thick fog came"}

func caught(b *builder) int {
	b.going(b.hero, b.places[0])
	b.add(event{verb: finds, who: b.hero, thing: b.thing, place: b.places[0]})
	b.aside()
	e := b.add(event{verb: weather, word: pick(b.source, storms)})
	b.add(event{verb: hides, who: b.hero, place: b.places[1]})
	return e
}

func storm(b *builder) {
	e := caught(b)
	if b.chance(60) {
		e = b.add(event{verb: hears, who: b.hero})
	}
	b.feeling(b.hero, Afraid, e)
}

func stormAndLamp(b *builder) {
	e := caught(b)
	if b.chance(50) {
		b.feeling(b.hero, Afraid, e)
	}
	b.second.Name = "lamp"
	if b.thing.Name == "lamp" {
		b.second.Name = "blanket"
	}
	e = b.add(event{verb: brings, who: b.a, thing: b.second, place: b.places[1], word: "brought"})
	b.add(event{verb: thanks, who: b.hero, whom: b.a})
	b.feeling(b.hero, Happy, e)
}

func trade(b *builder) {
	b.own(b.hero, b.thing)
	b.going(b.hero, place("market"))
	b.add(event{verb: meets, who: b.hero, whom: b.a, place: place("market")})
	food := pick(b.source, foods)
	e := b.add(event{verb: trades, who: b.hero, thing: b.thing, whom: b.a, word: food})
	b.aside()
	if b.chance(60) {
		b.add(event{verb: eats, who: b.hero, whom: b.b, word: food})
	}
	b.feeling(b.hero, Happy, e)
}

func race(b *builder) {
	b.going(b.hero, b.places[0])
	b.add(event{verb: meets, who: b.hero, whom: b.a, place: b.places[0]})
	b.add(event{verb: races, who: b.hero, whom: b.a, place: b.places[1]})
	b.aside()
	winner := pick(b.source, []*Person{b.hero, b.a})
	e := b.add(event{verb: wins, who: winner})
	b.add(event{verb: gives, who: b.b, thing: b.thing, whom: winner})
	if winner == b.hero {
		b.feeling(b.hero, Happy, e)
	} else {
		b.feeling(b.hero, Sad, e)
	}
}

func hidingGame(b *builder) {
	b.add(event{verb: plays, who: b.hero, whom: b.a, place: b.places[0]})
	b.add(event{verb: hides, who: b.a, place: b.places[1]})
	b.aside()
	b.going(b.hero, b.places[2])
	b.add(event{verb: finds, who: b.hero, thing: b.thing, place: b.places[2]})
	e := b.add(event{verb: meets, who: b.hero, whom: b.a, place: b.places[1]})
	b.feeling(b.hero, Happy, e)
}

func feast(b *builder) {
	food := pick(b.source, foods[:4])
	b.add(event{verb: cooks, who: b.hero, word: food, place: b.places[0]})
	b.add(event{verb: brings, who: b.a, thing: b.thing, place: b.places[0], word: "brought"})
	b.aside()
	e := b.add(event{verb: eats, who: b.hero, whom: b.a, word: food})
	if b.chance(40) {
		b.add(event{verb: sings, who: b.a, whom: b.hero})
	}
	b.feeling(b.hero, Happy, e)
}

func delivery(b *builder) {
	b.add(event{verb: gives, who: b.a, thing: b.thing, whom: b.hero})
	b.add(event{verb: brings, who: b.hero, thing: b.thing, place: b.places[0], word: "carried"})
	b.add(event{verb: puts, who: b.hero, thing: b.thing, place: b.places[1]})
	b.aside()
	b.add(event{verb: finds, who: b.b, thing: b.thing, place: b.places[1]})
	b.add(event{verb: thanks, who: b.b, whom: b.hero})
	b.feeling(b.hero, Happy, -1)
}

func rescue(b *builder) {
	water := b.places[0]
	for !water.Water {
		water = pick(b.source, places)
	}
	b.thing.Name = pick(b.source, []string{"rope", "scarf", "blanket", "basket"})
	b.second.Name = "bell"
	b.own(b.hero, b.thing)
	b.going(b.a, water)
	e := b.add(event{verb: falls, who: b.a, place: water})
	if b.chance(60) {
		b.feeling(b.a, Afraid, e)
	}
	b.aside()
	b.going(b.hero, water)
	b.add(event{verb: pulls, who: b.hero, whom: b.a, thing: b.thing})
	e = b.add(event{verb: thanks, who: b.a, whom: b.hero})
	b.feeling(b.hero, Happy, e)
}

// steal lets someone take the hero's thing and hide it.
func steal(b *builder) int {
	b.own(b.hero, b.thing)
	b.add(event{verb: meets, who: b.hero, whom: b.a, place: b.places[0]})
	e := b.add(event{verb: takes, who: b.a, thing: b.thing, whom: b.hero})
	b.aside()
	b.add(event{verb: puts, who: b.a, thing: b.thing, place: b.places[1]})
	return e
}

func thief(b *builder) {
	e := steal(b)
	b.add(event{verb: looks, who: b.hero, thing: b.thing, place: b.places[2]})
	if b.chance(40) {
		b.add(event{verb: asks, who: b.hero, whom: b.b, thing: b.thing})
	}
	b.feeling(b.hero, Angry, e)
}

func thiefForgiven(b *builder) {
	e := steal(b)
	if b.chance(50) {
		b.feeling(b.hero, Angry, e)
	}
	b.add(event{verb: apologizes, who: b.a, whom: b.hero})
	e = b.add(event{verb: gives, who: b.a, thing: b.thing, whom: b.hero})
	b.feeling(b.hero, Happy, e)
}

func strangeSound(b *builder) {
	b.own(b.hero, b.thing)
	b.going(b.hero, b.places[0])
	b.add(event{verb: weather, word: "it became dark"})
	e := b.add(event{verb: hears, who: b.hero})
	switch b.below(3) {
	case 0:
		b.add(event{verb: heads, who: b.hero})
		b.feeling(b.hero, Afraid, e)
	case 1:
		b.add(event{verb: loses, who: b.hero, thing: b.thing, place: b.places[0]})
		b.add(event{verb: hides, who: b.hero, place: b.places[1]})
		b.feeling(b.hero, Afraid, e)
	default:
		b.feeling(b.hero, Afraid, e)
		e = b.add(event{verb: meets, who: b.hero, whom: b.a, place: b.places[0]})
		b.feeling(b.hero, Happy, e)
	}
}

func present(b *builder) {
	b.add(event{verb: makes, who: b.hero, thing: b.thing, whom: b.a})
	b.aside()
	b.going(b.hero, b.a.Home)
	e := b.add(event{verb: gives, who: b.hero, thing: b.thing, whom: b.a})
	if b.chance(50) {
		b.feeling(b.a, Happy, e)
	}
	e = b.add(event{verb: sings, who: b.a, whom: b.hero})
	b.feeling(b.hero, Happy, e)
}

func visit(b *builder) {
	b.going(b.hero, b.a.Home)
	b.add(event{verb: brings, who: b.hero, thing: b.thing, place: b.a.Home, word: "brought"})
	b.add(event{verb: helps, who: b.hero, whom: b.a})
	b.aside()
	e := b.add(event{verb: eats, who: b.hero, whom: b.a, word: b.a.Food})
	b.feeling(b.hero, Happy, e)
}

func loneVisit(b *builder) {
	b.add(event{verb: makes, who: b.hero, thing: b.thing, whom: b.a})
	b.going(b.hero, b.places[0])
	b.aside()
	e := b.add(event{verb: loses, who: b.hero, thing: b.thing, place: b.places[0]})
	b.add(event{verb: heads, who: b.hero})
	b.feeling(b.hero, Sad, e)
}
