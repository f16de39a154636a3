package integration

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/peftconv/peftconv/internal/live"
	"github.com/peftconv/peftconv/internal/testdata"
)

// screenshotsEnv names a folder for pictures of the page of a real run, light, dark and on a phone: those of docs.
const screenshotsEnv = "PEFTCONV_SCREENSHOTS"

// browser is a Chromium, "" where there is none.
func browser() string {
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome"} {
		if path, err := exec.LookPath(name); err == nil {
			return path
		}
	}
	return ""
}

// fakeSteps is as many as a run of two hours may have.
const fakeSteps = 10_000

// fakeRun feeds a page with steps that no model was trained by.
type fakeRun struct {
	page *live.Server
	step int
}

// feed tells so many steps more, with evaluations and samples.
func (r *fakeRun) feed(n int) {
	line := func(format string, args ...any) { r.page.Line(fmt.Appendf(nil, format, args...)) }
	if r.step == 0 {
		line(`{"kind":"start","step":0,"steps":%d,"lr":0.0075,"parameters":46240,"precision":"int8","base":"/models/`+
			`stories260K.gguf","architecture":"llama","adapter":"LoRA of rank 8 on 35 weights","seed":42,"schedule":"linear",`+
			`"batch_tokens":2048,"data":{"examples":610,"tokens":312053,"tokens_with_loss":301022}}`, fakeSteps)
		line(`{"kind":"eval","step":0,"loss":5.0635,"base":true}`)
		line(`{"kind":"sample","step":0,"number":0,"prompt":"The king","text":" was a big, red ball.","base":true}`)
	}
	for range n {
		r.step++
		x := float64(r.step)
		noise := math.Sin(x*12.9898) * 0.12
		loss := 2.6 + 2.4*math.Exp(-x/60) + noise
		line(`{"kind":"step","step":%d,"epoch":%g,"loss":%g,"lr":%g,"grad_norm":%g,"tokens":2048,"tokens_with_loss":%d,`+
			`"tokens_seen":%d,"seconds":%g,"memory":%d}`, r.step, x/153, loss, 0.0075*(1-x/fakeSteps), 0.9+noise, 1950+r.step%90,
			2048*r.step, 0.4+noise/10, 94_000_000+r.step*1000)
		if r.step%50 == 0 {
			line(`{"kind":"eval","step":%d,"loss":%g,"best":true,"seconds":1}`, r.step, loss-noise+0.1)
		}
		if r.step%100 == 0 {
			line(`{"kind":"sample","step":%d,"number":0,"prompt":"The king","text":" shall have <img src=x onerror=alert(1)>"}`,
				r.step)
		}
	}
}

