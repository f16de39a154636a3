package train

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/peftconv/peftconv/internal/atomicfile"
	"github.com/peftconv/peftconv/internal/attach"
	"github.com/peftconv/peftconv/internal/dist"
	"github.com/peftconv/peftconv/internal/mapped"
	"github.com/peftconv/peftconv/kernels"
	"github.com/peftconv/peftconv/safetensors"
)

// checkpoint is the metadata of a checkpoint. The options are those on which the course of a run depends.
type checkpoint struct {
	State       trainState `json:"state"`
	Seed        uint64     `json:"seed"`
	BatchTokens int        `json:"batch_tokens"`
	MicroBatch  int        `json:"micro_batch_tokens,omitempty"` // 0: of versions that had no parts of batches
	Accumulate  int        `json:"accumulate"`
	LR          float64    `json:"learning_rate"`
	LRRatio     float64    `json:"learning_rate_ratio,omitempty"`
	RouterLoss  float64    `json:"router_aux_loss,omitempty"`
	Schedule    string     `json:"schedule"`
	Warmup      int        `json:"warmup"`
	WeightDecay float64    `json:"weight_decay"`
	Clip        float64    `json:"clip"`
	Betas       [2]float64 `json:"betas"`
	Eps         float64    `json:"eps"`
	Precision   string     `json:"precision"`
	Data        string     `json:"data_sha256"`
	Packing     string     `json:"packing,omitempty"` // "": of versions that had no other than examples in turn
	Base        string     `json:"base_sha256"`
	Objective   string     `json:"objective,omitempty"` // "": cross entropy alone
	// where evaluations decide something
	EarlyStop int  `json:"early_stop,omitempty"`
	KeepBest  bool `json:"keep_best,omitempty"`
	EvalEvery int  `json:"eval_every,omitempty"`
}

// CheckpointPath is where a run that writes its adapter to out keeps its checkpoint: x.checkpoint.safetensors beside
// x.safetensors.
func CheckpointPath(out string) string {
	return strings.TrimSuffix(out, filepath.Ext(out)) + ".checkpoint.safetensors"
}

// StepCheckpointPath is where a run that keeps its checkpoints (Options.Keep) writes that of a step:
// x.checkpoint-000120.safetensors beside x.safetensors.
func StepCheckpointPath(out string, step int) string {
	return fmt.Sprintf("%s.checkpoint-%06d.safetensors", strings.TrimSuffix(out, filepath.Ext(out)), step)
}

// StepCheckpoints are the steps of the checkpoints with names of their own that are there, the first first.
func StepCheckpoints(out string) ([]int, error) {
	entries, err := os.ReadDir(filepath.Dir(out))
	if err != nil {
		return nil, err
	}
	var steps []int
	for _, e := range entries {
		name, _ := strings.CutSuffix(e.Name(), ".safetensors")
		_, number, _ := strings.Cut(name, ".checkpoint-")
		step, err := strconv.Atoi(number)
		if err == nil && e.Name() == filepath.Base(StepCheckpointPath(out, step)) {
			steps = append(steps, step)
		}
	}
	slices.Sort(steps)
	return steps, nil
}

// prune removes checkpoints with names of their own but for the last that are to be kept; those of a run before this
// one too, unless this one continues it.
func (t *trainer) prune() error {
	steps, err := StepCheckpoints(t.opt.Out)
	if err != nil {
		return err
	}
	at := len(steps)
	for i, step := range steps {
		if step > t.state.Step {
			at = min(at, i)
		}
	}
	old := steps[:max(0, at-t.opt.Keep)]
	if t.opt.Resume == "" {
		old = slices.Concat(old, steps[at:])
	}
	for _, step := range old {
		if err := os.Remove(StepCheckpointPath(t.opt.Out, step)); err != nil {
			return err
		}
	}
	return nil
}

