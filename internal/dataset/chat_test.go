package dataset

import (
	"strings"
	"testing"

	"github.com/peftconv/peftconv/internal/chat"
)

// turns is a chat template of letters: u and a for the roles, EOS behind answers. It writes BOS.
const turns = "{{ bos_token }}{% for m in messages %}{{ m.role[0] }}:{{ m.content }}" +
	"{% if m.role == 'assistant' %}{{ eos_token }}{% else %};{% endif %}{% endfor %}" +
	"{% if add_generation_prompt %}a:{% endif %}"

func TestChat(t *testing.T) {
	for _, c := range []struct {
		name, source, content string
		opt                   Options
		pairs                 bool
		on                    chat.TrainOn
		want, notes           string
	}{
		{name: "messages", content: `{"messages":[{"role":"user","content":"x"},{"role":"assistant","content":"yz"},
			{"role":"user","content":"v"},{"role":"assistant","content":"w"}]}`, want: "<u:x;a:YZ}u:v;a:W}"},
		{name: "BOS that the template does not write", source: strings.TrimPrefix(turns, "{{ bos_token }}"),
			content: `{"messages":[{"role":"user","content":"x"},{"role":"assistant","content":"y"}]}`, want: "<u:x;a:Y}"},
		{name: "contents that spell control tokens", content: `{"messages":[{"role":"user","content":"</s>x<s>"},
			{"role":"assistant","content":"y</s>z"}]}`, want: "<u:</s>x<s>;a:Y</S}Z}"},
		{name: "the last turn", on: chat.Last, content: `{"messages":[{"role":"user","content":"x"},
			{"role":"assistant","content":"y"},{"role":"user","content":"v"},{"role":"assistant","content":"w"}]}`,
			want: "<u:x;a:y>u:v;a:W}"},
		{name: "forms in one file", content: `{"conversations":[{"from":"human","value":"x"},{"from":"gpt","value":"y"}]}` +
			"\n" + `{"instruction":"q","output":"r"}` + "\n" + `{"prompt":"p","completion":"c"}` + "\n" + `{"text":"t"}`,
			want: "<u:x;a:Y}|<u:q;a:R}|<pC}|!<t>"},
		{name: "pairs as turns", pairs: true, content: `{"prompt":"p","completion":"c"}` + "\n" + `{"question":"q","answer":"r"}`,
			want: "<u:p;a:C}|<u:q;a:R}"},
		{name: "a chosen form", opt: Options{Format: chat.Completion, PromptField: "text", CompletionField: "b"},
			content: `{"text":"x","b":"y"}`, want: "<x\nY}"},
		{name: "a prompt of fields", opt: Options{PromptTemplate: "Q {instruction}/{input}=", SeqLen: 32},
			content: `{"instruction":"x","input":null,"output":"y"}`, want: "<Q x/=Y}"},
		{name: "a prompt of fields with the answer at its end", opt: Options{PromptTemplate: "{a} is {b}"},
			content: `{"a":"x","b":"y"}`, want: "<x is Y}"},
		{name: "too long", opt: Options{SeqLen: 8}, content: `{"messages":[{"role":"user","content":"x"},
			{"role":"assistant","content":"yzabcde"}]}`, want: "<u:x;a:Y",
			notes: "1 of 1 records longer than the sequence length, cut at their end"},
		{name: "refused", opt: Options{SkipRefused: true}, content: `{"messages":[{"role":"wizard","content":"x"}]}` + "\n" +
			`{"messages":[{"role":"user","content":"x"},{"role":"assistant","content":"y"}]}`, want: "<u:x;a:Y}",
			notes: "1 of 2 records refused and left out; record 1: left out: message 1: the role \"wizard\" is not known, " +
				"want " +
				"system, developer, user, assistant or tool"},
	} {
		t.Run(c.name, func(t *testing.T) {
			tok := byteTokenizer(t, nil)
			source := c.source
			if source == "" {
				source = turns
			}
			template, err := chat.New(source)
			if err != nil {
				t.Fatal(err)
			}
			template.Use(tok)
			if c.opt.SeqLen == 0 {
				c.opt.SeqLen = 64
			}
			c.opt.Chat = &chat.Encoder{Template: template, Tokenizer: tok, TrainOn: c.on, Pairs: c.pairs,
				Fields: chat.Fields{Prompt: c.opt.PromptField, Completion: c.opt.CompletionField}}
			content := strings.ReplaceAll(c.content, "\n\t\t\t", "")
			set, err := Load(write(t, "a.jsonl", content), tok, c.opt)
			if err != nil {
				t.Fatal(err)
			}
			wantSet(t, tok, set, c.want, c.notes)
		})
	}
}

func TestChatErrors(t *testing.T) {
	for _, c := range []struct{ name, content, want string }{
		{"no template", `{"messages":[{"role":"user","content":"x"}]}`, "a.jsonl:1: conversations need a chat template"},
		{"no template for Alpaca", `{"instruction":"x","output":"y"}`, "--prompt-template"},
		{"preferences", `{"prompt":"x","chosen":"y","rejected":"z"}`, `a.jsonl:1: "chosen" and "rejected" are preference pairs`},
		{"judged answers", `{"prompt":"x","completion":"y","label":true}`, "judged answers"},
	} {
		_, err := Load(write(t, "a.jsonl", c.content), byteTokenizer(t, nil), Options{SeqLen: 16})
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: error %v, want one with %q", c.name, err, c.want)
		}
	}
}

// Records have their numbers, whatever batches they were read in.
func TestRecordNumbers(t *testing.T) {
	var b strings.Builder
	for i := range 600 {
		if i%2 == 1 {
			b.WriteString(`{"text":""}` + "\n")
			continue
		}
		b.WriteString(`{"text":"ab"}` + "\n")
	}
	set, err := Load(write(t, "a.jsonl", b.String()), byteTokenizer(t, nil), Options{SeqLen: 16})
	if err != nil || len(set.Examples) != 300 {
		t.Fatalf("%d examples, error %v", len(set.Examples), err)
	}
	for i, e := range set.Examples {
		if e.Record != 2*i+1 {
			t.Fatalf("example %d is of record %d, want %d", i, e.Record, 2*i+1)
		}
	}
}

// Messages may be a column of a table, as JSON.
func TestChatInTable(t *testing.T) {
	tok := byteTokenizer(t, nil)
	template, err := chat.New(turns)
	if err != nil {
		t.Fatal(err)
	}
	template.Use(tok)
	path := write(t, "a.csv", "id,messages\n1,\"[{\"\"role\"\":\"\"user\"\",\"\"content\"\":\"\"x\"\"},"+
		"{\"\"role\"\":\"\"assistant\"\",\"\"content\"\":\"\"y\"\"}]\"\n")
	set, err := Load(path, tok, Options{SeqLen: 32, Chat: &chat.Encoder{Template: template, Tokenizer: tok}})
	if err != nil {
		t.Fatal(err)
	}
	if got := show(tok, set.Examples[0]); got != "<u:x;a:Y}" {
		t.Errorf("got %q", got)
	}
}
