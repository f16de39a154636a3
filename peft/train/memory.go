package train

import (
	"fmt"

	"github.com/peftconv/peftconv/internal/arch"
	"github.com/peftconv/peftconv/internal/attach"
	"github.com/peftconv/peftconv/internal/autograd"
	"github.com/peftconv/peftconv/internal/handle"
	"github.com/peftconv/peftconv/internal/mapped"
	"github.com/peftconv/peftconv/internal/memory"
	"github.com/peftconv/peftconv/kernels"
	"github.com/peftconv/peftconv/peft"
)

// Values of Options.Recompute.
const (
	RecomputeAuto   = "auto"   // keep activations where they fit easily
	RecomputeAlways = "always" // compute each layer again in the backward pass: the least memory
	RecomputeNever  = "never"  // keep the activations of all layers: a third less to compute
)

// Memory is what a training run will need, in bytes, as far as it is known before the start.
type Memory struct {
	// pages of the model's file, and of what it was quantized from where that is used: all of them are read in each step
	Weights     int64
	Activations int64 // of one batch, and gradients of them
	Logits      int64 // of some tokens at a time
	Adapter     int64 // values, gradients, the moments of AdamW; blocks that a quantization-aware adapter requantizes
	Layers      int64 // outputs of the layers below the lowest adapted one, where they are kept in memory
	Teacher     int64 // of a teacher: pages of its file, and a pass; of what is retained: a pass
	TeacherTop  int64 // what is kept of a teacher's likeliest tokens: a part of Teacher, or else of a file
	Program     int64 // the rest: data, vocabulary, packed operands
	Available   int64 // what the process can take
	Known       bool  // the system tells what is available; otherwise that is a guess
	Recompute   bool  // activations are computed again in the backward pass
	MicroBatch  int   // Options.MicroBatch, as it was chosen where it was not given, and
	BatchTokens int   // Options.BatchTokens
}

// Total is all that is needed.
func (m *Memory) Total() int64 {
	return m.Weights + m.Activations + m.Logits + m.Adapter + m.Layers + m.Teacher + m.Program
}

// Short says whether more is needed than there is.
func (m *Memory) Short() bool { return m.Known && m.Total() > m.Available }

// ShortOfMemory is the error of a run that was not started because it needs more memory than there is.
type ShortOfMemory struct{ Memory }

// Error says how much memory is missing.
func (e *ShortOfMemory) Error() string {
	const mb = 1e6
	return fmt.Sprintf("training needs about %.0f MB of memory, and %.0f MB are available",
		float64(e.Total())/mb, float64(e.Available)/mb)
}

// PlanMemory says what memory Run will need with these arguments.
func PlanMemory(b *peft.Base, a *peft.Adapter, train *peft.Data, opt Options) (_ *Memory, err error) {
	defer mapped.Guard(&err)()
	return planMemory(handle.Base(b), handle.Adapter(a), handle.Data(train), opt)
}

// planMemory is PlanMemory on what the arguments hold.
func planMemory(b *attach.Base, a *attach.Adapter, train *attach.Data, opt Options) (*Memory, error) {
	opt.defaults(b, a)
	tokens, targets := largestBatch(train, opt.packedTokens())
	keep, err := keepsActivations(b, opt.Recompute, tokens)
	if err != nil {
		return nil, err
	}
	m := modelMemory(b, a, tokens, targets, keep)
	m.Adapter += opt.rankBytes(a)
	if opt.KeepBest {
		m.Adapter += 4 * int64(a.Parameters())
	}
	m.MicroBatch, m.BatchTokens = opt.MicroBatch, opt.BatchTokens
	m.Available, m.Known = memory.Available(m.Weights)
	spec := &b.Model.Spec
	if bytes := layerCacheBytes(b, a, train, &opt); inMemory(bytes) {
		m.Layers = bytes
	}
	if opt.Teacher != nil || opt.Retain != nil {
		m.Teacher, m.Logits = opt.guideBytes(b, tokens), 2*m.Logits
		if m.TeacherTop = topBytes(train, &opt); inMemory(m.TeacherTop) {
			m.Teacher += m.TeacherTop
		}
	}
	m.Program = programBytes + int64(spec.Vocab)*vocabularyBytes + train.Memory() + packedBytes(spec, tokens)
	return m, nil
}

