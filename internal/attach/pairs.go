package attach

import (
	"fmt"
	"math"

	"github.com/peftconv/peftconv/internal/floats"
	"github.com/peftconv/peftconv/internal/lowrank"
	"github.com/peftconv/peftconv/internal/model"
	"github.com/peftconv/peftconv/peft/method"
)

// Names of the tensors of a pair on an embedding table, after the module's.
const (
	EmbeddingA = "lora_embedding_A" // (rank, V)
	EmbeddingB = "lora_embedding_B" // (D, rank)
)

// Pair is the pair of a module for OfPairs.
type Pair struct {
	lowrank.LowRank
	Alpha     float64 // the scale times the rank
	Embedding bool    // of an embedding table: A (rank, V), B (D, rank)
	// Experts: A (experts·rank, in) and B (out, rank·experts), as PEFT has those of a parameter of all experts; 0: the
	// pair is one.
	Experts int
}

// OfPairs makes a LoRA of pairs. Ranks and scales are the configuration's Rank and Alpha, and those of pairs that have
// others are in its patterns. The configuration says of which modules (Targets, Parameters) and over which base. A
// value that is not finite is an error.
func OfPairs(c Config, o Origin, list []Pair) (*Adapter, error) {
	c.Method, c.RSLoRA, c.Init = MethodLoRA, false, method.InitKaiming
	c.RankPattern, c.AlphaPattern = nil, nil
	ranks, alphas := map[string]int{}, map[string]float64{}
	shapes, values := map[string][]int{}, map[string][]float32{}
	for _, p := range list {
		nameA, nameB := LoRAName(p.Module, "A"), LoRAName(p.Module, "B")
		if p.Embedding {
			nameA, nameB = PartName(p.Module, EmbeddingA), PartName(p.Module, EmbeddingB)
		}
		rows := p.Rank * max(p.Experts, 1)
		shapes[nameA], shapes[nameB] = []int{rows, p.In}, []int{p.Out, rows}
		values[nameA], values[nameB] = p.A, p.B
		key := c.key(p.Module)
		if p.Rank != c.Rank {
			ranks[key] = p.Rank
		}
		if p.Alpha != c.Alpha {
			alphas[key] = p.Alpha
		}
	}
	c.RankPattern, c.AlphaPattern = NonEmpty(ranks), NonEmpty(alphas)
	o.Version, o.Training = Version, nil
	a := &Adapter{Config: c, Origin: o}
	a.Allocate(shapes)
	for i := range a.Tensors {
		copy(a.Tensors[i].Data, values[a.Tensors[i].Name])
		if j := floats.FirstNonFinite(a.Tensors[i].Data); j >= 0 {
			return nil, fmt.Errorf("tensor %q: value %d is %v", a.Tensors[i].Name, j, a.Tensors[i].Data[j])
		}
	}
	var err error
	a.Method, err = NewMethod(&a.Config, a.Tensors)
	return a, err
}

// Usual are the rank and the alpha that most of some pairs have; of several the smallest.
func Usual(list []Pair) (rank int, alpha float64) {
	ranks, alphas := map[int]int{}, map[float64]int{}
	for _, p := range list {
		ranks[p.Rank]++
		alphas[p.Alpha]++
	}
	rank, alpha = math.MaxInt, math.Inf(1)
	for r, n := range ranks {
		if n > ranks[rank] || n == ranks[rank] && r < rank {
			rank = r
		}
	}
	for a, n := range alphas {
		if n > alphas[alpha] || n == alphas[alpha] && a < alpha {
			alpha = a
		}
	}
	return rank, alpha
}

// PairToBase puts the rows of B and the columns of A where a base has those of the weight, of which they are in the
// order of the Hugging Face checkpoint.
func PairToBase(p *lowrank.LowRank, o model.Order) { movePair(p, o, ToBase) }

// PairToHF is the inverse of PairToBase.
func PairToHF(p *lowrank.LowRank, o model.Order) { movePair(p, o, ToHF) }

func movePair(p *lowrank.LowRank, o model.Order, move func(dst, src []Param, perms []Permutation)) {
	src := []Param{{Shape: []int{p.Rank, p.In}, Data: p.A}, {Shape: []int{p.Out, p.Rank}, Data: p.B}}
	dst := Views(src, make([]float32, len(p.A)+len(p.B)))
	move(dst, src, []Permutation{{Param: 0, Order: model.Order{Cols: o.Cols}},
		{Param: 1, Order: model.Order{Rows: o.Rows}}})
	p.A, p.B = dst[0].Data, dst[1].Data
}
