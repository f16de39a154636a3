package merge

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"math"

	"github.com/peftconv/peftconv/internal/attach"
	"github.com/peftconv/peftconv/internal/handle"
	"github.com/peftconv/peftconv/internal/prng"
	"github.com/peftconv/peftconv/peft"
	"github.com/peftconv/peftconv/peft/eval"
)

// Verification compares a merged model with the base and the adapters that it was made from.
type Verification struct {
	Data        string           `json:"data"`         // what the losses are of: "evaluation data" or "random tokens"
	BaseLoss    float64          `json:"base_loss"`    // of the base alone
	AdapterLoss float64          `json:"adapter_loss"` // of the base with the adapters
	MergedLoss  float64          `json:"merged_loss"`  // of the merged model
	KeptShare   *float64         `json:"kept_share"`   // see Report.KeptShare; nil for random tokens
	Tensors     []VerifiedTensor `json:"tensors"`      // that training recorded, in the order of the model
	Matches     bool             `json:"matches"`      // there are such, and all are, bit for bit, what was trained with
}

// VerifiedTensor is a tensor of a merged model, or some rows of one, that a quantization-aware adapter was trained
// with.
type VerifiedTensor struct {
	Name    string `json:"name"`    // with the rows where it holds those of other linear maps too
	SHA256  string `json:"sha256"`  // of its bytes in the merged model
	Trained string `json:"trained"` // of those that were trained with
}

// Verify evaluates the base, the base with its adapters, and the merged model at a path, and compares the tensors of
// the merged model with what training recorded of them. Without data the losses are those of random tokens.
func Verify(ctx context.Context, b *peft.Base, adapters []peft.Scaled, merged string, data *peft.Data) (*Verification,
	error) {
	m, err := peft.OpenBase(merged)
	if err != nil {
		return nil, fmt.Errorf("verify: %w", err)
	}
	defer m.Close()
	v := &Verification{Data: "evaluation data"}
	if data == nil {
		v.Data, data = "random tokens", randomTokens(handle.Base(b))
	}
	for _, part := range []struct {
		base     *peft.Base
		adapters []peft.Scaled
		loss     *float64
	}{{b, nil, &v.BaseLoss}, {b, adapters, &v.AdapterLoss}, {m, nil, &v.MergedLoss}} {
		r, err := eval.Loss(ctx, part.base, part.adapters, data, verifyTokens)
		if err != nil {
			return nil, fmt.Errorf("verify %s: %w", merged, err)
		}
		*part.loss = r.Loss
	}
	if v.Data == "evaluation data" {
		v.KeptShare = keptShare(v.BaseLoss, v.AdapterLoss, v.MergedLoss)
	}
	v.compare(handle.Base(m), handle.Scaled(adapters))
	return v, nil
}

// verifyTokens is how many tokens go through a model at once.
const verifyTokens = 2048

// randomTokens are a few sequences without meaning.
func randomTokens(b *attach.Base) *peft.Data {
	r := prng.NewRandom(0, "verify")
	var set []peft.Example
	length := 256
	if limit := b.Model.Spec.Context; limit > 0 {
		length = min(length, limit)
	}
	for range 4 {
		ids := make([]int32, length)
		for i := range ids {
			ids[i] = int32(r.Next() % uint64(b.Model.Spec.Vocab))
		}
		set = append(set, peft.Example{IDs: ids})
	}
	return peft.NewData(set)
}

// keptShare is the share of the adapter's gain over the base that the merged model has; nil where there is no gain.
func keptShare(base, adapter, merged float64) *float64 {
	share := (base - merged) / (base - adapter)
	if !(base > adapter) || math.IsInf(share, 0) || math.IsNaN(share) {
		return nil
	}
	return &share
}

// compare hashes the tensors that training recorded.
func (v *Verification) compare(m *attach.Base, adapters []attach.Scaled) {
	trained := map[string]string{}
	for _, a := range adapters {
		if t := a.Adapter.Origin.Training; t != nil {
			for name, sum := range t.BlockHashes {
				trained[name] = sum
			}
		}
	}
	v.Matches = len(trained) > 0
	for _, l := range m.Model.Linears() {
		want, ok := trained[l.Place()]
		if !ok {
			continue
		}
		sum := sha256.Sum256(l.W.Data)
		t := VerifiedTensor{Name: l.Place(), SHA256: hex.EncodeToString(sum[:]), Trained: want}
		v.Matches = v.Matches && t.SHA256 == want
		v.Tensors = append(v.Tensors, t)
	}
	v.Matches = v.Matches && len(v.Tensors) == len(trained)
}
