package lorafile

import (
	"slices"

	"github.com/peftconv/peftconv/gguf"
	"github.com/peftconv/peftconv/internal/attach"
	"github.com/peftconv/peftconv/internal/lowrank"
	"github.com/peftconv/peftconv/internal/model"
	"github.com/peftconv/peftconv/kernels"
)

// adapter makes a LoRA of the pairs of linear maps.
func (r *reader) adapter(parts map[*model.Linear]attach.Pair) (*attach.Adapter, error) {
	b := r.base
	var list []attach.Pair
	var modules []string
	var joints []*model.Joint
	done := map[*model.Joint]bool{}
	for _, l := range b.Model.Matrices() {
		p, ok := parts[l]
		switch {
		case !ok || l.Joint != nil && done[l.Joint]:
			continue
		case l.Joint != nil:
			done[l.Joint] = true
			joints = append(joints, l.Joint)
			p = joined(l.Joint, parts)
		}
		list, modules = append(list, p), append(modules, p.Module)
	}
	c := attach.Config{BaseModel: baseName(r)}
	c.DescribeJoints(b, modules, joints)
	c.Rank, c.Alpha = attach.Usual(list)
	if tokens, ok := r.file.Meta.Ints(InvocationKey); ok {
		for _, id := range tokens {
			c.Invocation = append(c.Invocation, int32(id))
		}
	}
	r.rename(&c, list)
	sum, _ := r.file.Meta.String(attach.MetaBaseSHA256)
	a, err := attach.OfPairs(c, attach.Origin{BaseSHA256: sum, Architecture: b.Architecture()}, list)
	if err == nil {
		a.InFile = typeOf(r.file)
	}
	return a, err
}

// typeOf is attach.Adapter.InFile of a file.
func typeOf(f *gguf.File) gguf.Type {
	typ := f.Tensors[0].Type
	other := func(t *gguf.Tensor) bool { return t.Type != typ }
	if model.Dtypes[typ] == "" || slices.ContainsFunc(f.Tensors, other) {
		return gguf.F32
	}
	return typ
}

// baseName is what the file says that the base is, or else the base's own name.
func baseName(r *reader) string {
	if name := attach.HubName(r.file.Meta); name != "" {
		return name
	}
	return r.base.Name()
}

// rename gives modules the names of Hugging Face's class where the base is a GGUF file and its architecture has one
// class only, which has names of its own.
func (r *reader) rename(c *attach.Config, list []attach.Pair) {
	m := r.base.Model
	if m.HF != nil || len(m.Arch.HF) != 1 {
		return
	}
	hf := &m.Arch.HF[0]
	for i := range list {
		list[i].Module = hf.Rename(list[i].Module)
	}
	for _, names := range [][]string{c.Targets.Names, c.Parameters} {
		for i := range names {
			names[i] = hf.Rename(names[i])
		}
	}
}

// joined is the pair of a joint module: A is one where those of its parts are the same, and else theirs one below the
// other.
func joined(j *model.Joint, parts map[*model.Linear]attach.Pair) attach.Pair {
	experts := max(j.Experts, 1)
	each := make([]lowrank.LowRank, experts) // the rows of the parts of an expert, one after the other
	rank := 0
	for e := range each {
		each[e] = rowsOf(j, e, parts)
		rank = max(rank, each[e].Rank)
	}
	scale := sameScale(each)
	p := attach.Pair{Experts: j.Experts, Alpha: scale * float64(rank)}
	p.LowRank = lowrank.LowRank{Module: j.Module, Rank: rank, In: j.Cols, Out: j.Rows, Scale: scale}
	for e := range each {
		padded := each[e].Padded(rank)
		p.A, p.B = append(p.A, padded.A...), append(p.B, padded.B...)
	}
	moved := []attach.Param{{Shape: []int{j.Rows, rank * experts}, Data: make([]float32, len(p.B))}}
	from := []attach.Param{{Shape: moved[0].Shape, Data: p.B}}
	attach.ToHF(moved, from, []attach.Permutation{{Order: model.Order{Rows: j.Order}, Experts: j.Experts}})
	p.B = moved[0].Data
	return p
}

// sameScale is the scale of pairs; those that have others get the scale 1, which is multiplied into B.
func sameScale(list []lowrank.LowRank) float64 {
	first := slices.IndexFunc(list, func(p lowrank.LowRank) bool { return p.Rank > 0 })
	if first < 0 {
		return 1
	}
	scale := list[first].Scale
	if !slices.ContainsFunc(list, func(p lowrank.LowRank) bool { return p.Rank > 0 && p.Scale != scale }) {
		return scale
	}
	for i := range list {
		list[i].B = slices.Clone(list[i].B)
		kernels.Scale(float32(list[i].Scale), list[i].B)
		list[i].Scale = 1
	}
	return 1
}

// rowsOf is the pair of all rows of one expert of a joint module, in the order of its parts.
func rowsOf(j *model.Joint, expert int, parts map[*model.Linear]attach.Pair) lowrank.LowRank {
	var list []lowrank.LowRank
	var firsts []int // rows at which they begin
	for i, l := range j.Parts {
		if p, ok := parts[l]; ok && l.Expert == expert {
			list, firsts = append(list, p.LowRank), append(firsts, j.First(i))
		}
	}
	whole := lowrank.LowRank{In: j.Cols, Out: j.Rows, Scale: sameScale(list)}
	ranks := make([]int, len(list)) // at which they begin
	for i, p := range list {
		same := slices.IndexFunc(list[:i], func(other lowrank.LowRank) bool { return slices.Equal(other.A, p.A) })
		if same >= 0 {
			ranks[i] = ranks[same]
			continue
		}
		ranks[i] = whole.Rank
		whole.A, whole.Rank = append(whole.A, p.A...), whole.Rank+p.Rank
	}
	whole.B = make([]float32, whole.Out*whole.Rank)
	for i, p := range list {
		for row := range p.Out {
			copy(whole.B[(firsts[i]+row)*whole.Rank+ranks[i]:], p.B[row*p.Rank:(row+1)*p.Rank])
		}
	}
	return whole
}