// modelMemory is what depends on the model, the adapter and the tokens that go through it at once alone.
func modelMemory(b *attach.Base, a *attach.Adapter, tokens, targets int, keep bool) *Memory {
	m := &Memory{Recompute: !keep, Adapter: 5 * 4 * int64(a.Parameters())} // five: one set of values is the adapter's own
	for _, l := range b.Model.Matrices() {
		m.Weights += int64(len(l.W.Data))
	}
	m.Adapter += attach.RequantizedBytes(b, a, tokens)
	m.Weights += attach.MasterBytes(b, a)
	spec := &b.Model.Spec
	stream := int64(tokens) * int64(spec.Width) * 4
	// the input of each layer; the inside of one, its gradients, gaps
	m.Activations = int64(spec.Layers+3)*stream + b.Model.LayerBytes(tokens)*5/2
	if keep {
		m.Activations += b.Model.ActivationBytes(tokens) * int64(spec.Layers-lowestLayer(a.Tensors)) / int64(spec.Layers)
	}
	m.Logits = min(int64(targets)*int64(spec.Vocab), autograd.LogitFloats)*4 + 2*int64(targets)*int64(spec.Width)*4
	return m
}

const (
	leastMicroBatch = 512
	// microBatchBytes is the memory that a default run of a model of 1.1 billion weights should fit into, 4 GB, less the
	// program's.
	microBatchBytes = 37e8
)

// microBatch is Options.MicroBatch where it is not given. It must not depend on the machine: the order of sums does on
// it.
func microBatch(b *attach.Base, a *attach.Adapter, opt *Options) int {
	tokens := opt.BatchTokens
	if opt.RouterAuxLoss > 0 || opt.NoPacking {
		return tokens
	}
	for tokens/2 >= leastMicroBatch && modelMemory(b, a, tokens, tokens, true).Total() > microBatchBytes {
		tokens = (tokens + 1) / 2
	}
	return tokens
}

const (
	programBytes    = 40 << 20 // of the program itself, with the garbage that is not yet collected
	vocabularyBytes = 400      // of each token
)

// packedBytes is what a product keeps of its operands, packed.
func packedBytes(s *arch.Spec, tokens int) int64 {
	return min(int64(tokens)*int64(s.Widest())*4, 32<<20) + int64(kernels.Threads())*(2<<20)
}

// largestBatch is about the most tokens that go through the model at once, and how many of them carry loss.
func largestBatch(train *attach.Data, batchTokens int) (tokens, targets int) {
	all := train.Tokens()
	tokens = min(max(batchTokens, train.Longest()), all)
	return tokens, int(int64(train.Targets()) * int64(tokens) / int64(max(all, 1)))
}

// epochs is how often about each example is seen; a part of an epoch counts as one.
func (opt *Options) epochs(train *attach.Data) int {
	perEpoch := max(1, train.Tokens()/max(1, opt.BatchTokens*opt.Accumulate))
	if opt.NoPacking {
		perEpoch = ceilDiv(train.Len(), max(1, opt.Accumulate))
	}
	bySteps := ceilDiv(opt.Steps, perEpoch)
	switch {
	case opt.Steps == 0:
		return opt.Epochs
	case opt.Epochs == 0:
		return bySteps
	}
	return min(opt.Epochs, bySteps)
}

// keepsActivations says whether a run keeps the activations of a batch of some tokens: in auto mode when they take
// no more than half of the memory that is available.
func keepsActivations(b *attach.Base, mode string, tokens int) (bool, error) {
	switch mode {
	case RecomputeAlways:
		return false, nil
	case RecomputeNever:
		return true, nil
	case RecomputeAuto, "":
		available, _ := memory.Available(0)
		return b.Model.ActivationBytes(tokens) <= available/2, nil
	}
	return false, fmt.Errorf("recompute %q is not known, expected %s, %s or %s", mode, RecomputeAuto, RecomputeAlways,
		RecomputeNever)
}
