package dist

import (
	"context"
	"sync"

	"github.com/peftconv/peftconv/kernels"
)

// Range are the values from From to To-1 of a vector.
type Range struct{ From, To int }

// Sum adds vectors of float32, of which number i is computed by rank i mod Size, in the order of their numbers:
// ((v0 + v1) + v2) + …, rounded after each. So the result does not depend on how many ranks there are.
//
// A vector consists of buckets, which travel as soon as they are final. Each rank adds up a part of each bucket (an
// all-to-all exchange for each vector of a rank), and all get the sums at the end. That takes the memory of three
// vectors on each rank, whatever the number of vectors is; of one where there is one rank.
type Sum struct {
	comm    Comm
	gather  Comm
	buckets []*bucket
	sent    []float32 // of all buckets, what is sent; at the end the sums
	got     []float32 // of all buckets, this rank's part of each rank's vector
	own     []float32 // of all buckets, this rank's part of the sum
	ctx     context.Context
	count   int
	round   int // of the vector that is computed
	next    int // bucket of it
	queue   chan exchange
	added   sync.WaitGroup
	failed  error // of the goroutine that adds
}

// bucket is a part of the vectors.
type bucket struct {
	ranges []Range
	n, at  int           // its length, and where it begins in Sum.sent
	parts  []int         // of each rank; and n: where they begin
	got    int           // where it begins in Sum.got
	own    int           // and in Sum.own
	free   chan struct{} // holds an element while no exchange is under way
	all    Request       // of the sums
}

// exchange is the exchange of a bucket in a round.
type exchange struct {
	bucket *bucket
	round  int
	req    Request
}

// NewSum makes sums of vectors, which consist of the buckets: each a list of ranges. All ranks call it.
func NewSum(c Comm, buckets [][]Range) (*Sum, error) {
	s := &Sum{comm: c}
	size := c.Size()
	at, got, own := 0, 0, 0
	for _, ranges := range buckets {
		b := &bucket{ranges: ranges, at: at, got: got, own: own, free: make(chan struct{}, 1)}
		b.free <- struct{}{}
		for _, r := range ranges {
			b.n += r.To - r.From
		}
		for r := range size + 1 {
			b.parts = append(b.parts, b.n*r/size)
		}
		mine := b.parts[c.Rank()+1] - b.parts[c.Rank()]
		at, got, own = at+b.n, got+mine*size, own+mine
		s.buckets = append(s.buckets, b)
	}
	s.own = make([]float32, own)
	if size == 1 {
		return s, nil
	}
	s.sent, s.got = make([]float32, at), make([]float32, got)
	var err error
	s.gather, err = c.Dup()
	return s, err
}

// Begin begins the sum of count vectors.
func (s *Sum) Begin(ctx context.Context, count int) {
	s.ctx, s.count, s.round, s.next, s.failed = ctx, count, 0, 0, nil
	if s.comm.Size() == 1 {
		return
	}
	queue := make(chan exchange, len(s.buckets))
	s.queue = queue
	s.added.Add(1)
	go s.add(queue)
}

// has says whether a rank has a vector in a round.
func (s *Sum) has(rank, round int) bool { return round*s.comm.Size()+rank < s.count }

// Ready says that the first n buckets of this rank's vector are final: they may travel. An error is the context's.
func (s *Sum) Ready(n int, vector []float32) error {
	for ; s.next < n; s.next++ {
		b := s.buckets[s.next]
		if s.comm.Size() == 1 {
			b.keep(s.own, vector, s.round == 0)
			continue
		}
		if err := s.send(b, vector); err != nil {
			return err
		}
	}
	return nil
}

// keep puts a bucket of a vector into the sum.
func (b *bucket) keep(sum, vector []float32, first bool) {
	at := b.own
	for _, r := range b.ranges {
		to := sum[at : at+r.To-r.From]
		if first {
			copy(to, vector[r.From:r.To])
		} else {
			kernels.Add(to, vector[r.From:r.To])
		}
		at += len(to)
	}
}

// send begins the exchange of a bucket; vector is nil where this rank has none.
func (s *Sum) send(b *bucket, vector []float32) error {
	select {
	case <-b.free:
	case <-s.ctx.Done():
		return s.ctx.Err()
	}
	size, rank := s.comm.Size(), s.comm.Rank()
	out, in := make([]int, size), make([]int, size)
	mine := b.parts[rank+1] - b.parts[rank]
	for r := range size {
		if vector != nil {
			out[r] = 4 * (b.parts[r+1] - b.parts[r])
		}
		if s.has(r, s.round) {
			in[r] = 4 * mine
		}
	}
	sent := s.sent[b.at : b.at+b.n]
	if vector != nil {
		at := 0
		for _, r := range b.ranges {
			at += copy(sent[at:], vector[r.From:r.To])
		}
	} else {
		sent = nil
	}
	req := s.comm.AllToAll(AsBytes(sent), out, AsBytes(s.got[b.got:b.got+mine*size]), in)
	select {
	case s.queue <- exchange{b, s.round, req}:
	case <-s.ctx.Done(): // or the exchange before failed, and nobody adds any more
		return s.ctx.Err()
	}
	return nil
}

// add adds what arrives, and has the sums of the last round sent to all ranks.
func (s *Sum) add(queue <-chan exchange) {
	defer s.added.Done()
	size, rank := s.comm.Size(), s.comm.Rank()
	last := (s.count - 1) / size
	for {
		var x exchange
		var more bool
		select {
		case x, more = <-queue:
		case <-s.ctx.Done():
			s.failed = s.ctx.Err()
		}
		if more && s.failed == nil {
			s.failed = x.req.Wait(s.ctx)
		}
		if !more || s.failed != nil {
			return
		}
		b := x.bucket
		mine := b.parts[rank+1] - b.parts[rank]
		own := s.own[b.own : b.own+mine]
		for r := range size {
			if !s.has(r, x.round) {
				break
			}
			part := s.got[b.got+r*mine : b.got+(r+1)*mine]
			if x.round == 0 && r == 0 {
				copy(own, part)
			} else {
				kernels.Add(own, part)
			}
		}
		if x.round == last {
			sizes := make([]int, size)
			for r := range sizes {
				sizes[r] = 4 * (b.parts[r+1] - b.parts[r])
			}
			b.all = s.gather.AllGather(AsBytes(own), AsBytes(s.sent[b.at:b.at+b.n]), sizes)
		}
		b.free <- struct{}{}
	}
}

// End says that this rank's vector is final, and that its next one, if there is another, is computed from now on.
func (s *Sum) End(vector []float32) error {
	if err := s.Ready(len(s.buckets), vector); err != nil {
		return err
	}
	s.round, s.next = s.round+1, 0
	return nil
}

// Finish waits for the sum and puts it into a vector.
func (s *Sum) Finish(into []float32) error {
	size := s.comm.Size()
	for ; s.round*size < s.count; s.round++ { // no vector of this rank's is left
		s.next = 0
		if err := s.Ready(len(s.buckets), nil); err != nil {
			return err
		}
	}
	if size == 1 {
		for _, b := range s.buckets {
			at := b.own
			for _, r := range b.ranges {
				at += copy(into[r.From:r.To], s.own[at:])
			}
		}
		return nil
	}
	close(s.queue)
	s.added.Wait()
	if s.failed != nil {
		return s.failed
	}
	for _, b := range s.buckets {
		if err := b.all.Wait(s.ctx); err != nil {
			return err
		}
		at := b.at
		for _, r := range b.ranges {
			at += copy(into[r.From:r.To], s.sent[at:])
		}
	}
	return nil
}
