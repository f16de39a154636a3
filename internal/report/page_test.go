package report

import (
	"bytes"
	"fmt"
	"math"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/peftconv/peftconv/internal/chart"
	"github.com/peftconv/peftconv/internal/runlog"
	"github.com/peftconv/peftconv/peft"
	"github.com/peftconv/peftconv/peft/algebra"
	"github.com/peftconv/peftconv/peft/merge"
)

// longRun is a run of many steps with everything in its log. evil is in all its texts.
func longRun(steps int, evil string) Run {
	base, loss := 5.0, 2.5
	about := runlog.About{
		Version: "1" + evil, Command: []string{"train", evil}, Machine: "linux" + evil, Base: "/models/" + evil + ".gguf",
		BaseBytes: 1e9, Architecture: "llama" + evil, Adapter: "LoRA" + evil, Out: evil + ".safetensors", Schedule: "linear",
		Data: &runlog.Data{Files: []string{evil}, Examples: 3, Tokens: 90, TokensWithLoss: 80,
			Lengths: &runlog.Lengths{Step: 10, Counts: []int{0, 2, 1}}},
		Evaluation: &runlog.Data{Files: []string{evil}, Examples: 1, Lengths: &runlog.Lengths{Step: 10, Counts: []int{1}}},
	}
	log := &runlog.Log{Starts: []runlog.Start{{Line: runlog.Line{Time: time.Unix(1e9, 0)}, Steps: steps, LR: 1e-3,
		Precision: "int8", Reason: evil, Memory: runlog.Memory{Total: 3e9, Weights: 2e9, Activations: 1e9}, About: about}}}
	for i := 1; i <= steps; i++ {
		log.Steps = append(log.Steps, runlog.Step{Line: runlog.Line{Step: i}, Loss: loss + math.Sin(float64(i)), LR: 1e-3,
			GradNorm: 1 / float64(i), Tokens: 2048, TokensSeen: int64(2048 * i), Seconds: 0.5, Memory: 2e9})
	}
	for i := 0; i <= steps; i += max(1, steps/200) {
		files := []peft.FileLoss{{Path: evil + "a", Loss: 3}, {Path: "b", Loss: 2}}
		log.Evaluations = append(log.Evaluations, runlog.Evaluation{Line: runlog.Line{Step: i}, Loss: loss, Base: i == 0,
			Files: files})
		for n := range 60 {
			log.Samples = append(log.Samples, runlog.Sample{Line: runlog.Line{Step: i}, Number: n, Base: i == 0,
				Prompt: fmt.Sprint("prompt ", n, evil), Text: strings.Repeat("It was a dark and stormy night. ", 8) + evil})
		}
	}
	log.End = &runlog.End{}
	log.End.BaseLoss, log.End.EvalLoss, log.End.BaseSHA256 = &base, &loss, strings.Repeat("a", 64)
	log.End.Parts = map[string]float64{"attention": 3, "lora": 1}
	r := Run{Name: "run" + evil, Log: log, Config: evil + ".yaml", Adapter: &Trained{
		File: evil, Describe: "LoRA" + evil, Method: "LORA" + evil, Parameters: 9, BaseModel: "owner/" + evil,
		Origin: peft.Origin{Base: evil, Architecture: "llama"},
	}}
	for layer := range 80 {
		for _, role := range []string{"q_proj", "v_proj", "mlp.experts.3.up_proj" + evil} {
			r.Adapter.Norms = append(r.Adapter.Norms, algebra.ModuleNorm{Module: fmt.Sprintf("model.layers.%d.%s", layer, role),
				Change: float64(layer), Base: 100})
		}
	}
	r.Adapter.Norms = append(r.Adapter.Norms, algebra.ModuleNorm{Module: "lm_head" + evil, Change: 1, Base: 2})
	return r
}

// evilMerge is a merge with evil in its texts.
func evilMerge(evil string) *merge.Report {
	return &merge.Report{Output: evil + ".gguf", Recovery: 0.4, Tensors: []merge.Tensor{
		{Name: "blk.0.attn_q.weight" + evil, Type: "Q4_0", Rounding: evil, Recovery: 0.3, Noise: math.NaN(), Little: true},
		{Name: "blk.1.attn_q.weight", Type: "Q4_0", Recovery: 0.9}},
		Verification: &merge.Verification{Data: evil, BaseLoss: 3, AdapterLoss: 2, MergedLoss: 2.5}}
}

// TestReportSize wants a report of 10,000 steps, and of two such runs, under 1 MB, with the same bytes each time.
func TestReportSize(t *testing.T) {
	for n := 1; n <= 2; n++ {
		var runs []Run
		for i := range n {
			r := longRun(10_000, "")
			r.Name = fmt.Sprint("run ", i)
			runs = append(runs, r)
		}
		page := RunsPage(runs, nil).HTML()
		if len(page) > 1e6 || !bytes.Equal(page, RunsPage(runs, nil).HTML()) {
			t.Errorf("%d runs: %d bytes, or others the second time", n, len(page))
		}
		t.Logf("%d runs of 10,000 steps: %d bytes", n, len(page))
	}
}

// evils are texts that want to be more than text.
var evils = []string{
	"<script>alert(1)</script>", `"><img src=x onerror=alert(1)>`, "'onmouseover='alert(1)", "</title></style></pre></svg>",
	"\x00\x1b[2J\u202e\xff", "&lt;b&gt;", "%s%d{{.}}", "a|b\n\n# c\n- <b>", "`x` [y](javascript:alert(1)) ![z](http://a.example/)",
	"]]>-->", strings.Repeat("x y", 1<<14),
}

