package attach

import (
	"slices"
	"strings"

	"github.com/peftconv/peftconv/internal/model"
)

// RequantizedBytes is what an adapter that requantizes takes beside its tensors: the blocks, and buffers for the
// largest matrix.
func RequantizedBytes(b *Base, a *Adapter, tokens int) (bytes int64) {
	own := a.Method.Traits().SumsGroups
	if !own && a.Config.Quantized == nil {
		return 0
	}
	largest, widest := 0, 0
	for _, l := range b.Model.Linears() {
		if !a.touches(l) {
			continue
		}
		bytes += int64(len(l.W.Data))
		if a.Config.Blocks[l.Module] != nil {
			bytes += int64(len(l.W.Data)) // the blocks that training starts from
		}
		largest, widest = max(largest, l.W.Rows*l.W.Groups()), max(widest, l.W.Rows)
	}
	if own {
		return bytes + 2*4*int64(largest) // the gradients that are summed over groups
	}
	return bytes + 4*int64(tokens)*int64(widest)
}

// touches reports whether the adapter changes a linear map.
func (a *Adapter) touches(l *model.Linear) bool {
	if a.Config.Blocks[l.Module] != nil {
		return true
	}
	return slices.ContainsFunc(a.Tensors, func(p Param) bool {
		return slices.ContainsFunc(l.Names(), func(name string) bool {
			return strings.HasPrefix(p.Name, ParamPrefix+name+".")
		})
	})
}