// TestLive shows a run of 10,000 steps in a real browser: what is drawn, the keyboard, several viewers, other sites,
// how much memory the page takes and how often it draws.
func TestLive(t *testing.T) {
	needs(t)
	chromium := browser()
	if chromium == "" {
		t.Skip("there is no chromium")
	}
	var mu sync.Mutex
	asked := []string{}
	ask := func(what string) {
		mu.Lock()
		defer mu.Unlock()
		asked = append(asked, what)
	}
	var examples []live.Example
	for i := range 12 {
		examples = append(examples, live.Example{Number: i + 1, Tokens: 40, Learned: 22, Segments: []live.Segment{
			{Text: "<|im_start|>user\nWho was the king of <b>France</b> in 1700?<|im_end|>\n<|im_start|>assistant\n"},
			{Text: "Louis XIV, who reigned for 72 years.<|im_end|>", Learn: true}}})
	}
	page, err := live.Listen(live.Options{Examples: examples, Controls: live.Controls{
		Stop: func() { ask("stop") }, Evaluate: func() { ask("evaluate") },
		Sample: func(prompt string) bool { ask("sample " + prompt); return true },
	}})
	if err != nil {
		t.Fatal(err)
	}
	defer page.Close("finished", "")
	other := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html")
		io.WriteString(w, "<!doctype html><title>elsewhere</title>")
	}))
	defer other.Close()
	request := filepath.Join(t.TempDir(), "request.json")
	text, _ := json.Marshal(map[string]any{"url": page.URL(), "chromium": chromium, "elsewhere": other.URL,
		"shots": "", "steps": fakeSteps})
	if err := os.WriteFile(request, text, 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), "node", "live.mjs", request)
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer cmd.Wait()
	run := &fakeRun{page: page}
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		word, rest, _ := strings.Cut(lines.Text(), " ")
		switch word {
		case "feed":
			n := 0
			fmt.Sscan(rest, &n)
			for n > 0 { // 500 steps in the time of a frame or two
				some := min(n, 500)
				run.feed(some)
				n -= some
				time.Sleep(30 * time.Millisecond)
			}
			fmt.Fprintln(in, "ok")
		case "asked":
			mu.Lock()
			text, _ := json.Marshal(asked)
			mu.Unlock()
			fmt.Fprintf(in, "%s\n", text)
		case "end":
			go page.Close("stopped", "stopped after step 5 of 9")
			fmt.Fprintln(in, "ok")
		case "result":
			var result struct {
				Problems []string
			}
			t.Log(rest)
			if err := json.Unmarshal([]byte(rest), &result); err != nil {
				t.Fatal(err)
			}
			for _, p := range result.Problems {
				t.Error(p)
			}
			return
		}
	}
	t.Fatal("the browser ended without a result")
}

// shakespeare writes data, prompts and a model into a folder.
func shakespeare(t *testing.T, dir string) {
	t.Helper()
	text, err := os.ReadFile(testdata.Shared(t, "text/tinyshakespeare.txt"))
	if err != nil {
		t.Fatal(err)
	}
	model, err := os.ReadFile(testdata.Shared(t, "models/stories260K.gguf"))
	if err != nil {
		t.Fatal(err)
	}
	for name, content := range map[string][]byte{"stories260K.gguf": model, "train.txt": text[:400_000],
		"valid.txt": text[len(text)-20_000:], "prompts.txt": []byte("The king\nOnce upon a time\n")} {
		if err := os.WriteFile(filepath.Join(dir, name), content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// shakespeareRun is a training on these data with everything that a page shows.
func shakespeareRun() []string {
	return []string{"train", "--base", "stories260K.gguf", "--data", "train.txt", "--eval-data", "valid.txt", "--out",
		"shakespeare.safetensors", "--eval-every", "10", "--sample-prompts", "prompts.txt", "--sample-every", "40",
		"--sample-tokens", "24"}
}

// TestLivePictures trains stories260K on Shakespeare and takes pictures of its page for the documentation.
func TestLivePictures(t *testing.T) {
	needs(t)
	shots, chromium := os.Getenv(screenshotsEnv), browser()
	if shots == "" || chromium == "" {
		t.Skip(screenshotsEnv + " is not set, or there is no chromium")
	}
	dir := t.TempDir()
	shakespeare(t, dir)
	cmd := exec.CommandContext(t.Context(), program, append(shakespeareRun(), "--live")...)
	cmd.Dir = dir
	stderr, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer cmd.Wait()
	defer cmd.Process.Kill()
	lines := bufio.NewScanner(stderr)
	for lines.Scan() {
		if at, ok := strings.CutPrefix(lines.Text(), "page     "); ok {
			go io.Copy(io.Discard, stderr)
			request := filepath.Join(dir, "request.json")
			text, _ := json.Marshal(map[string]any{"url": at, "chromium": chromium, "shots": shots, "from": 100})
			if err := os.WriteFile(request, text, 0o600); err != nil {
				t.Fatal(err)
			}
			out, err := exec.CommandContext(t.Context(), "node", "live.mjs", request).CombinedOutput()
			if err != nil || !strings.Contains(string(out), `{"problems":[]}`) {
				t.Fatalf("%v: %s", err, out)
			}
			return
		}
	}
	t.Fatal("no page")
}
