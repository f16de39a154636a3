package train

import (
	"context"
	"fmt"
	"time"

	"github.com/peftconv/peftconv/internal/attach"
	"github.com/peftconv/peftconv/internal/batch"
	"github.com/peftconv/peftconv/internal/dist"
	"github.com/peftconv/peftconv/internal/handle"
	"github.com/peftconv/peftconv/internal/mapped"
	"github.com/peftconv/peftconv/peft"
)

// SharedMeasurement is how long steps take that all ranks of a run share, and what a rank does meanwhile: means over
// steps and ranks, in seconds.
type SharedMeasurement struct {
	Ranks   int     `json:"ranks"`
	Parts   int     `json:"parts_of_a_rank"` // batches of a step that a rank computes
	Tokens  int     `json:"tokens_of_a_part"`
	Steps   int     `json:"steps"` // measured
	Values  int     `json:"values"`
	Seconds float64 `json:"seconds"`
	// of these: computing, until this rank's gradients are there, and after all are; waiting for the rank that computes
	// longest; and what of moving gradients is left then
	Computing float64 `json:"computing_seconds"`
	Waiting   float64 `json:"waiting_seconds"`
	Moving    float64 `json:"moving_seconds"`
	Part      float64 `json:"seconds_of_a_part"` // that it is computed in
	// of the network, or what is in its place: seconds for all ranks to meet, and bytes a second that a rank sends while
	// all send; 0 with one rank
	Latency   float64 `json:"latency_seconds"`
	Bandwidth float64 `json:"bandwidth_bytes_per_second"`
}

// MeasureShared is MeasureSteps for a step of several parts, each a sequence of its own, that are shared by all ranks
// of the process's run. Every rank computes as many as parts says, and all call it.
func MeasureShared(ctx context.Context, b *peft.Base, parts int, opt MeasureOptions) (_ *SharedMeasurement, err error) {
	defer mapped.Guard(&err)()
	m, err := measureShared(ctx, handle.Base(b), parts, opt, dist.Now())
	if err != nil {
		return nil, fmt.Errorf("measure: %w", err)
	}
	return m, nil
}

func measureShared(ctx context.Context, b *attach.Base, parts int, opt MeasureOptions,
	w dist.World) (*SharedMeasurement, error) {
	opt.defaults()
	t, group, err := newMeasured(b, &opt)
	if err != nil {
		return nil, err
	}
	t.opt.comm, t.gradients.comm = w, w
	size := w.Size()
	m := &SharedMeasurement{
		Ranks: size, Parts: parts, Tokens: opt.Tokens, Steps: opt.Steps, Values: t.adapter.Parameters(),
	}
	step := stepBatches{batches: make([]*batch.Batch, parts*size), counts: make([]batchCounts, parts*size)}
	for i := range step.batches {
		step.counts[i] = batchCounts{int64(opt.Tokens), int64(group[0].TargetCount()), 1}
		if t.mine(i) {
			step.batches[i] = group[0]
		}
	}
	for i := -1; i < m.Steps || m.Steps == 0; i++ {
		if err := w.Barrier().Wait(ctx); err != nil {
			return nil, err
		}
		start := time.Now()
		if _, _, err := t.step(ctx, step, t.opt.LR); err != nil {
			return nil, err
		}
		took := time.Since(start).Seconds()
		if i < 0 { // the first one takes memory
			if m.Steps, err = stepsIn(ctx, w, &opt, took); err != nil {
				return nil, err
			}
			continue
		}
		if err := m.add(ctx, w, took, t.gradients.computing.Seconds(), t.gradients.adding.Seconds()); err != nil {
			return nil, err
		}
	}
	for _, v := range []*float64{&m.Seconds, &m.Computing, &m.Waiting, &m.Moving, &m.Part} {
		*v /= float64(m.Steps)
	}
	return m, m.network(ctx, w)
}

// stepsIn is how many steps are measured, as rank 0 says.
func stepsIn(ctx context.Context, w dist.World, opt *MeasureOptions, took float64) (int, error) {
	n := []int64{int64(opt.Steps)}
	if opt.Steps == 0 {
		n[0] = int64(min(max(2, opt.Time.Seconds()/took), 1000))
	}
	err := w.Broadcast(dist.AsBytes(n)).Wait(ctx)
	return int(n[0]), err
}

// add adds a step: what it took on this rank, and how long of that this rank computed and added up gradients.
func (m *SharedMeasurement) add(ctx context.Context, w dist.World, took, computing, adding float64) error {
	size := w.Size()
	all := make([]float64, 3*size)
	copy(all[3*w.Rank():], []float64{took, computing, adding})
	if err := dist.GatherEqual(ctx, w, all, 3); err != nil {
		return err
	}
	longest := 0.0
	for r := range size {
		longest = max(longest, all[3*r+1])
	}
	n := float64(size)
	for r := range size {
		took, computing, adding := all[3*r], all[3*r+1], all[3*r+2]
		waiting := min(longest-computing, adding)
		m.Seconds += took / n
		m.Waiting += waiting / n
		m.Moving += (adding - waiting) / n
		m.Computing += (took - adding) / n
		m.Part += computing / n / float64(m.Parts)
	}
	return nil
}

// What is sent to measure a network, in several exchanges at once as in a step, and for how long.
const (
	networkBytes   = 4 << 20
	exchanges      = 8
	networkSeconds = 1
	meetings       = 20
)

// network measures how long ranks take to meet, and how fast they send.
func (m *SharedMeasurement) network(ctx context.Context, w dist.World) error {
	size := w.Size()
	if size == 1 {
		return nil
	}
	start := time.Now()
	for range meetings {
		if err := w.Barrier().Wait(ctx); err != nil {
			return err
		}
	}
	m.Latency = time.Since(start).Seconds() / meetings
	each := networkBytes / exchanges / size
	sizes := make([]int, size)
	for r := range sizes {
		sizes[r] = each
	}
	var out, in [exchanges][]byte
	for i := range exchanges {
		out[i], in[i] = make([]byte, each*size), make([]byte, each*size)
	}
	exchange := func() (float64, error) {
		start := time.Now()
		var all [exchanges]dist.Request
		for i := range all {
			all[i] = w.AllToAll(out[i], sizes, in[i], sizes)
		}
		for _, req := range all {
			if err := req.Wait(ctx); err != nil {
				return 0, err
			}
		}
		return time.Since(start).Seconds(), nil
	}
	took, err := exchange() // the first one opens connections
	if err != nil {
		return err
	}
	n := []int64{int64(min(max(2, networkSeconds/took), 200))}
	if err := w.Broadcast(dist.AsBytes(n)).Wait(ctx); err != nil {
		return err
	}
	took = 0
	for range n[0] {
		one, err := exchange()
		if err != nil {
			return err
		}
		took += one
	}
	m.Bandwidth = float64(exchanges*each*(size-1)) * float64(n[0]) / took
	return nil
}
