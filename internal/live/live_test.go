package live

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

// serve begins a page whose buttons note what was asked for.
func serve(t *testing.T, opt Options) (*Server, *[]string) {
	t.Helper()
	var asked []string
	opt.Controls = Controls{
		Stop: func() { asked = append(asked, "stop") }, Evaluate: func() { asked = append(asked, "evaluate") },
		Sample: func(prompt string) bool { asked = append(asked, prompt); return len(asked) < 5 },
	}
	s, err := Listen(opt)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close("finished", "") })
	return s, &asked
}

// request sends a request with headers, "Host" among them, and gives status and text.
func request(t *testing.T, method, address, body string, headers map[string]string) (*http.Response, string) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, address, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	for name, value := range headers {
		r.Header.Set(name, value)
	}
	r.Host = headers["Host"]
	answer, err := http.DefaultTransport.RoundTrip(r)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer, string(text)
}

// TestRefuses sends what other sites, other names and people without the token would.
func TestRefuses(t *testing.T) {
	s, asked := serve(t, Options{})
	at := s.URL()
	u, err := url.Parse(at)
	if err != nil || u.Hostname() != "127.0.0.1" || len(u.Path) != 34 {
		t.Fatalf("%s, %v", at, err)
	}
	asJSON := map[string]string{"Content-Type": "application/json"}
	with := func(headers ...string) map[string]string {
		all := map[string]string{"Content-Type": "application/json"}
		for i := 0; i < len(headers); i += 2 {
			all[headers[i]] = headers[i+1]
		}
		return all
	}
	other := at[:len(at)-2] + "0/"
	if other == at {
		other = at[:len(at)-2] + "1/"
	}
	for _, c := range []struct {
		name, method, address, body string
		headers                     map[string]string
		status                      int
	}{
		{"the page", "GET", at, "", nil, 200},
		{"as localhost", "GET", at, "", with("Host", "localhost:"+u.Port()), 200},
		{"as an IPv6 loopback", "GET", at, "", with("Host", "[::1]:"+u.Port()), 200},
		{"typed", "GET", at, "", with("Sec-Fetch-Site", "none"), 200},
		{"a script", "GET", at + "app.js", "", with("Sec-Fetch-Site", "same-origin"), 200},
		{"a name that points here", "GET", at, "", with("Host", "evil.example:"+u.Port()), 403},
		{"a name like ours", "GET", at, "", with("Host", "localhost.evil.example"), 403},
		{"an address of the network", "GET", at, "", with("Host", "192.168.1.2:"+u.Port()), 403},
		{"a link of another site", "GET", at, "", with("Sec-Fetch-Site", "cross-site"), 403},
		{"another port of this host", "GET", at + "events", "", with("Sec-Fetch-Site", "same-site"), 403},
		{"another origin", "POST", at + "stop", "{}", with("Origin", "http://evil.example"), 403},
		{"another port as origin", "POST", at + "stop", "{}", with("Origin", "http://127.0.0.1:1"), 403},
		{"no origin at all", "POST", at + "stop", "{}", with("Origin", "null"), 403},
		{"a wrong token", "GET", other, "", nil, 404},
		{"no token", "GET", "http://" + u.Host + "/", "", nil, 404},
		{"a part of the token", "GET", at[:len(at)-2] + "/", "", nil, 404},
		{"a form", "POST", at + "stop", "x=1", map[string]string{"Content-Type": "text/plain"}, 415},
		{"no JSON", "POST", at + "stop", "x", asJSON, 400},
		{"too much", "POST", at + "sample", `{"prompt":"` + strings.Repeat("x", mostPrompt) + `"}`, asJSON, 400},
		{"an empty prompt", "POST", at + "sample", `{"prompt":" "}`, asJSON, 400},
		{"another button", "POST", at + "delete", `{}`, asJSON, 404},
		{"another method", "PUT", at + "stop", `{}`, asJSON, 405},
		{"a file beside the page", "GET", at + "../live.go", "", nil, 404},
		{"a file above", "GET", at + "..%2f..%2flive.go", "", nil, 404},
		{"evaluate", "POST", at + "evaluate", `{}`, with("Origin", "http://"+u.Host), 202},
		{"sample", "POST", at + "sample", `{"prompt":"a b"}`, asJSON, 202},
		{"stop", "POST", at + "stop", `{}`, asJSON, 202},
	} {
		if c.headers["Host"] == "" {
			c.headers = map[string]string{"Host": u.Host, "Content-Type": c.headers["Content-Type"],
				"Origin": c.headers["Origin"], "Sec-Fetch-Site": c.headers["Sec-Fetch-Site"]}
		}
		for name, value := range c.headers {
			if value == "" {
				delete(c.headers, name)
			}
		}
		answer, text := request(t, c.method, c.address, c.body, c.headers)
		if answer.StatusCode != c.status {
			t.Errorf("%s: status %d, want %d: %s", c.name, answer.StatusCode, c.status, text)
		}
		if strings.Contains(text, s.token) {
			t.Errorf("%s: the token is in the answer", c.name)
		}
		for name, value := range headers {
			if answer.Header.Get(name) != value {
				t.Errorf("%s: %s is %q", c.name, name, answer.Header.Get(name))
			}
		}
	}
	if !slices.Equal(*asked, []string{"evaluate", "a b", "stop"}) {
		t.Errorf("asked for %q", *asked)
	}
	for range 3 {
		request(t, "POST", at+"sample", `{"prompt":"x"}`, map[string]string{"Host": u.Host, "Content-Type": "application/json"})
	}
	if answer, _ := request(t, "POST", at+"sample", `{"prompt":"x"}`, map[string]string{"Host": u.Host,
		"Content-Type": "application/json"}); answer.StatusCode != 429 {
		t.Errorf("too many prompts: status %d", answer.StatusCode)
	}
}