// checkpoint describes the present state of the run.
func (t *trainer) checkpoint() (checkpoint, error) {
	sum, err := t.base.SHA256()
	if err != nil {
		return checkpoint{}, err
	}
	data, err := t.dataHash()
	if err != nil {
		return checkpoint{}, err
	}
	objective, err := t.objective()
	o := &t.opt
	c := checkpoint{
		State: t.state, Seed: o.Seed, BatchTokens: o.BatchTokens, MicroBatch: o.MicroBatch,
		Accumulate: o.Accumulate,
		LR:         o.LR, LRRatio: o.LRRatio, RouterLoss: o.RouterAuxLoss, Schedule: o.Schedule, Warmup: t.schedule.warmup,
		WeightDecay: o.decay(), Clip: o.clip(), Betas: [2]float64{o.Beta1, o.Beta2},
		Eps:       o.Eps,
		Precision: t.gradients.precision.String(), Data: data, Base: sum,
		Packing: o.packing(), Objective: objective,
	}
	if o.EarlyStop > 0 || o.KeepBest {
		c.EarlyStop, c.KeepBest, c.EvalEvery = o.EarlyStop, o.KeepBest, o.EvalEvery
	}
	return c, err
}

// save writes a checkpoint to a file. t.mu is held.
func (t *trainer) save(path string) (err error) {
	defer mapped.Guard(&err)() // it may run on a goroutine of its own
	c, err := t.checkpoint()
	if err != nil {
		return err
	}
	defer kernels.Rest()() // what is in work is given up, or waits for mu
	state, err := json.Marshal(c)
	if err != nil {
		return err
	}
	t.bound.Store()
	meta, err := t.adapter.Metadata()
	if err != nil {
		return err
	}
	meta[attach.MetaCheckpoint] = string(state)
	all := attach.Items(t.adapter.Tensors, "")
	all = append(all, attach.Items(t.inHFOrder(t.m), attach.FirstMoment)...)
	all = append(all, attach.Items(t.inHFOrder(t.v), attach.SecondMoment)...)
	all = append(all, attach.Items(t.methodState(), attach.MethodState)...)
	if t.best != nil {
		all = append(all, attach.Items(t.inHFOrder(t.best.values), attach.BestValues)...)
		all = append(all, attach.Items(t.bestState(), attach.BestState)...)
	}
	all = append(all, t.adapter.BlockItems()...)
	err = atomicfile.Write(path, func(w io.Writer) error { return safetensors.Write(w, meta, all) })
	if err == nil {
		t.opt.Observer.Checkpoint(path, t.state.Step)
	}
	return err
}

// methodState is what the method stores beside its tensors.
func (t *trainer) methodState() []attach.Param {
	if state := t.bound.Effect.State; state != nil {
		return state()
	}
	return nil
}

// inHFOrder is a copy of values laid out like Bound.Values, with rows in the order of the Hugging Face checkpoint.
func (t *trainer) inHFOrder(x []float32) []attach.Param {
	out := attach.Views(t.adapter.Tensors, make([]float32, len(x)))
	attach.ToHF(out, attach.Views(t.adapter.Tensors, x), t.bound.Perms)
	return out
}

// hash begins to compute the hashes that a checkpoint has, so that they are known when the run is stopped. It gives a
// function that waits for them, without which what they read must not be closed.
func (t *trainer) hash() (wait func()) {
	if t.opt.Out == "" {
		return func() {}
	}
	hashed := make(chan struct{})
	go func() {
		defer close(hashed)
		var fault error // comes again, as other errors do, when the hashes are used
		defer mapped.Guard(&fault)()
		_, _ = t.base.SHA256()
		_, _ = t.dataHash()
		_, _ = t.objective()
	}()
	return func() { <-hashed }
}

// failed is the error of a run: of one that is cancelled, after it is saved, an *Interrupted.
func (t *trainer) failed(err error) error {
	if !errors.Is(err, context.Canceled) && !errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	return t.stop(err)
}

// stopped waits until a run whose context is cancelled is saved.
func (t *trainer) stopped() error { return t.stop(context.Canceled) }

