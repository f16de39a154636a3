package chat

import (
	"reflect"
	"strings"
	"testing"

	"github.com/peftconv/peftconv/internal/jinja"
)

// chatML ends turns with <|im_end|> and drops what thinking stands in earlier answers.
const chatML = `{%- for m in messages %}{{ '<|im_start|>' + m.role + '\n' }}` +
	`{%- if m.tool_calls %}{% for c in m.tool_calls %}<call>{{ c.function.name }} {{ c.function.arguments | tojson }}` +
	`{% endfor %}{% endif %}` +
	`{%- if m.role == 'assistant' and not loop.last and '</think>' in m.content %}{{ m.content.split('</think>')[1] }}` +
	`{%- else %}{{ m.content }}{% endif %}{{ '<|im_end|>\n' }}{% endfor %}` +
	`{%- if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}`

func compiled(t testing.TB, source string, stops ...string) *Template {
	t.Helper()
	tmpl, err := New(source)
	if err != nil {
		t.Fatal(err)
	}
	tmpl.Stops = stops
	return tmpl
}

func record(t testing.TB, text string) *jinja.Dict {
	t.Helper()
	v, err := jinja.FromJSON([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return v.(*jinja.Dict)
}

// shown is examples as texts, with what is learned in brackets and what is literal between slashes.
func shown(examples [][]Segment) string {
	var out []string
	for _, e := range examples {
		var b strings.Builder
		for _, s := range e {
			text := s.Text
			for i := len(s.Literal) - 1; i >= 0; i-- {
				l := s.Literal[i]
				text = text[:l.Start] + "/" + text[l.Start:l.End] + "/" + text[l.End:]
			}
			if s.Learn {
				text = "[" + text + "]"
			}
			b.WriteString(text)
		}
		out = append(out, b.String())
	}
	short := strings.NewReplacer("<|im_start|>", "<", "<|im_end|>", ">", "\n", "~")
	return short.Replace(strings.Join(out, " & "))
}

func TestTexts(t *testing.T) {
	for _, c := range []struct {
		name, record string
		format       Format
		on           TrainOn
		source       string
		want         string
	}{
		{name: "all turns", record: `{"messages":[{"role":"user","content":"a"},{"role":"assistant","content":"b"},
			{"role":"user","content":"c"},{"role":"assistant","content":"d"}]}`,
			want: "<user~a>~<assistant~[b>]~<user~c>~<assistant~[d>]~"},
		{name: "the last turn", on: Last, record: `{"messages":[{"role":"user","content":"a"},
			{"role":"assistant","content":"b"},{"role":"user","content":"c"},{"role":"assistant","content":"d"}]}`,
			want: "<user~a>~<assistant~b>~<user~c>~<assistant~[d>]~"},
		{name: "everything", on: All, record: `{"messages":[{"role":"user","content":"a"},{"role":"assistant","content":"b"}]}`,
			want: "[<user~a>~<assistant~b>~]"},
		{name: "a turn of weight 0", record: `{"messages":[{"role":"user","content":"a"},
			{"role":"assistant","content":"b","weight":0},{"role":"user","content":"c"},{"role":"assistant","content":"d"}]}`,
			want: "<user~a>~<assistant~b>~<user~c>~<assistant~[d>]~"},
		{name: "thinking that is dropped later", record: `{"messages":[{"role":"user","content":"a"},
			{"role":"assistant","content":"x</think>b"},{"role":"user","content":"c"},{"role":"assistant","content":"d"}]}`,
			want: "<user~a>~<assistant~[x</think>b>]~ & <user~a>~<assistant~b>~<user~c>~<assistant~[d>]~"},
		{name: "ShareGPT", format: ShareGPT, record: `{"system":"s","conversations":[{"from":"human","value":"a"},
			{"from":"gpt","value":"b"}]}`, want: "<system~s>~<user~a>~<assistant~[b>]~"},
		{name: "a call in ShareGPT", format: ShareGPT, record: `{"conversations":[{"from":"human","value":"a"},
			{"from":"function_call","value":"{\"name\":\"f\",\"arguments\":{\"x\":1}}"},
			{"from":"observation","value":"2"},{"from":"gpt","value":"b"}],"tools":"[{\"name\":\"f\"}]"}`,
			want: `<user~a>~<assistant~[<call>f {"x": 1}>]~<tool~2>~<assistant~[b>]~`},
		{name: "Alpaca", format: Alpaca, record: `{"instruction":"a","input":"b","output":"c"}`,
			want: "<user~a~b>~<assistant~[c>]~"},
		{name: "Alpaca without input", format: Alpaca, record: `{"instruction":"a","input":"","output":"c"}`,
			want: "<user~a>~<assistant~[c>]~"},
		{name: "prompt and completion", format: Completion, record: `{"prompt":"a","completion":"b","system":"s"}`,
			want: "<system~s>~<user~a>~<assistant~[b>]~"},
		{name: "prompt and completion of messages", record: `{"prompt":[{"role":"user","content":"a"}],
			"completion":[{"role":"assistant","content":"b"}]}`, want: "<user~a>~<assistant~[b>]~"},
		{name: "arguments as JSON text", record: `{"messages":[{"role":"user","content":"a"},{"role":"assistant",
			"content":null,"tool_calls":[{"id":"1","type":"function","function":{"name":"f","arguments":"{\"x\": 1}"}}]},
			{"role":"tool","content":"2"},{"role":"assistant","content":"b"}]}`,
			want: `<user~a>~<assistant~[<call>f {"x": 1}>]~<tool~2>~<assistant~[b>]~`},
		{name: "arguments that the template wants as text", source: strings.ReplaceAll(chatML,
			"{{ c.function.arguments | tojson }}", "{{ '' + c.function.arguments }}"),
			record: `{"messages":[{"role":"user","content":"a"},{"role":"assistant","content":"","tool_calls":
			[{"function":{"name":"f","arguments":{"x":1,"a":"é"}}}]}]}`,
			want: `<user~a>~<assistant~[<call>f {"x": 1, "a": "é"}>]~`},
		{name: "parts", record: `{"messages":[{"role":"user","content":[{"type":"text","text":"a"},{"text":"b"}]},
			{"role":"assistant","content":"c","name":null}]}`, want: "<user~ab>~<assistant~[c>]~"},
		{name: "contents that spell a stop", record: `{"messages":[{"role":"user","content":"<|im_end|>"},
			{"role":"assistant","content":"a<|im_end|>b"}]}`, want: "<user~/<|/im_end|>>~<assistant~[a/<|/im_end|>b>]~"},
		{name: "developer and unknown fields", record: `{"messages":[{"role":"Human","content":"a","id":3},
			{"role":"model","content":"b"}]}`, want: "<user~a>~<assistant~[b>]~"},
		{name: "no stop but before the next message",
			source: "{% for m in messages %}<|{{ m.role }}|>{{ m.content }}{% endfor %}{% if add_generation_prompt " +
				"%}<|assistant|>{% endif %}",
			record: `{"messages":[{"role":"user","content":"a"},{"role":"assistant","content":"b"},{"role":"user","content":"c"},
			{"role":"assistant","content":"d"}]}`, want: "<|user|>a<|assistant|>[b<|user|>]c<|assistant|>[d<|user|>]"},
		{name: "generation blocks without the thinking",
			source: "{% for m in messages %}<{{ m.role }}>{% if m.role == 'assistant' %}" +
				"{% generation %}{{ m.content }}<|im_end|>{% endgeneration %}{% else %}{{ m.content }}{% endif %}{% endfor %}" +
				"{% if add_generation_prompt %}<assistant>{% endif %}",
			record: `{"messages":[{"role":"user","content":"a"},{"role":"assistant","content":"b"}]}`, want: "<user>a<assistant>[b>]"},
	} {
		t.Run(c.name, func(t *testing.T) {
			source, stops := c.source, []string{"<|im_end|>", "<|user|>"}
			if source == "" {
				source = chatML
			}
			format := c.format
			if format == "" {
				format = Messages
			}
			e := &Encoder{Template: compiled(t, source, stops...), TrainOn: c.on}
			examples, notes, err := e.Texts(record(t, c.record), format)
			if err != nil || len(notes) > 0 {
				t.Fatalf("error %v, notes %q", err, notes)
			}
			if got := shown(examples); got != c.want {
				t.Errorf("got  %s\nwant %s", got, c.want)
			}
		})
	}
}

func TestTextsErrors(t *testing.T) {
	const ok = `{"role":"user","content":"a"},`
	for _, c := range []struct{ name, record, source, want string }{
		{name: "no messages", record: `{"messages":[]}`, want: "without messages"},
		{name: "no answer", record: `{"messages":[{"role":"user","content":"a"}]}`, want: "nothing to learn"},
		{name: "a message that is none", record: `{"messages":["a"]}`, want: "message 1 is a string, want an object"},
		{name: "no role", record: `{"messages":[{"content":"a"}]}`, want: `message 1: no field "role"; the fields are content`},
		{name: "unknown role", record: `{"messages":[{"role":"wizard","content":"a"}]}`, want: `message 1: the role "wizard"`},
		{name: "a number", record: `{"messages":[{"role":"user","content":3}]}`, want: "the content is a number"},
		{name: "an image", record: `{"messages":[{"role":"user","content":[{"type":"image_url","image_url":"x"}]}]}`,
			want: "message 1: part 1 of the content is of type image_url"},
		{name: "an answer without anything", record: `{"messages":[` + ok + `{"role":"assistant","content":null}]}`,
			want: "message 2: of the assistant, without content"},
		{name: "a result without a call", record: `{"messages":[` + ok + `{"role":"tool","content":"b"}]}`,
			want: "message 2: the result of a tool"},
		{name: "calls", record: `{"messages":[` + ok + `{"role":"assistant","content":"","tool_calls":[{"function":{}}]}]}`,
			want: `message 2: tool call 1: no field "name"`},
		{name: "tools", record: `{"messages":[` + ok + `{"role":"assistant","content":"b"}],"tools":"[{"}`,
			want: `field "tools": not JSON`},
		{name: "the template refuses", record: `{"messages":[` + ok + `{"role":"assistant","content":"b"}]}`,
			source: "{{ raise_exception('No.') }}", want: "the template refuses: No."},
		{name: "a lost call", source: "{% for m in messages %}{{ m.role }}:{{ m.content }}</s>{% endfor %}" +
			"{% if add_generation_prompt %}assistant:{% endif %}", record: `{"messages":[` + ok +
			`{"role":"assistant","content":"b","tool_calls":[{"function":{"name":"f","arguments":{}}}]}]}`,
			want: `message 2: the chat template drops the tool call "f"`},
		{name: "a contradiction", source: "{% for m in messages %}<{{ m.role }}>{{ m.content }}</s>{% endfor %}" +
			"{% if add_generation_prompt %}<assistant><think>{% endif %}", record: `{"messages":[` + ok +
			`{"role":"assistant","content":"b"}]}`,
			want: `message 2: the chat template's prompt for an answer and the answer as it stores it contradict each other: ` +
				`where the prompt has "<think>" the stored turn has "b</s>"`},
		{name: "no end", source: "{% for m in messages %}<{{ m.role }}>{{ m.content }}{% endfor %}" +
			"{% if add_generation_prompt %}<assistant>{% endif %}", record: `{"messages":[` + ok +
			`{"role":"assistant","content":"b"}]}`, want: "message 2: the chat template writes nothing behind the answer"},
	} {
		t.Run(c.name, func(t *testing.T) {
			source := c.source
			if source == "" {
				source = chatML
			}
			e := &Encoder{Template: compiled(t, source, "<|im_end|>", "</s>")}
			if _, _, err := e.Texts(record(t, c.record), Messages); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("error %v, want one with %q", err, c.want)
			}
		})
	}
}

func TestNotes(t *testing.T) {
	const source = "{% for m in messages %}{% if m.role != 'system' %}<{{ m.role }}>{{ m.content }}</s>{% endif %}" +
		"{% endfor %}{% if add_generation_prompt %}<assistant>{% endif %}"
	e := &Encoder{Template: compiled(t, source, "</s>")}
	_, notes, err := e.Texts(record(t, `{"messages":[{"role":"system","content":"Be brief."},{"role":"user","content":"a"},
		{"role":"assistant","content":"b","reasoning_content":"why"}]}`), Messages)
	want := []string{"the chat template does not write the reasoning (reasoning_content) of an answer",
		"the chat template does not write a message of the role system"}
	if err != nil || !reflect.DeepEqual(notes, want) {
		t.Errorf("notes %q, error %v, want %q", notes, err, want)
	}
}

func TestStopsOf(t *testing.T) {
	for source, want := range map[string][]string{
		chatML:                            {"<|im_end|>"},
		"<|end|><|return|><|call|>":       {"<|return|>", "<|call|>"},
		"nothing":                         nil,
		"{{ '<end_of_turn>' }}<|eot_id|>": {"<|eot_id|>", "<end_of_turn>"},
	} {
		if got := StopsOf(source); !reflect.DeepEqual(got, want) {
			t.Errorf("%s: %q, want %q", source, got, want)
		}
	}
}

func FuzzRead(f *testing.F) {
	f.Add(`{"messages":[{"role":"user","content":"a"},{"role":"assistant","content":null,"tool_calls":[{"function":` +
		`{"name":"f","arguments":"{}"}}]}],"tools":[{"name":"f"}]}`)
	f.Add(`{"conversations":[{"from":"human","value":"a<|im_end|>"},{"from":"function_call","value":"{}"}],"system":"s"}`)
	f.Add(`{"instruction":"a","input":[],"output":"c"}`)
	f.Fuzz(func(t *testing.T, text string) {
		v, err := jinja.FromJSON([]byte(text))
		r, ok := v.(*jinja.Dict)
		if err != nil || !ok {
			return
		}
		e := &Encoder{Template: compiled(t, chatML, "<|im_end|>"), Pairs: true}
		for _, format := range []Format{Messages, ShareGPT, Alpaca, Completion} {
			examples, _, err := e.Texts(r, format)
			for _, example := range examples {
				for i, s := range example {
					if s.Text == "" || i > 0 && s.Learn == example[i-1].Learn || err != nil {
						t.Fatalf("examples %q, error %v", shown(examples), err)
					}
				}
			}
		}
	})
}

// FuzzReadJSON reads conversations that were kept, writes them and reads them again.
func FuzzReadJSON(f *testing.F) {
	f.Add([]byte(`{"messages":[{"role":"user","content":"a"},{"role":"assistant","content":"b"}],"tools":[{"name":"f"}]}`))
	f.Add([]byte(`[{"role":"user","content":["a"]}]`))
	f.Fuzz(func(t *testing.T, data []byte) {
		c, err := ReadJSON(data)
		if err != nil {
			return
		}
		once := c.JSON()
		again, err := ReadJSON([]byte(once))
		if err != nil || again.JSON() != once {
			t.Fatalf("%q is %s, which cannot be read again: %v", data, once, err)
		}
	})
}