// TestAddress takes addresses of this machine alone, others only where that is asked for.
func TestAddress(t *testing.T) {
	for _, c := range []struct {
		text   string
		remote bool
		want   string
	}{
		{"", false, "127.0.0.1:0"}, {"8080", false, "127.0.0.1:8080"}, {":8080", false, "127.0.0.1:8080"},
		{"localhost:1", false, "127.0.0.1:1"}, {"[::1]:1", false, "[::1]:1"}, {"127.0.0.2:1", false, "127.0.0.2:1"},
		{"0.0.0.0:1", false, ""}, {"192.168.1.2:1", false, ""}, {"[::]:1", false, ""}, {"example.com:1", false, ""},
		{"example.com:1", true, ""}, {"0.0.0.0:1", true, "0.0.0.0:1"}, {"127.0.0.1", false, ""}, {"127.0.0.1:x", false, ""},
		{"127.0.0.1:70000", false, ""},
	} {
		got, err := addressOf(c.text, c.remote)
		if got != c.want || (err == nil) != (c.want != "") {
			t.Errorf("%q, remote %v: %q, %v, want %q", c.text, c.remote, got, err, c.want)
		}
	}
}

// event is a server-sent event.
type event struct{ id, kind, data string }

// viewer reads events as an EventSource does.
type viewer struct {
	t    *testing.T
	in   *bufio.Scanner
	last string // id
	stop context.CancelFunc
}

// open begins to view, after the event with an id.
func open(t *testing.T, s *Server, last string) *viewer {
	t.Helper()
	ctx, stop := context.WithTimeout(t.Context(), 2*time.Minute)
	r, err := http.NewRequestWithContext(ctx, "GET", s.URL()+"events", nil)
	if err != nil {
		t.Fatal(err)
	}
	if last != "" {
		r.Header.Set("Last-Event-ID", last)
	}
	answer, err := http.DefaultTransport.RoundTrip(r)
	if err != nil || answer.StatusCode != 200 || answer.Header.Get("Content-Type") != "text/event-stream" {
		t.Fatalf("%v, %v", answer, err)
	}
	v := &viewer{t, bufio.NewScanner(answer.Body), last, stop}
	v.in.Buffer(nil, 16<<20)
	t.Cleanup(stop)
	return v
}

// next is the next event.
func (v *viewer) next() (e event) {
	v.t.Helper()
	for v.in.Scan() {
		name, value, _ := strings.Cut(v.in.Text(), ": ")
		switch name {
		case "id":
			e.id = value
		case "event":
			e.kind = value
		case "data":
			e.data = value
		case "":
			if e.kind != "" {
				if e.id != "" {
					v.last = e.id
				}
				return e
			}
		}
	}
	v.t.Fatalf("the stream ends: %v", v.in.Err())
	return e
}

// step is the line of a step.
func step(n int) []byte {
	return fmt.Appendf(nil, `{"kind":"step","step":%d,"epoch":0.5,"loss":%g,"lr":0.001,"grad_norm":1,"tokens":10,`+
		`"tokens_with_loss":8,"seconds":0.5,"memory":1000}`, n, 2+math.Sin(float64(n)))
}

