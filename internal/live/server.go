package live

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"embed"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net"
	"net/http"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"github.com/peftconv/peftconv/internal/look"
)

//go:embed page
var page embed.FS

// Server serves the page of a run.
type Server struct {
	feed     feed
	controls Controls
	examples []Example
	token    string
	remote   bool // other machines may connect
	listener net.Listener
	http     *http.Server
}

// Options says how Listen listens.
type Options struct {
	Address  string // host:port, :port or port; "" is a free port of 127.0.0.1
	Remote   bool   // Address may be of a network, from which other machines can connect
	Controls Controls
	Examples []Example // of the data
}

// Listen begins to serve. Errors: an address that is not of this machine alone without Options.Remote, or is taken.
func Listen(opt Options) (*Server, error) {
	address, err := addressOf(opt.Address, opt.Remote)
	if err != nil {
		return nil, err
	}
	token := make([]byte, 16)
	if _, err := rand.Read(token); err != nil {
		return nil, err
	}
	s := &Server{controls: opt.Controls, examples: opt.Examples, token: hex.EncodeToString(token), remote: opt.Remote}
	if s.listener, err = net.Listen("tcp", address); err != nil {
		return nil, err
	}
	s.http = &http.Server{
		Handler: s, ReadHeaderTimeout: 10 * time.Second, IdleTimeout: 2 * time.Minute, MaxHeaderBytes: 16 << 10,
		ReadTimeout: time.Minute, ErrorLog: nil,
	}
	go s.http.Serve(s.listener)
	return s, nil
}

// addressOf is the address to listen at: an IP address and a port.
func addressOf(text string, remote bool) (string, error) {
	if _, err := strconv.ParseUint(text, 10, 16); err == nil {
		text = ":" + text
	}
	if text == "" {
		text = ":0"
	}
	host, port, err := net.SplitHostPort(text)
	if err != nil {
		return "", fmt.Errorf("%q: expected an address such as 127.0.0.1:8080, or a port", text)
	}
	if _, err := strconv.ParseUint(port, 10, 16); err != nil {
		return "", fmt.Errorf("%q: port %q, expected a number from 0 to 65535", text, port)
	}
	if host == "" || host == "localhost" {
		host = "127.0.0.1"
	}
	ip, err := netip.ParseAddr(host)
	switch {
	case err != nil:
		return "", fmt.Errorf("%q: host %q, expected an IP address of this machine", text, host)
	case !ip.IsLoopback() && !remote:
		return "", fmt.Errorf("%q: other machines could connect to %s: expected 127.0.0.1 or ::1", text, host)
	}
	return net.JoinHostPort(host, port), nil
}

// URL is the address of the page.
func (s *Server) URL() string {
	host, port, _ := net.SplitHostPort(s.listener.Addr().String())
	if ip, err := netip.ParseAddr(host); err == nil && ip.IsUnspecified() {
		host = "127.0.0.1"
	}
	return "http://" + net.JoinHostPort(host, port) + "/" + s.token + "/"
}

// Line tells the page a line of the run's log, which must not change any more.
func (s *Server) Line(line []byte) { s.feed.publish(line) }

// Close tells open pages how the run ended and ends the server. state is "finished", "stopped" or "failed".
func (s *Server) Close(state, text string) {
	s.feed.end(over{state, text})
	ctx, cancel := context.WithTimeout(context.Background(), 500*time.Millisecond)
	defer cancel()
	if s.http.Shutdown(ctx) != nil { // a page that does not read
		s.http.Close()
	}
}

// headers are those of every answer.
var headers = map[string]string{
	"Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; " +
		"img-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
	"X-Content-Type-Options":       "nosniff",
	"X-Frame-Options":              "DENY",
	"Referrer-Policy":              "no-referrer", // the address has the token
	"Cross-Origin-Opener-Policy":   "same-origin",
	"Cross-Origin-Resource-Policy": "same-origin",
	"Cache-Control":                "no-store",
}

// ServeHTTP implements http.Handler.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	for name, value := range headers {
		w.Header().Set(name, value)
	}
	if err := s.refuses(r); err != nil {
		http.Error(w, err.Error(), http.StatusForbidden)
		return
	}
	token, rest, ok := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/")
	if !ok || subtle.ConstantTimeCompare([]byte(token), []byte(s.token)) != 1 {
		http.NotFound(w, r)
		return
	}
	switch {
	case r.Method == http.MethodGet && rest == "events":
		s.events(w, r)
	case r.Method == http.MethodGet && rest == "examples":
		s.serveExamples(w, r)
	case r.Method == http.MethodGet || r.Method == http.MethodHead:
		serveFile(w, rest)
	case r.Method == http.MethodPost:
		s.control(w, r, rest)
	default:
		http.Error(w, "expected GET or POST", http.StatusMethodNotAllowed)
	}
}

// refuses says why a request is not of somebody who opened the page on purpose; nil where it is.
func (s *Server) refuses(r *http.Request) error {
	host := r.Host
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	ip, err := netip.ParseAddr(strings.Trim(host, "[]"))
	switch {
	case host == "localhost":
	case err != nil: // a name that somebody made point here
		return errors.New("this host is not served: open the address that the program printed")
	case !s.remote && !ip.IsLoopback():
		return errors.New("this host is not served: open the address that the program printed")
	}
	if site := r.Header.Get("Sec-Fetch-Site"); site != "" && site != "same-origin" && site != "none" {
		return errors.New("requests of other sites are refused")
	}
	if origin := r.Header.Get("Origin"); origin != "" && origin != "http://"+r.Host {
		return errors.New("requests of other sites are refused")
	}
	if from, err := netip.ParseAddrPort(r.RemoteAddr); !s.remote && (err != nil || !from.Addr().Unmap().IsLoopback()) {
		return errors.New("requests of other machines are refused")
	}
	return nil
}

