package tale

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"regexp"
	"strings"
	"testing"
)

// The built-in model is made from this text: a change of the hash means that it has to be made again.
const firstDocuments = "a245a5f47f13856f486ced47ef21386041f10454f5ec8562d7b1c92ebc8b42da"

func TestCorpusIsTheSameEverywhere(t *testing.T) {
	h := sha256.New()
	if err := WriteCorpus(h, 1, 0, 1000, false); err != nil {
		t.Fatal(err)
	}
	if got := hex.EncodeToString(h.Sum(nil)); got != firstDocuments {
		t.Errorf("SHA-256 of the first 1000 documents of seed 1 is %s, expected %s", got, firstDocuments)
	}
}

func TestCorpusIsItsDocuments(t *testing.T) {
	var b bytes.Buffer
	if err := WriteCorpus(&b, 7, 3, 2, true); err != nil {
		t.Fatal(err)
	}
	want := Document(7, 3, true) + "\n\n" + Document(7, 4, true) + "\n"
	if b.String() != want {
		t.Errorf("corpus is\n%q\nexpected\n%q", b.String(), want)
	}
}

// lost is a small story with everything that pronouns and articles depend on.
func lost() *Story {
	anna, bruno := person("Anna"), person("Bruno")
	kite := &Thing{"old", "kite"}
	return &Story{
		Hero: anna, Thing: kite, Mood: Happy, when: "one rainy morning", owner: map[*Thing]*Person{kite: anna},
		events: []event{
			{verb: has, who: anna, thing: kite},
			{verb: loses, who: anna, thing: kite, place: place("barn")},
			{verb: finds, who: bruno, thing: kite, place: place("hill")},
			{verb: gives, who: bruno, whom: anna, thing: kite},
			{verb: feels, who: anna, word: "happy", cause: 3},
		},
	}
}

func TestOwl(t *testing.T) {
	want := "Hoo! On a rainy morning it was. An old kite Anna of the mill had. The kite in the barn she lost, oh. " +
		"The kite on the hill Bruno of the cave found. To Anna the kite he gave. Happy Anna was. So it was, hoo hoo."
	if got := lost().Owl(); got != want {
		t.Errorf("the owl tells\n%s\nexpected\n%s", got, want)
	}
}

func TestAsk(t *testing.T) {
	answers := map[string]string{}
	for _, p := range lost().Ask(1) {
		question := strings.ReplaceAll(p.Question, "old kite", "kite")
		answers[question] = p.Answer
	}
	for question, want := range map[string]string{
		"Who lost the kite?":               "Anna.",
		"Where did Anna lose the kite?":    "In the barn.",
		"Where did Bruno find the kite?":   "On the hill.",
		"What did Bruno give to Anna?":     "An old kite.",
		"What was the kite like?":          "Old.",
		"Who has the kite now?":            "Anna.",
		"How did Anna feel in the end?":    "Happy.",
		"What did Bruno find on the hill?": "An old kite.",
	} {
		if answers[question] != want {
			t.Errorf("%s: %q, expected %q", question, answers[question], want)
		}
	}
}

func TestAskOnlyWhatHasOneAnswer(t *testing.T) {
	s := lost()
	s.events = append(s.events, event{verb: finds, who: person("Clara"), thing: s.Thing, place: place("lake")})
	for _, p := range s.Ask(1) {
		if strings.HasPrefix(p.Question, "Who found") {
			t.Errorf("%q is asked though two people found the kite", p.Question)
		}
	}
}

func TestTellVariesAndRepeats(t *testing.T) {
	s := lost()
	seen := map[string]bool{}
	for v := range uint64(40) {
		text := s.Tell(v)
		if text != s.Tell(v) {
			t.Fatalf("variant %d differs when told twice", v)
		}
		seen[text] = true
	}
	if len(seen) < 20 {
		t.Errorf("40 variants give %d texts only", len(seen))
	}
}

var (
	cardLine     = regexp.MustCompile(`^(Hero|Thing|Time|Place|Friend): [A-Za-z ]+$`)
	puzzleLine   = regexp.MustCompile(`(?m)^Puzzle: .*\n`)
	doubled      = regexp.MustCompile(`\b(the the|a a|an an|in in|to to|and and)\b|  |\{|\}| ,| \.`)
	wrongArticle = regexp.MustCompile(`\b[Aa] [aeio]|\b[Aa]n [^aeio]`)
)

func TestTextIsWellFormed(t *testing.T) {
	for i := range uint64(3000) {
		text := puzzleLine.ReplaceAllString(Document(5, i, i%4 == 0), "")
		for _, bad := range []*regexp.Regexp{doubled, wrongArticle} {
			if m := bad.FindString(text); m != "" {
				t.Fatalf("document %d holds %q:\n%s", i, m, text)
			}
		}
		for _, line := range strings.Split(text, "\n") {
			if line != "" && !cardLine.MatchString(line) && !strings.ContainsAny(line[len(line)-1:], `.?!"`) {
				t.Fatalf("document %d has a line without an end: %q", i, line)
			}
		}
	}
}

func TestHeldOutTalesNeverMeetTheTrainingTales(t *testing.T) {
	key := func(s *Story) string { return s.Hero.Name + s.Thing.full() }
	train := map[string]bool{}
	for i := range uint64(5000) {
		train[key(newStory(newSource(1, i), false))] = true
	}
	for i := range uint64(500) {
		if k := key(newStory(newSource(2, i), true)); train[k] {
			t.Fatalf("%s is in both", k)
		}
	}
}

func TestTasks(t *testing.T) {
	moods := map[string]int{}
	for _, e := range MoodTask(1, 400, false) {
		moods[e.Completion]++
		if !strings.HasSuffix(e.Prompt, MoodCue) {
			t.Fatalf("prompt ends in %q", e.Prompt[len(e.Prompt)-10:])
		}
	}
	for _, m := range Moods() {
		if moods[" "+string(m)] != 100 {
			t.Errorf("%d examples of %s, expected 100", moods[" "+string(m)], m)
		}
	}
	for _, e := range OwlTask(1, 50, true) {
		if !strings.HasPrefix(e.Completion, " Hoo! On ") || !strings.HasSuffix(e.Completion, "hoo hoo.") {
			t.Errorf("completion %q is not the owl's", e.Completion)
		}
	}
}

func TestWriteJSONL(t *testing.T) {
	var b bytes.Buffer
	want := OwlTask(3, 5, false)
	if err := WriteJSONL(&b, want); err != nil {
		t.Fatal(err)
	}
	d := json.NewDecoder(&b)
	for i := range want {
		var got Example
		if err := d.Decode(&got); err != nil || got != want[i] {
			t.Fatalf("record %d is %+v (%v), expected %+v", i, got, err, want[i])
		}
	}
}

func TestProbesAreAnswered(t *testing.T) {
	for _, p := range append(Probes(1, 200), FactProbes()...) {
		if !strings.HasSuffix(p.Prompt, "\nA:") || len(p.Answer) < 3 || p.Answer[0] != ' ' {
			t.Fatalf("probe %+v", p)
		}
	}
}