// TestHostileTexts puts texts that want to be more than text into every place, and counts elements and attributes.
func TestHostileTexts(t *testing.T) {
	tag, value := regexp.MustCompile(`<[a-zA-Z!/][^>]*>`), regexp.MustCompile(`="[^"]*"`)
	shape := func(page []byte) string {
		var b strings.Builder
		for _, found := range tag.FindAll(page, -1) {
			b.Write(value.ReplaceAll(found, []byte(`=""`)))
		}
		return b.String()
	}
	all := func(evil string) *Page {
		p := RunsPage([]Run{longRun(2, evil), longRun(1, evil+"2")}, []*merge.Report{evilMerge(evil)})
		p.Lead = evil
		p.add("A table"+evil, Text(evil), &Table{Caption: evil, Head: []string{evil, evil}, Rows: [][]string{{evil, evil}}})
		return p
	}
	plainShape := shape(all("x").HTML())
	for _, evil := range evils {
		page := all(evil).HTML()
		if got := shape(page); got != plainShape {
			t.Errorf("%.40q: other elements than with a plain text", evil)
		}
		if bytes.ContainsAny(page, "\x00\x1b\u202e") || !bytes.Equal(page, bytes.ToValidUTF8(page, nil)) {
			t.Errorf("%.40q: characters that a page cannot have", evil)
		}
		if len(page) > 1e6 {
			t.Errorf("%.40q: %d bytes", evil, len(page))
		}
		card, err := all(evil).Markdown(CardOf([]Run{longRun(3, evil)}), func(chart.Picture) string { return "" })
		if err != nil {
			t.Fatal(err)
		}
		front, rest, _ := strings.Cut(strings.TrimPrefix(string(card), "---\n"), "\n---\n")
		if !strings.Contains(front, "pipeline_tag: text-generation") || regexp.MustCompile(`(?m)^([^ \n].*[^\\\n])?(<[a-z/]|\]\(j)`).MatchString(rest) {
			t.Errorf("%.40q: in the card it is more than text", evil)
		}
	}
}

// TestNothingElsewhere wants no address in a page, and no script.
func TestNothingElsewhere(t *testing.T) {
	page := RunsPage([]Run{longRun(30, "")}, []*merge.Report{evilMerge("")}).HTML()
	if found := regexp.MustCompile(`(?i)https?:|//[a-z]|url\(|<script|<link|<img|@import|src=|href=`).Find(page); found != nil {
		t.Errorf("the page has %q", found)
	}
	if !bytes.Contains(page, []byte(`content="default-src 'none'; style-src 'unsafe-inline'"`)) {
		t.Error("no policy that forbids to load")
	}
}

// TestPlaces finds layers and roles in names.
func TestPlaces(t *testing.T) {
	for name, want := range map[string]place{
		"model.layers.3.self_attn.q_proj":          {3, "self_attn.q_proj"},
		"blk.12.attn_q.weight":                     {12, "attn_q.weight"},
		"model.layers.3.mlp.experts.7.up_proj":     {3, "mlp.experts.up_proj"},
		"lm_head":                                  {-1, "lm_head"},
		"model.layers.99999999999999999999.q_proj": {-1, "model.layers.99999999999999999999.q_proj"},
	} {
		if got := placeOf(name); got != want {
			t.Errorf("%s: %+v, want %+v", name, got, want)
		}
	}
}

// TestOddLogs makes pages of logs that no run has written: they end, and stay small.
func TestOddLogs(t *testing.T) {
	many := func(n int, line string) string { return strings.Repeat(line+"\n", n) }
	start := `{"kind":"start","step":0,"steps":-1,"lr":-1e300,"data":{"lengths":{"step":%d,"counts":[%s]}},"memory":` +
		`{"weights":-1,"program":9223372036854775807}}` + "\n"
	for name, text := range map[string]string{
		"nothing":        "",
		"starts alone":   fmt.Sprintf(start, 0, "1,-2,3"),
		"no counts":      fmt.Sprintf(start, 9223372036854775807, "9223372036854775807"),
		"many counts":    fmt.Sprintf(start, 1, strings.TrimSuffix(strings.Repeat("1,", 100_000), ",")),
		"no start":       `{"kind":"step","step":1}` + "\n" + `{"kind":"end"}` + "\n",
		"great numbers":  fmt.Sprintf(start, 1, "1") + `{"kind":"step","step":9223372036854775807,"loss":1e308,"tokens":1}` + "\n",
		"lesser numbers": fmt.Sprintf(start, 1, "1") + many(3, `{"kind":"step","step":-9223372036854775808,"loss":-1e308}`),
		"evaluations":    fmt.Sprintf(start, 1, "1") + many(20_000, `{"kind":"eval","step":7,"loss":1e-300}`),
		"files":          many(1, `{"kind":"eval","step":7,"files":[`+strings.Repeat(`{"path":"x"},`, 5000)+`{}]}`),
		"samples":        many(20_000, `{"kind":"sample","step":7,"prompt":"x","text":"y"}`),
	} {
		log, err := runlog.Read(strings.NewReader(text))
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		page := RunsPage([]Run{{Name: name, Log: log}}, nil).HTML()
		if len(page) > 300_000 || bytes.Contains(page, []byte("NaN")) || bytes.Contains(page, []byte("Inf")) {
			t.Errorf("%s: %d bytes, or numbers that are none", name, len(page))
		}
	}
}
