package bench

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/peftconv/peftconv/gguf"
	"github.com/peftconv/peftconv/internal/arch"
	"github.com/peftconv/peftconv/internal/attach"
	"github.com/peftconv/peftconv/internal/handle"
	"github.com/peftconv/peftconv/internal/mapped"
	"github.com/peftconv/peftconv/internal/methods"
	"github.com/peftconv/peftconv/internal/model"
	"github.com/peftconv/peftconv/peft"
	"github.com/peftconv/peftconv/peft/method"
)

// Decode is the speed of generating token by token.
type Decode struct {
	Shape     string  `json:"shape"` // its name, or the model's path
	Type      string  `json:"type"`
	Context   int     `json:"context"` // tokens before those that are measured
	Cache     string  `json:"kv"`      // type of keys and values
	Rank      int     `json:"rank"`    // of a LoRA on every linear map; 0: without
	Tokens    int     `json:"tokens"`  // measured
	Rate      float64 `json:"tokens_per_second"`
	Best      float64 `json:"best_tokens_per_second"` // of the fastest token
	Bytes     int64   `json:"bytes_per_token"`        // weights, keys and values that a token reads
	Bandwidth float64 `json:"gb_s"`                   // at which they were read
	Percent   float64 `json:"percent_of_memory"`
}

// decodePrompt is how many tokens are read before those that are measured, where no number is given.
const decodePrompt = 32

// decodeTime is about how long tokens are measured where no number is given.
const decodeTime = 3 * time.Second

// measureDecode measures a base without an adapter and with a LoRA, token by token in turn, so that both have the same
// machine.
func measureDecode(ctx context.Context, b *peft.Base, name, types string, o *Options) (_ []Decode, err error) {
	defer mapped.Guard(&err)()
	base := handle.Base(b)
	adapter, err := methods.NewLoRA(base, method.LoRA{Rank: o.Rank})
	if err != nil {
		return nil, err
	}
	bound, err := attach.BindAll(base, []attach.Scaled{{Adapter: adapter, Scale: 1}})
	if err != nil {
		return nil, err
	}
	most := o.Steps
	if most == 0 {
		most = 1000
	}
	kind, prompt := gguf.F32, cmp.Or(o.Context, decodePrompt)
	if o.Cache != "" {
		kind = model.CacheTypes[o.Cache]
	}
	if err := base.Model.CheckCache(kind); err != nil {
		return nil, err
	}
	var runs []*decodeRun
	for _, hooks := range []model.Hooks{model.NoHooks{}, bound} {
		r := &decodeRun{
			session: base.Model.NewSessionOf(kind, prompt+most+1), hooks: model.RuntimeActivations{Hooks: hooks},
		}
		if err := r.read(prompt, base.Model.Spec.Vocab); err != nil {
			return nil, err
		}
		runs = append(runs, r)
	}
	for start := time.Now(); len(runs[0].times) < most; {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		for _, r := range runs {
			if err := r.step(); err != nil {
				return nil, err
			}
		}
		if n := len(runs[0].times); o.Steps == 0 && n >= 8 && time.Since(start) > 2*decodeTime {
			break
		}
	}
	found := []Decode{runs[0].result(base.Model, kind), runs[1].result(base.Model, kind)}
	for i := range found {
		found[i].Shape, found[i].Type, found[i].Context, found[i].Cache = name, types, prompt, kind.String()
	}
	found[1].Rank = o.Rank
	return found, nil
}

// decodeRun is one sequence that is generated.
type decodeRun struct {
	session *model.Session
	hooks   model.Hooks
	next    int32
	times   []time.Duration
}

// read reads the prompt, and one token more, so that all memory is there.
func (r *decodeRun) read(prompt, vocab int) error {
	ids := make([]int32, prompt)
	for i := range ids {
		ids[i] = int32((i*7919 + 17) % vocab)
	}
	logits, err := r.session.Append(ids, r.hooks)
	if err == nil {
		r.next = likeliest(logits)
		err = r.step()
	}
	r.times = nil
	return err
}

// step generates a token.
func (r *decodeRun) step() error {
	start := time.Now()
	logits, err := r.session.Append([]int32{r.next}, r.hooks)
	if err != nil {
		return fmt.Errorf("generate: %w", err)
	}
	r.next = likeliest(logits)
	r.times = append(r.times, time.Since(start))
	return nil
}

// likeliest is the token with the greatest logit.
func likeliest(logits []float32) int32 {
	best := 0
	for i, v := range logits {
		if v > logits[best] {
			best = i
		}
	}
	return int32(best)
}

// result is what the median token says.
func (r *decodeRun) result(m *model.Model, kind gguf.Type) Decode {
	n := len(r.times)
	slices.Sort(r.times)
	seconds := r.times[n/2].Seconds()
	d := Decode{Tokens: n, Rate: 1 / seconds, Best: 1 / r.times[0].Seconds()}
	d.Bytes = tokenBytes(m) + m.SessionBytes(kind, r.session.Len()-n/2)
	d.Bandwidth = float64(d.Bytes) / seconds / 1e9
	return d
}

// tokenBytes are those of the weights that one token is multiplied with: of experts, those that it visits.
func tokenBytes(m *model.Model) int64 {
	n := int64(len(m.Head.Data))
	for _, layer := range m.Layers {
		for _, l := range layer.Linears() {
			size := int64(len(l.W.Data))
			if e := &layer.Spec.Experts; l.Role.Kind() == arch.Experts && e.Count > 0 {
				size = size * int64(e.Used) / int64(e.Count)
			}
			n += size
		}
	}
	return n
}
