package tale

// The phrases of the plain narrator, of the owl and of the questioner. In braces stand the parts of the event:
//
//	{S} who does it (name or pronoun)   {N} the same, always by name   {s} the same, always as a pronoun
//	{his} {him} pronouns of the same    {O} the other person
//	{a} the thing, "a red kite" when new and "the kite" later          {it} the same, or "it"
//	{t} the thing, "the red kite" or "the kite"                        {r} the thing, always "a red kite"
//	{in} "in the barn" or "there"       {at} "in the barn"             {to} "to the barn"   {P} "the barn"   {n} "kite"
//	{w} the event's word
type phrases struct {
	plain []string
	owl   string
	asks  []question
}

// A question is about the part of the event that its answer names; the parts in its text are given.
type question struct{ text, answer string }

var phrasebook = [verbCount]phrases{
	goes: {
		plain: []string{"{S} {w} {to}"},
		owl:   "{to} {S} {w}",
		asks:  []question{{"Where did {N} go?", "{to}"}, {"Who went {to}?", "{N}"}},
	},
	has: {
		plain: []string{"{S} had {a}", "{S} had {a}, and everyone knew it", "{S} always carried {a}"},
		owl:   "{a} {S} had",
		asks:  []question{{"What did {N} have?", "{r}"}},
	},
	finds: {
		plain: []string{"{S} found {a} {in}", "{at} {S} found {a}", "{S} looked around {in} and found {a}"},
		owl:   "{a} {at} {S} found",
		asks: []question{{"Who found {t}?", "{N}"}, {"What did {N} find?", "{r}"}, {"Where did {N} find {t}?", "{at}"},
			{"What did {N} find {at}?", "{r}"}},
	},
	loses: {
		plain: []string{"{S} lost {it} {in}", "but {at} {S} lost {it}", "{S} dropped {it} {in} and did not see it"},
		owl:   "{a} {at} {S} lost, oh",
		asks:  []question{{"Where did {N} lose {t}?", "{at}"}, {"What did {N} lose?", "{r}"}, {"Who lost {t}?", "{N}"}},
	},
	looks: {
		plain: []string{"{S} looked for {it} {in}, but it was not there", "{S} looked {in}, but could not find {it}",
			"{S} searched {in}, but {t} was not there"},
		owl:  "{at} for {a} {S} looked, but not there it was",
		asks: []question{{"Where did {N} look for {t}?", "{at}"}},
	},
	gives: {
		plain: []string{"{S} gave {it} to {O}", "{S} gave {O} {a}"},
		owl:   "to {O} {a} {S} gave",
		asks: []question{{"Who gave {t} to {O}?", "{N}"}, {"What did {N} give to {O}?", "{r}"},
			{"Who got {t} from {N}?", "{O}"}},
	},
	feels: {
		plain: []string{"{S} was {w}", "{S} was very {w}", "{S} felt {w}"},
		owl:   "{w} {S} was",
	},
	breaks: {
		plain: []string{"{S} broke {it}", "{S} dropped {it}, and it broke", "{S} was not careful and broke {it}"},
		owl:   "{a} {S} broke, oh",
		asks:  []question{{"Who broke {t}?", "{N}"}, {"What did {N} break?", "{r}"}},
	},
	fixes: {
		plain: []string{"{S} fixed {it}", "{S} worked until evening and fixed {it}", "{S} took some glue and fixed {it}"},
		owl:   "{a} {S} fixed",
		asks:  []question{{"Who fixed {t}?", "{N}"}, {"What did {N} fix?", "{r}"}},
	},
	apologizes: {
		plain: []string{"{S} said sorry to {O}", "\"I am sorry,\" {N} said to {O}", "{S} came to {O} and said sorry"},
		owl:   "sorry to {O} {S} said",
		asks:  []question{{"Who said sorry to {O}?", "{N}"}},
	},
	thanks: {
		plain: []string{"{S} thanked {O}", "\"Thank you, {O},\" said {N}", "{S} said thank you to {O}"},
		owl:   "{O} {S} thanked",
		asks:  []question{{"Who thanked {O}?", "{N}"}, {"Who did {N} thank?", "{O}"}},
	},
	weather: {
		plain: []string{"{w}", "suddenly {w}", "but then {w}"},
		owl:   "{w}, hoo",
	},
	hides: {
		plain: []string{"{S} hid {in}", "{S} ran and hid {in}"},
		owl:   "{at} {S} hid",
		asks:  []question{{"Where did {N} hide?", "{at}"}, {"Who hid {at}?", "{N}"}},
	},
	brings: {
		plain: []string{"{S} {w} {it} {to}", "{S} came and {w} {it} {to}"},
		owl:   "{to} {a} {S} {w}",
		asks:  []question{{"Who {w} {t} {to}?", "{N}"}, {"What did {N} bring {to}?", "{r}"}},
	},
	puts: {
		plain: []string{"{S} put {it} down {in}", "{S} left {it} {in}", "{at} {S} put {it} down"},
		owl:   "{at} {a} {S} put",
		asks:  []question{{"Where did {N} put {t}?", "{at}"}, {"What did {N} put down {at}?", "{r}"}},
	},
	takes: {
		plain: []string{"{S} took {it} from {O} and ran away", "{S} took {it} away from {O}", "but {S} took {it} from {O}"},
		owl:   "from {O} {a} {S} took, oh",
		asks:  []question{{"Who took {t} from {O}?", "{N}"}, {"What did {N} take from {O}?", "{r}"}},
	},
	makes: {
		plain: []string{"{S} made {a} for {O}", "{S} worked all day and made {a} for {O}"},
		owl:   "{a} for {O} {S} made",
		asks:  []question{{"Who made {t}?", "{N}"}, {"What did {N} make for {O}?", "{r}"}, {"Who was {t} for?", "{O}"}},
	},
	cooks: {
		plain: []string{"{S} made {w} {in}", "{at} {S} made {w}"},
		owl:   "{w} {at} {S} made",
		asks:  []question{{"Who made the {w}?", "{N}"}, {"Where did {N} make the {w}?", "{at}"}},
	},
	eats: {
		plain: []string{"{S} ate {w} with {O}", "{N} and {O} ate {w} together", "{N} and {O} sat down and ate the {w}"},
		owl:   "{w} with {O} {S} ate",
		asks:  []question{{"What did {N} eat?", "{w}"}, {"Who ate {w} with {N}?", "{O}"}},
	},
	meets: {
		plain: []string{"{S} met {O} {in}", "{at} {S} met {O}", "{S} saw {O} {in} and said hello"},
		owl:   "{O} {at} {S} met",
		asks:  []question{{"Who did {N} meet?", "{O}"}, {"Where did {N} meet {O}?", "{at}"}},
	},
	trades: {
		plain: []string{"{S} gave {it} to {O} for some {w}", "{O} took {t} and gave {N} some {w}",
			"{S} traded {it} for some {w} with {O}"},
		owl:  "to {O} {a} for some {w} {S} gave",
		asks: []question{{"What did {N} get for {t}?", "some {w}"}, {"Who took {t} for some {w}?", "{O}"}},
	},
	races: {
		plain: []string{"{N} and {O} ran a race {to}", "\"Who is faster?\" said {O}, and they ran a race {to}"},
		owl:   "{to} with {O} a race {S} ran",
		asks:  []question{{"Where did {N} and {O} run?", "{to}"}},
	},
	wins: {
		plain: []string{"{S} won the race", "{N} was faster and won", "{S} came in first"},
		owl:   "the race {S} won",
		asks:  []question{{"Who won the race?", "{N}"}},
	},
	falls: {
		plain: []string{"{S} fell into {P}", "but {S} fell into {P}"},
		owl:   "into {P} {S} fell, oh",
		asks:  []question{{"Who fell into {P}?", "{N}"}, {"What did {N} fall into?", "{P}"}},
	},
	pulls: {
		plain: []string{"{S} pulled {O} out with {a}", "{S} threw {a} to {O} and pulled {O} out"},
		owl:   "out with {a} {O} {S} pulled",
		asks:  []question{{"Who pulled {O} out?", "{N}"}, {"What did {N} pull {O} out with?", "{r}"}},
	},
	helps: {
		plain: []string{"{S} helped {O} all day", "{S} helped {O} with the work"},
		owl:   "{O} {S} helped",
		asks:  []question{{"Who helped {O}?", "{N}"}, {"Who did {N} help?", "{O}"}},
	},
	hears: {
		plain: []string{"{S} heard a strange sound", "there was a strange sound, and {N} heard it"},
		owl:   "a strange sound {S} heard",
		asks:  []question{{"Who heard a strange sound?", "{N}"}, {"What did {N} hear?", "a strange sound"}},
	},
	heads: {
		plain: []string{"{S} went home", "{S} ran home", "{S} walked home alone"},
		owl:   "home {S} went",
		asks:  []question{{"Who went home?", "{N}"}},
	},
	plays: {
		plain: []string{"{S} played with {O} {in}", "{N} and {O} played {in}", "{at} {S} played with {O}"},
		owl:   "{at} with {O} {S} played",
		asks:  []question{{"Who played with {N}?", "{O}"}, {"Where did {N} play with {O}?", "{at}"}},
	},
	shows: {
		plain: []string{"{S} showed {it} to {O}", "{S} showed {O} {a}"},
		owl:   "to {O} {a} {S} showed",
		asks:  []question{{"Who did {N} show {t} to?", "{O}"}, {"What did {N} show to {O}?", "{r}"}},
	},
	sings: {
		plain: []string{"{S} sang a song for {O}", "{S} sang for {O}"},
		owl:   "for {O} {S} sang",
		asks:  []question{{"Who sang for {O}?", "{N}"}},
	},
	asks: {
		plain: []string{"{S} asked {O} about {it}", "\"Have you seen my {n}?\" {N} asked {O}"},
		owl:   "after {a} {O} {S} asked",
		asks:  []question{{"Who did {N} ask about {t}?", "{O}"}},
	},
}

// joined tells two events of one person at one place in one sentence; the parts are those of the second event and the
// word that of the first.
var joined = map[[2]verb][]string{
	{goes, finds}: {"{S} {w} {to} and found {a} there", "when {S} {w} {to}, {s} found {a} there"},
	{goes, meets}: {"{S} {w} {to} and met {O} there", "when {S} {w} {to}, {s} met {O}"},
	{goes, loses}: {"{S} {w} {to} and lost {it} there", "when {S} {w} {to}, {s} lost {it}"},
}