// files are those of the page, with their types.
var files = map[string]string{
	"index.html": "text/html; charset=utf-8", "app.js": "text/javascript; charset=utf-8",
	"style.css": "text/css; charset=utf-8", "icon.svg": "image/svg+xml",
}

// serveFile serves a file of the page.
func serveFile(w http.ResponseWriter, name string) {
	if name == "" {
		name = "index.html"
	}
	kind, ok := files[name]
	if !ok {
		http.Error(w, "not found", http.StatusNotFound)
		return
	}
	data, err := page.ReadFile("page/" + name)
	if err != nil {
		http.Error(w, "not found", http.StatusNotFound)
		return
	}
	w.Header().Set("Content-Type", kind)
	if name == "style.css" {
		io.WriteString(w, look.CSS)
	}
	w.Write(data)
}

// events sends a snapshot, or the lines that a viewer has missed, and then each line when it is written.
func (s *Server) events(w http.ResponseWriter, r *http.Request) {
	if err := s.feed.enter(); err != nil {
		http.Error(w, err.Error(), http.StatusServiceUnavailable)
		return
	}
	defer s.feed.leave()
	from := -1
	if n, err := strconv.Atoi(r.Header.Get("Last-Event-ID")); err == nil {
		from = n
	}
	w.Header().Set("Content-Type", "text/event-stream")
	out := http.NewResponseController(w)
	fmt.Fprint(w, "retry: 1000\n\n")
	for {
		lines, shot, next, over, changed := s.feed.since(from)
		// A viewer that does not read gets no more, and costs nothing.
		if out.SetWriteDeadline(time.Now().Add(30*time.Second)) != nil || s.send(w, lines, shot, next, over) != nil {
			return
		}
		if out.Flush() != nil || over != nil {
			return
		}
		from = next
		select {
		case <-changed:
		case <-r.Context().Done():
			return
		case <-time.After(15 * time.Second):
			if _, err := io.WriteString(w, ": alive\n\n"); err != nil {
				return
			}
		}
	}
}

// send writes events. Their ids are the number of the line that comes next.
func (s *Server) send(w io.Writer, lines [][]byte, shot *snapshot, next int, over *over) error {
	if shot != nil {
		shot.Can = map[string]bool{
			"stop": s.controls.Stop != nil, "evaluate": s.controls.Evaluate != nil, "sample": s.controls.Sample != nil,
		}
		shot.Examples = len(s.examples)
		text, err := json.Marshal(shot)
		if err != nil {
			return err
		}
		if _, err := fmt.Fprintf(w, "id: %d\nevent: snapshot\ndata: %s\n\n", next, text); err != nil {
			return err
		}
	}
	for i, line := range lines {
		if _, err := fmt.Fprintf(w, "id: %d\nevent: line\ndata: %s\n\n", next-len(lines)+i+1, line); err != nil {
			return err
		}
	}
	if over == nil {
		return nil
	}
	text, err := json.Marshal(over)
	if err == nil {
		_, err = fmt.Fprintf(w, "event: over\ndata: %s\n\n", text)
	}
	return err
}

// serveExamples serves some examples of the data: ?from=PLACE&n=COUNT.
func (s *Server) serveExamples(w http.ResponseWriter, r *http.Request) {
	from, _ := strconv.Atoi(r.FormValue("from"))
	n, _ := strconv.Atoi(r.FormValue("n"))
	from = min(max(from, 0), len(s.examples))
	n = min(max(n, 1), 20, len(s.examples)-from)
	w.Header().Set("Content-Type", "application/json")
	json.NewEncoder(w).Encode(s.examples[from : from+n])
}

// mostPrompt is the most bytes of a prompt that is asked for.
const mostPrompt = 64 << 10

// control does what a button asks for.
func (s *Server) control(w http.ResponseWriter, r *http.Request, what string) {
	if kind, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type")); kind != "application/json" {
		http.Error(w, "expected JSON", http.StatusUnsupportedMediaType) // which forms of other sites cannot send
		return
	}
	var asked struct {
		Prompt string `json:"prompt"`
	}
	if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, mostPrompt)).Decode(&asked); err != nil {
		http.Error(w, "expected an object of JSON of at most 64 KiB", http.StatusBadRequest)
		return
	}
	c := &s.controls
	switch {
	case what == "stop" && c.Stop != nil:
		c.Stop()
	case what == "evaluate" && c.Evaluate != nil:
		c.Evaluate()
	case what == "sample" && c.Sample != nil && strings.TrimSpace(asked.Prompt) == "":
		http.Error(w, "the prompt is empty", http.StatusBadRequest)
		return
	case what == "sample" && c.Sample != nil:
		if !c.Sample(asked.Prompt) {
			http.Error(w, "too many prompts wait for an answer", http.StatusTooManyRequests)
			return
		}
	default:
		http.Error(w, "not found", http.StatusNotFound)
		return
	}
	w.WriteHeader(http.StatusAccepted)
}