// stop saves the run where it stands, once, and ends it. It is nil where the run ended otherwise.
func (t *trainer) stop(cause error) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.interrupted != nil || t.ended {
		return t.interrupted
	}
	stop := &Interrupted{Step: t.state.Step, Steps: t.schedule.steps, cause: cause}
	t.interrupted = stop
	switch {
	case t.opt.Out == "":
		t.bound.Store()
	case t.state.Step > 0 || t.state.BaseLoss != nil: // otherwise nothing is lost
		if err := t.save(CheckpointPath(t.opt.Out)); err != nil {
			t.interrupted = fmt.Errorf("write the checkpoint of an interrupted run: %w", err)
			break
		}
		stop.Checkpoint = CheckpointPath(t.opt.Out)
	}
	return t.interrupted
}

// end says that there is nothing to stop any more, once what is being saved is.
func (t *trainer) end() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.ended = true
}

// resume restores the run from a checkpoint.
func (t *trainer) resume(ctx context.Context, path string) error {
	path, remove, err := dist.File(ctx, t.opt.comm, path)
	if err != nil {
		return err
	}
	defer remove()
	f, err := safetensors.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	saved, err := readCheckpoint(f)
	if err != nil {
		return err
	}
	if err := t.keep(saved); err != nil {
		return err
	}
	if err := t.same(saved); err != nil {
		return err
	}
	if err := t.sameAdapter(f.Metadata[attach.MetaConfig]); err != nil {
		return err
	}
	if err := t.adapter.Config.SameQuantized(f.Metadata[attach.MetaQuantized]); err != nil {
		return err
	}
	t.state = saved.State
	if err := t.restore(f); err != nil {
		return err
	}
	t.saved = t.state.Step
	t.bound.Stepped(t.state.Step, t.schedule.steps)
	return nil
}

// readCheckpoint is the metadata of a checkpoint.
func readCheckpoint(f *safetensors.File) (*checkpoint, error) {
	raw, ok := f.Metadata[attach.MetaCheckpoint]
	if !ok {
		return nil, errors.New("it is not a checkpoint of a training run")
	}
	saved := &checkpoint{Precision: PrecisionF32} // of files without the field
	if err := json.Unmarshal([]byte(raw), saved); err != nil {
		return nil, fmt.Errorf("metadata %s: %w", attach.MetaCheckpoint, err)
	}
	if s := &saved.State; s.Step < 0 || s.Epoch < 0 || s.Batch < 0 || s.Tokens < 0 ||
		s.RetainEpoch < 0 || s.RetainBatch < 0 || s.Evaluated < 0 || s.Sampled < 0 || s.BestStep < 0 || s.Worse < 0 {
		return nil, fmt.Errorf("metadata %s: step %d, epochs %d and %d, batches %d and %d, and tokens %d, expected no "+
			"negative number", attach.MetaCheckpoint, s.Step, s.Epoch, s.RetainEpoch, s.Batch, s.RetainBatch, s.Tokens)
	}
	return saved, nil
}

// CheckCheckpoint reports what is wrong with a checkpoint whatever run resumes from it.
func CheckCheckpoint(path string) error {
	a, err := attach.Load(path)
	if err != nil {
		return err
	}
	f, err := safetensors.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	if _, err = readCheckpoint(f); err == nil {
		err = checkMoments(f, a)
	}
	if err != nil {
		return fmt.Errorf("checkpoint %s: %w", path, err)
	}
	return nil
}

// checkMoments reads the moments of an adapter's tensors.
func checkMoments(f *safetensors.File, a *attach.Adapter) error {
	scratch := attach.Views(a.Tensors, make([]float32, len(a.Flat)))
	for _, prefix := range []string{attach.FirstMoment, attach.SecondMoment} {
		if err := attach.ReadParams(f, prefix, scratch); err != nil {
			return err
		}
	}
	return nil
}

