package generate

import "strings"

// stopper passes a text on piece by piece, up to the first text that stops it. It holds back what may be the beginning
// of one.
type stopper struct {
	stops []string
	emit  func(string)
	said  strings.Builder
	held  string
}

// say takes a piece and reports whether a text that stops has come.
func (s *stopper) say(piece string) (stopped bool) {
	s.held += piece
	first := -1
	for _, stop := range s.stops {
		if at := strings.Index(s.held, stop); at >= 0 && (first < 0 || at < first) {
			first = at
		}
	}
	if first >= 0 {
		s.pass(first)
		s.held = ""
		return true
	}
	keep := 0
	for _, stop := range s.stops {
		for n := min(len(stop)-1, len(s.held)); n > keep; n-- {
			if strings.HasSuffix(s.held, stop[:n]) {
				keep = n
			}
		}
	}
	s.pass(len(s.held) - keep)
	return false
}

// pass passes the first n bytes on that are held.
func (s *stopper) pass(n int) {
	if n > 0 {
		s.said.WriteString(s.held[:n])
		s.emit(s.held[:n])
		s.held = s.held[n:]
	}
}

// flush passes on what is held: nothing follows.
func (s *stopper) flush() { s.pass(len(s.held)) }
