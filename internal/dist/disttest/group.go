// Package disttest joins goroutines of one process as ranks, for tests.
package disttest

import (
	"context"
	"fmt"
	"sync"

	"github.com/peftconv/peftconv/internal/dist"
)

// group is what the ranks share.
type group struct {
	mu      sync.Mutex
	size    int
	pending map[string]*meeting
}

// meeting is an operation that not all ranks have begun.
type meeting struct {
	calls []*call
	n     int
}

// call is a rank's part in an operation.
type call struct {
	kind       string
	send, recv []byte
	out, in    []int
	done       chan struct{}
	err        error
}

// rank is a World.
type rank struct {
	*group
	n     int
	name  string // of the communicator
	begun int
	dups  int
}

// New makes n ranks.
func New(n int) []dist.World {
	g := &group{size: n, pending: map[string]*meeting{}}
	var all []dist.World
	for i := range n {
		all = append(all, &rank{group: g, n: i, name: "world"})
	}
	return all
}

func (r *rank) Rank() int { return r.n }
func (r *rank) Size() int { return r.size }

func (r *rank) Dup() (dist.Comm, error) {
	r.dups++
	return &rank{group: r.group, n: r.n, name: fmt.Sprintf("%s.%d", r.name, r.dups)}, nil
}

func (r *rank) Names() []string {
	var names []string
	for i := range r.size {
		names = append(names, fmt.Sprintf("host%d", i))
	}
	return names
}

func (r *rank) Threads() int                 { return 0 }
func (r *rank) Interrupt()                   {}
func (r *rank) Interrupted() <-chan struct{} { return nil }
func (r *rank) Leave(int)                    {}
func (c *call) Wait(ctx context.Context) error {
	select {
	case <-c.done:
		return c.err
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (r *rank) AllToAll(send []byte, out []int, recv []byte, in []int) dist.Request {
	return r.begin(&call{kind: "all to all", send: send, recv: recv, out: out, in: in})
}

func (r *rank) AllGather(send []byte, recv []byte, in []int) dist.Request {
	return r.begin(&call{kind: "all gather", send: send, recv: recv, in: in})
}

func (r *rank) Broadcast(data []byte) dist.Request {
	return r.begin(&call{kind: "broadcast", send: data})
}

func (r *rank) Barrier() dist.Request { return r.begin(&call{kind: "barrier"}) }

// begin does an operation when the last rank begins it.
func (r *rank) begin(c *call) dist.Request {
	c.done = make(chan struct{})
	r.mu.Lock()
	defer r.mu.Unlock()
	r.begun++
	key := fmt.Sprint(r.name, " ", r.begun)
	m := r.pending[key]
	if m == nil {
		m = &meeting{calls: make([]*call, r.size)}
		r.pending[key] = m
	}
	m.calls[r.n] = c
	if m.n++; m.n == r.size {
		delete(r.pending, key)
		m.run()
	}
	return c
}

// run does an operation that all ranks have begun.
func (m *meeting) run() {
	var err error
	for _, c := range m.calls {
		if c.kind != m.calls[0].kind {
			err = fmt.Errorf("one rank begins %q, another %q", m.calls[0].kind, c.kind)
		}
	}
	for to, c := range m.calls {
		at := 0
		for from, other := range m.calls {
			if err != nil {
				break
			}
			switch c.kind {
			case "all to all":
				start := 0
				for _, n := range other.out[:to] {
					start += n
				}
				if other.out[to] != c.in[from] {
					err = fmt.Errorf("rank %d sends %d bytes, rank %d expects %d", from, other.out[to], to, c.in[from])
					break
				}
				at += copy(c.recv[at:at+c.in[from]], other.send[start:start+other.out[to]])
			case "all gather":
				if len(other.send) != c.in[from] {
					err = fmt.Errorf("rank %d sends %d bytes, rank %d expects %d", from, len(other.send), to, c.in[from])
					break
				}
				at += copy(c.recv[at:], other.send)
			case "broadcast":
				copy(c.send, m.calls[0].send)
			}
		}
	}
	for _, c := range m.calls {
		c.err = err
		close(c.done)
	}
}
