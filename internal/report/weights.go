package report

import (
	"fmt"
	"math"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"

	"github.com/peftconv/peftconv/internal/chart"
	"github.com/peftconv/peftconv/internal/cli"
	"github.com/peftconv/peftconv/peft/algebra"
	"github.com/peftconv/peftconv/peft/merge"
)

// place is where a weight stands: its layer, -1 outside of the layers, and its role in it.
type place struct {
	layer int
	role  string
}

// layerNumber finds the number of a layer in a name, and what stands before it; number is any other.
var (
	layerNumber = regexp.MustCompile(`(?s)^(.*?)\.(\d+)\.(.+)$`)
	number      = regexp.MustCompile(`\.\d+\.`)
)

// placeOf is the place of a module or tensor. Experts have one place together.
func placeOf(name string) place {
	found := layerNumber.FindStringSubmatch(name)
	if found == nil {
		return place{-1, cli.Cut(name, mostRole)}
	}
	layer, err := strconv.Atoi(found[2])
	if err != nil {
		return place{-1, cli.Cut(name, mostRole)}
	}
	return place{layer, cli.Cut(number.ReplaceAllString(found[3], "."), mostRole)}
}

// mostRole is how many characters of a role are shown, mostLayer the highest number of a layer, mostRoles how many rows
// a map has.
const mostRole, mostLayer, mostRoles = 40, 1000, 64

// grid collects values by place.
type grid struct {
	roles  []string
	layers int
	values map[place][2]float64 // two sums
}

// add adds to the sums of a name's place.
func (g *grid) add(name string, a, b float64) {
	p := placeOf(name)
	if p.layer > mostLayer {
		p = place{-1, p.role}
	}
	if g.values == nil {
		g.values = map[place][2]float64{}
	}
	if p.layer >= 0 && !slices.Contains(g.roles, p.role) {
		if len(g.roles) == mostRoles {
			return
		}
		g.roles = append(g.roles, p.role)
	}
	g.layers = max(g.layers, p.layer+1)
	v := g.values[p]
	g.values[p] = [2]float64{v[0] + a, v[1] + b}
}

// heat is the map of what f makes of the sums; nil where nothing is in a layer.
func (g *grid) heat(title string, f func(sums [2]float64) float64) *chart.Heat {
	if len(g.roles) == 0 {
		return nil
	}
	h := &chart.Heat{Title: title, X: "layer", Y: "", Rows: g.roles}
	for i := range g.layers {
		h.Cols = append(h.Cols, strconv.Itoa(i))
	}
	for _, role := range g.roles {
		row := make([]float64, g.layers)
		for i := range row {
			row[i] = math.NaN()
			if v, ok := g.values[place{i, role}]; ok {
				row[i] = f(v)
			}
		}
		h.Values = append(h.Values, row)
	}
	return h
}

// outside are the names and values outside of the layers, by name.
func (g *grid) outside(f func(sums [2]float64) float64) (rows [][]string) {
	for p, v := range g.values {
		if p.layer < 0 {
			rows = append(rows, []string{p.role, fmt.Sprintf("%.4g", f(v))})
		}
	}
	slices.SortFunc(rows, slices.Compare)
	return rows[:min(len(rows), mostRoles)]
}

// changes are the norms of what each run's adapter changes.
func changes(runs []Run, several bool) (blocks []Block) {
	for i := range runs {
		a := runs[i].Adapter
		if a == nil {
			continue
		}
		of := ""
		if several {
			of = " by " + runs[i].Name
		}
		norms, title := a.Norms, "Norm of the change"+of
		root := func(v [2]float64) float64 { return math.Sqrt(v[0]) }
		switch {
		case len(norms) == 0:
			norms, title = a.Tensors, "Norms of the adapter's tensors"+of
		case !slices.ContainsFunc(norms, func(n algebra.ModuleNorm) bool { return n.Base == 0 }):
			title = "Change as a share of the weight's norm, in percent" + of
			root = func(v [2]float64) float64 { return 100 * math.Sqrt(v[0]/v[1]) }
		}
		var g grid
		for _, n := range norms {
			g.add(n.Module, n.Change*n.Change, n.Base*n.Base)
		}
		if h := g.heat(title, root); h != nil {
			blocks = append(blocks, Figures{h})
		}
		blocks = append(blocks, &Table{Caption: title + ", outside of the layers", Head: []string{"weight", "norm"},
			Rows: g.outside(root)})
	}
	return blocks
}

// mostLost is how many tensors are listed of which little is left.
const mostLost = 40

// addMerge adds what a merge kept.
func (p *Page) addMerge(m *merge.Report) {
	facts := Facts{
		{"output", m.Output},
		{"tensors", fmt.Sprintf("%d changed, %d copied as they are", len(m.Tensors), m.Copied)},
		{"of the change is in it", fmt.Sprintf("%.1f %%", 100*m.Recovery)},
	}
	if m.BitExact {
		facts = append(facts, Fact{"bit-exact", "the weights are those that the adapter was trained with"})
	}
	if m.KeptShare != nil {
		facts = append(facts, Fact{"of the adapter's gain is kept", fmt.Sprintf("%.1f %%", 100**m.KeptShare)})
	}
	var recovery, noise grid
	lost := &Table{Caption: "Tensors of which less than half of the change is left",
		Head: []string{"tensor", "type", "rounding", "recovery", "error"}, Texts: 3}
	for _, t := range m.Tensors {
		recovery.add(t.Name, t.Recovery, 1)
		noise.add(t.Name, t.Noise, 1)
		if t.Little && len(lost.Rows) < mostLost {
			lost.Rows = append(lost.Rows, []string{t.Name, t.Type, t.Rounding, fmt.Sprintf("%.3f", t.Recovery),
				fmt.Sprintf("%.3f", t.Noise)})
		}
	}
	mean := func(v [2]float64) float64 { return v[0] / v[1] }
	blocks := []Block{facts}
	if v := m.Verification; v != nil {
		blocks = append(blocks, &Table{Caption: "Loss on the " + v.Data, Head: []string{"base", "base and adapter", "merged"},
			Rows: [][]string{{fmt.Sprintf("%.6f", v.BaseLoss), fmt.Sprintf("%.6f", v.AdapterLoss),
				fmt.Sprintf("%.6f", v.MergedLoss)}}})
	}
	if h := recovery.heat("Share of the change that survived (1 is all)", mean); h != nil {
		h.High = 1
		blocks = append(blocks, Figures{h, noise.heat("Error, as a share of the change", mean)})
	}
	p.add("Merged into "+filepath.Base(m.Output), append(blocks, lost)...)
}