// TestEvents lets several viewers come, leave and return. Each has every line once.
func TestEvents(t *testing.T) {
	s, _ := serve(t, Options{Examples: make([]Example, 3)})
	s.Line([]byte(`{"kind":"start","step":0,"steps":2000}`))
	for n := range 5 {
		s.Line(step(n + 1))
	}
	s.Line([]byte(`{"kind":"eval","step":5,"loss":2}`))
	s.Line([]byte(`{"kind":"sample","step":5,"number":0,"prompt":"a","text":"b\n"}`))
	first := open(t, s, "")
	shot := func(v *viewer) (got snapshot) {
		e := v.next()
		if err := json.Unmarshal([]byte(e.data), &got); err != nil || e.kind != "snapshot" {
			t.Fatalf("%+v, %v", e, err)
		}
		return got
	}
	got := shot(first)
	if len(got.Starts) != 1 || len(got.Steps.Points) != 5 || len(got.Evals) != 1 || len(got.Samples) != 1 ||
		got.Examples != 3 || !got.Can["stop"] || got.Over != nil {
		t.Errorf("%+v", got)
	}
	second := open(t, s, "")
	shot(second)
	lines := func(v *viewer, from, to int) {
		t.Helper()
		for n := from; n <= to; n++ {
			if e := v.next(); e.kind != "line" || e.data != string(step(n)) {
				t.Fatalf("step %d is a %s: %.200s", n, e.kind, e.data)
			}
		}
	}
	for n := range 10 {
		s.Line(step(n + 6))
	}
	lines(first, 6, 10)
	lines(second, 6, 15)
	first.stop() // and comes back
	again := open(t, s, first.last)
	lines(again, 11, 15)
	for n := range 3 * mostRecent {
		s.Line(step(n + 16))
		if n%(mostRecent/2) == mostRecent/2-1 { // the second one keeps up
			lines(second, n+17-mostRecent/2, n+16)
		}
	}
	late := open(t, s, first.last) // has missed too much
	if got := shot(late); len(got.Steps.Points) != 15+3*mostRecent {
		t.Errorf("%d points", len(got.Steps.Points))
	}
	s.Close("stopped", "at step 5")
	for name, v := range map[string]*viewer{"second": second, "late": late} {
		if e := v.next(); e.kind != "over" || e.data != `{"state":"stopped","text":"at step 5"}` {
			t.Errorf("%s: %+v", name, e)
		}
	}
	if second.in.Scan() {
		t.Error("after the end there is more")
	}
}

// TestCurve puts 10,000 steps onto at most 2,000 points, of which none is lost.
func TestCurve(t *testing.T) {
	var c curve
	const n = 10_000
	var loss, high float64
	for i := 1; i <= n; i++ {
		p, ok := pointOf(step(i))
		if !ok {
			t.Fatal(i)
		}
		loss += p[atLoss]
		high = max(high, p[atLoss])
		c.add(p)
	}
	var steps, tokens, mean, top float64
	last := 0.0
	for _, p := range c.Points {
		steps += p[atSteps]
		tokens += p[atTokens]
		mean += p[atSteps] * p[atLoss]
		top = max(top, p[atLossMax])
		if p[atStep] <= last {
			t.Fatalf("step %v after %v", p[atStep], last)
		}
		last = p[atStep]
	}
	if len(c.Points) > mostPoints || len(c.Points) < mostPoints/2 || steps != n || tokens != 10*n || last != n ||
		math.Abs(mean-loss) > 1e-6 || top != high || c.Stride != 8 {
		t.Errorf("%d points of %d steps: %v steps, %v tokens, loss %v of %v, most %v of %v", len(c.Points), c.Stride, steps,
			tokens, mean, loss, top, high)
	}
	text, err := json.Marshal(&c)
	if err != nil || len(text) > 300_000 {
		t.Errorf("a snapshot of %d bytes, %v", len(text), err)
	}
}

// TestNothingElsewhere wants no address in the page but the name of SVG.
func TestNothingElsewhere(t *testing.T) {
	address := regexp.MustCompile(`(https?:)?//[a-z0-9]+\.[a-z.]+[^\s"']*`)
	for name := range files {
		text, err := page.ReadFile("page/" + name)
		if err != nil {
			t.Fatal(err)
		}
		for _, found := range address.FindAllString(string(text), -1) {
			if found != "http://www.w3.org/2000/svg" {
				t.Errorf("%s has %s", name, found)
			}
		}
		if regexp.MustCompile(`innerHTML|outerHTML|insertAdjacent|document\.write|\beval\(|new Function`).Match(text) {
			t.Errorf("%s makes code or elements of texts", name)
		}
		if name == "index.html" && regexp.MustCompile(`(?i)<script>|style=|\son\w+=`).Match(text) {
			t.Errorf("%s has scripts or styles of its own, which the policy refuses", name)
		}
	}
}

// TestExamples pages through the data.
func TestExamples(t *testing.T) {
	all := make([]Example, 30)
	for i := range all {
		all[i] = Example{Number: i + 1, Segments: []Segment{{"<b>", false}, {"x", true}}, Tokens: 2, Learned: 1}
	}
	s, _ := serve(t, Options{Examples: all})
	for query, want := range map[string][2]int{"": {1, 1}, "?from=4&n=3": {5, 3}, "?from=28&n=9": {29, 2},
		"?from=-1&n=100": {1, 20}, "?from=99&n=1": {0, 0}} {
		u, _ := url.Parse(s.URL())
		_, text := request(t, "GET", s.URL()+"examples"+query, "", map[string]string{"Host": u.Host})
		var got []Example
		if err := json.Unmarshal([]byte(text), &got); err != nil || len(got) != want[1] ||
			len(got) > 0 && (got[0].Number != want[0] || got[0].Segments[1] != all[0].Segments[1]) {
			t.Errorf("%q: %d examples, %v, want %v", query, len(got), err, want)
		}
	}
}