// restore fills parameters and moments from a checkpoint.
func (t *trainer) restore(f *safetensors.File) error {
	state := t.methodState()
	blocks := t.adapter.BlockItems()
	want := 3*len(t.adapter.Tensors) + len(state) + len(blocks)
	hasBest := t.opt.KeepBest && t.state.BestStep > 0
	if hasBest {
		want += len(t.adapter.Tensors) + len(state)
	}
	if have := len(f.Tensors); have != want {
		return fmt.Errorf("it has %d tensors, expected %d: the checkpoint of another adapter?", have, want)
	}
	for _, item := range blocks {
		if saved := f.Tensor(item.Name); saved == nil || !bytes.Equal(saved.Bytes(), item.Data) {
			return fmt.Errorf("tensor %q is missing or not that of the adapter: the checkpoint of another adapter?", item.Name)
		}
	}
	scratch := attach.Views(t.adapter.Tensors, make([]float32, len(t.m)))
	type part struct {
		prefix string
		flat   []float32
	}
	parts := []part{{"", t.bound.Values}, {attach.FirstMoment, t.m}, {attach.SecondMoment, t.v}}
	if hasBest {
		t.best = &best{values: make([]float32, len(t.m))}
		for _, p := range state {
			t.best.state = append(t.best.state, make([]float32, len(p.Data)))
		}
		parts = append(parts, part{attach.BestValues, t.best.values})
	}
	for _, part := range parts {
		if err := attach.ReadParams(f, part.prefix, scratch); err != nil {
			return err
		}
		attach.ToBase(attach.Views(t.adapter.Tensors, part.flat), scratch, t.bound.Perms)
	}
	if hasBest {
		if err := attach.ReadParams(f, attach.BestState, t.bestState()); err != nil {
			return err
		}
	}
	return attach.ReadParams(f, attach.MethodState, state)
}

// same reports the first thing in which a checkpoint differs from the run that resumes from it.
func (t *trainer) same(saved *checkpoint) error {
	now, err := t.checkpoint()
	if err != nil {
		return err
	}
	for _, f := range saved.settings(&now) {
		if f.then != f.here {
			return fmt.Errorf("the run had %s %v, this one has %v", f.name, f.then, f.here)
		}
	}
	return nil
}

// setting is something on which the course of a run depends, of two runs.
type setting struct {
	name       string
	then, here any
}

// settings are those of two runs.
func (c *checkpoint) settings(now *checkpoint) []setting {
	return []setting{
		{"seed", c.Seed, now.Seed}, {"packing", cmp.Or(c.Packing, "in turn"), now.Packing},
		{"batch tokens", c.BatchTokens, now.BatchTokens},
		{"micro-batch tokens", cmp.Or(c.MicroBatch, c.BatchTokens), now.MicroBatch},
		{"accumulation", c.Accumulate, now.Accumulate}, {"learning rate", c.LR, now.LR},
		{"schedule", c.Schedule, now.Schedule}, {"warm-up", c.Warmup, now.Warmup},
		{"learning-rate ratio", c.LRRatio, now.LRRatio},
		{"coefficient of the routers' loss", c.RouterLoss, now.RouterLoss},
		{"weight decay", c.WeightDecay, now.WeightDecay}, {"clip", c.Clip, now.Clip},
		{"betas", c.Betas, now.Betas},
		{"patience", c.EarlyStop, now.EarlyStop}, {"choice of the best adapter", c.KeepBest, now.KeepBest},
		{"steps between evaluations", c.EvalEvery, now.EvalEvery},
		{"epsilon", c.Eps, now.Eps}, {"precision", c.Precision, now.Precision},
		{"training data (SHA-256)", c.Data, now.Data}, {"base (SHA-256)", c.Base, now.Base},
		{"objective", cmp.Or(c.Objective, "cross entropy"), cmp.Or(now.Objective, "cross entropy")},
	}
}

// sameAdapter reports a checkpoint of an adapter with another configuration. What PEFT would load it onto may differ.
func (t *trainer) sameAdapter(saved string) error {
	var then attach.Config
	if err := json.Unmarshal([]byte(saved), &then); err != nil {
		return fmt.Errorf("adapter config: %w", err)
	}
	then.BaseModel = t.adapter.Config.BaseModel
	was, err := json.Marshal(then)
	if err != nil {
		return err
	}
	is, err := json.Marshal(t.adapter.Config)
	if err == nil && string(was) != string(is) {
		return fmt.Errorf("the run had the adapter %s, this one has %s", was, is)
	}
	return err
}
