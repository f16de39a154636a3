package integration

import (
	"encoding/json"
	"fmt"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/peftconv/peftconv/internal/testdata"
)

// lookAt opens a report in a browser, which takes pictures into a folder where one is named.
func lookAt(t *testing.T, page, shots string, evil bool) {
	t.Helper()
	chromium := browser()
	if chromium == "" {
		t.Skip("there is no chromium")
	}
	request := filepath.Join(t.TempDir(), "request.json")
	text, _ := json.Marshal(map[string]any{"page": page, "chromium": chromium, "shots": shots, "evil": evil})
	if err := os.WriteFile(request, text, 0o600); err != nil {
		t.Fatal(err)
	}
	out, err := exec.CommandContext(t.Context(), "node", "report.mjs", request).CombinedOutput()
	_, found, ok := strings.Cut(string(out), "result ")
	var result struct{ Problems []string }
	if err != nil || !ok || json.Unmarshal([]byte(found), &result) != nil {
		t.Fatalf("%v: %s", err, out)
	}
	for _, p := range result.Problems {
		t.Error(p)
	}
}

// fakeLog is the log of a run of 10,000 steps whose texts want to be more than text.
func fakeLog(t *testing.T, dir string) string {
	t.Helper()
	var b strings.Builder
	line := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	when := func(step int) string { return time.Unix(int64(1e9+step), 0).UTC().Format(time.RFC3339) }
	line(`{"kind":"start","step":0,"time":"%s","steps":%d,"lr":0.0075,"parameters":46240,"precision":"int8","seed":42,`+
		`"base":"/models/<b>base</b>.gguf","architecture":"llama","adapter":"LoRA of rank 8 on 35 weights","schedule":"linear",`+
		`"batch_tokens":2048,"memory":{"total":3000000000,"weights":2000000000,"activations":900000000},`+
		`"data":{"files":["a.jsonl"],"examples":610,"tokens":312053,"tokens_with_loss":301022,"lengths":{"step":20,`+
		`"counts":[1,4,20,60,120,180,140,60,20,4,1]}}}`, when(0), fakeSteps)
	line(`{"kind":"eval","step":0,"time":"%s","loss":5.06,"base":true,"files":[{"path":"a","loss":5},{"path":"b","loss":5.1}]}`,
		when(0))
	for step := 1; step <= fakeSteps; step++ {
		x := float64(step)
		loss := 2.6 + 2.4*math.Exp(-x/600) + math.Sin(x*12.9898)*0.12
		line(`{"kind":"step","step":%d,"time":"%s","epoch":%g,"loss":%g,"lr":%g,"grad_norm":%g,"tokens":2048,`+
			`"tokens_with_loss":2000,"tokens_seen":%d,"seconds":%g,"memory":%d}`, step, when(step), x/153, loss,
			0.0075*(1-x/fakeSteps), 0.9+0.2*math.Sin(x), 2048*step, 0.4+0.1*math.Sin(x/7), 94_000_000+step*1000)
		if step%500 == 0 {
			line(`{"kind":"eval","step":%d,"time":"%s","loss":%g,"seconds":1,"files":[{"path":"a","loss":3},{"path":"b","loss":3.2}]}`,
				step, when(step), loss+0.1)
			line(`{"kind":"sample","step":%d,"time":"%s","number":0,"prompt":"The <i>king</i>","text":`+
				`" shall have <img src=x onerror=alert(1)><script>alert(2)</script>"}`, step, when(step))
		}
	}
	line(`{"kind":"end","step":%d,"time":"%s","steps":%d,"tokens":20480000,"loss":2.6,"base_loss":5.06,"eval_loss":2.7,`+
		`"parts":{"attention":900,"linear forward":1200,"linear backward":1500,"optimizer":80}}`, fakeSteps, when(fakeSteps),
		fakeSteps)
	path := filepath.Join(dir, "fake.log.jsonl")
	if err := os.WriteFile(path, []byte(b.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// TestReport looks at the report of a run of 10,000 steps in a real browser: light, dark, on a phone and on paper. It
// loads nothing, and has less than 1 MB.
func TestReport(t *testing.T) {
	needs(t)
	dir := t.TempDir()
	log := fakeLog(t, dir)
	trained := exec.CommandContext(t.Context(), program, "train", "--base", testdata.Shared(t, "models/stories260K.gguf"),
		"--data", "-", "--file-format", "txt", "--out", "fake.safetensors", "-n", "2", "--no-log", "--no-report",
		"--batch-tokens", "64", "--seq-len", "32")
	trained.Dir, trained.Stdin = dir, strings.NewReader(strings.Repeat("Once upon a time there was a king. ", 40))
	if out, err := trained.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if out, err := exec.CommandContext(t.Context(), program, "report", log).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	page := filepath.Join(dir, "fake.report.html")
	if info, err := os.Stat(page); err != nil || info.Size() > 1_000_000 {
		t.Errorf("the report: %v, %v", info, err)
	}
	lookAt(t, page, "", true)
}

// TestReportPictures trains stories260K on Shakespeare and takes pictures of its report for the documentation.
func TestReportPictures(t *testing.T) {
	needs(t)
	shots := os.Getenv(screenshotsEnv)
	if shots == "" {
		t.Skip(screenshotsEnv + " is not set")
	}
	dir := t.TempDir()
	shakespeare(t, dir)
	cmd := exec.CommandContext(t.Context(), program, shakespeareRun()...)
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	lookAt(t, filepath.Join(dir, "shakespeare.report.html"), shots, false)
}
