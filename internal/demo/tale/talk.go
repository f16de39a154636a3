package tale

import "strings"

// talk is a conversation of two people about a thing that one of them has, with what can be asked about it.
func talk(src *source) (text string, pairs []Pair) {
	b := newBuilder(src)
	for b.story.HeldOut() {
		b = newBuilder(src)
	}
	var lines []string
	say := func(who *Person, words string) {
		lines = append(lines, quote(src, who, words))
	}
	thing, from, next := indefinite(b.thing.full()), b.places[0], b.places[1]
	say(b.a, pick(src, []string{"Good morning, ", "Hello, ", "There you are, "})+b.hero.Name+".|"+
		pick(src, []string{"What have you got there?", "What is that?", "Show me what you have."}))
	say(b.hero, pick(src, []string{"It is ", "This is ", "I have got "})+thing+".|"+
		pick(src, []string{"I found it ", "I got it "})+from.in()+".")
	if src.chance(60) {
		praise := pick(src, []string{"It looks very good.", "I like it."})
		if src.chance(50) {
			say(b.a, praise+"|Who is it for?")
			say(b.hero, "It is for "+b.b.Name+".")
		} else {
			say(b.a, praise+"|Is it for you?")
			say(b.hero, "No, I will give it to "+b.b.Name+".")
		}
		pairs = append(pairs, Pair{"Who is the " + b.thing.Name + " for?", b.b.Name + "."})
	}
	if src.chance(70) {
		say(b.a, pick(src, []string{"Shall we go ", "Will you come with me "})+next.to()+"?")
		day := "on " + pick(src, days)
		say(b.hero, pick(src, []string{"Yes, let us go there ", "Not today.|Let us go there "})+day+".")
		pairs = append(pairs, Pair{"When will they go " + next.to() + "?", sentence(day)},
			Pair{"Where will they go " + day + "?", sentence(next.to())})
	} else {
		say(b.a, "I have to go home now.|"+pick(src, []string{"See you soon!", "Goodbye!"}))
		pairs = append(pairs, Pair{"Who has to go home?", b.a.Name + "."})
	}
	pairs = append(pairs,
		Pair{"Who has " + definite(src, b.thing) + "?", b.hero.Name + "."},
		Pair{"What has " + b.hero.Name + " got?", sentence(thing)},
		Pair{"Where did the " + b.thing.Name + " come from?", sentence("from the " + from.Name)},
		Pair{"Who talks with " + b.hero.Name + "?", b.a.Name + "."})
	return strings.Join(lines, "\n"), pairs
}

// quote puts words into somebody's mouth; a bar is where the speaker may be named in between.
func quote(src *source, who *Person, words string) string {
	first, second, _ := strings.Cut(words, "|")
	verb := " said "
	if strings.HasSuffix(first, "?") {
		verb = " asked "
	}
	by := verb + who.Name + "."
	if stem, ok := strings.CutSuffix(first, "."); ok {
		first = stem + ","
	}
	if second == "" {
		return `"` + first + `"` + by
	}
	if src.chance(50) {
		return `"` + first + `"` + by + ` "` + second + `"`
	}
	return who.Name + ` said: "` + strings.TrimSuffix(first, ",") + strings.Repeat(".", dots(first)) + " " + second + `"`
}

// dots is 1 where a comma has taken the place of a full stop.
func dots(words string) int {
	if strings.HasSuffix(words, ",") {
		return 1
	}
	return 0
}
