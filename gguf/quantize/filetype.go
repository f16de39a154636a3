package quantize

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/peftconv/peftconv/gguf"
)

// FileType is a type for most tensors of a model, and rules that give some tensors others.
type FileType struct {
	Name string
	ID   uint32    // the value of the file's general.file_type
	Type gguf.Type // of the tensors that no rule names

	own   bool // the rules of all other file types do not apply
	rules []rule
}

// rule gives the tensors of a role another type where all conditions hold. The first rule for a role that applies is
// used.
type rule struct {
	role role
	to   gguf.Type
	when []condition
}

func give(r role, to gguf.Type, when ...condition) rule { return rule{r, to, when} }

// fileTypes are all file types.
var fileTypes = slices.Concat(mixtures, plainTypes)

// plainTypes have no rules of their own: all their matrices get one type, except for the head.
var plainTypes = []FileType{
	{Name: "F32", ID: 0, Type: gguf.F32},
	{Name: "F16", ID: 1, Type: gguf.F16},
	{Name: "BF16", ID: 32, Type: gguf.BF16},
	{Name: "Q8_0", ID: 7, Type: gguf.Q8_0},
	{Name: "Q4_1", ID: 3, Type: gguf.Q4_1},
	{Name: "Q5_1", ID: 9, Type: gguf.Q5_1},
	{Name: "Q5_K_S", ID: 16, Type: gguf.Q5_K},
	{Name: "Q6_K", ID: 18, Type: gguf.Q6_K},
	{Name: "Q1_0", ID: 40, Type: gguf.Q1_0},
	{Name: "NVFP4", ID: 39, Type: gguf.NVFP4}, // llama-quantize does not make this one,
	{Name: "MXFP4", ID: 38, Type: gguf.MXFP4}, // nor that: there it is for experts only
}

// mixtures give more bits to the more important tensors.
var mixtures = []FileType{
	{Name: "Q4_0", ID: 2, Type: gguf.Q4_0, rules: []rule{give(ffnDown, gguf.Q4_1, weighted, firstEighth)}},
	{Name: "Q5_0", ID: 8, Type: gguf.Q5_0, rules: []rule{give(ffnDown, gguf.Q5_1, weighted, firstEighth)}},

	{Name: "MXFP4_MOE", ID: 38, Type: gguf.MXFP4, own: true, rules: []rule{
		give(head, gguf.Q8_0),
		give(ffnUp, gguf.MXFP4, stacked), give(ffnGate, gguf.MXFP4, stacked), give(ffnDown, gguf.MXFP4, stacked),
		give(anyRole, gguf.MXFP4, stacked, not(bailingMoE)),
		give(anyRole, gguf.Q8_0),
	}},

	{Name: "Q2_K", ID: 10, Type: gguf.Q2_K, rules: []rule{
		give(attnV, gguf.Q4_K, shared), give(attnV, gguf.Q3_K),
		outOfEight, give(attnOut, gguf.Q3_K, notFalcon),
		give(ffnDown, gguf.Q3_K),
	}},
	{Name: "Q2_K_S", ID: 21, Type: gguf.Q2_K, rules: []rule{
		give(attnV, gguf.Q4_K, shared),
		give(ffnDown, gguf.Q4_K, firstEighth),
	}},
	{Name: "Q3_K_S", ID: 11, Type: gguf.Q3_K, rules: []rule{outOfEight}},
	{Name: "Q3_K_M", ID: 12, Type: gguf.Q3_K, rules: []rule{
		give(attnV, gguf.Q5_K, firstTwo), give(attnV, gguf.Q4_K),
		outOfEight, give(attnOut, gguf.Q4_K, notFalcon),
		give(ffnDown, gguf.Q5_K, firstSixteenth), give(ffnDown, gguf.Q4_K, notFalcon), give(ffnDown, gguf.Q4_K, moreBits),
	}},
	{Name: "Q3_K_L", ID: 13, Type: gguf.Q3_K, rules: []rule{
		give(attnV, gguf.Q5_K),
		give(attnOut, gguf.Q4_K, falcon), give(attnOut, gguf.Q5_K, not(eightExperts)),
		give(ffnDown, gguf.Q4_K, falcon), give(ffnDown, gguf.Q5_K),
	}},
	{Name: "Q4_K_S", ID: 14, Type: gguf.Q4_K, rules: []rule{
		give(attnV, gguf.Q5_K, firstFour),
		outOfEight,
		give(ffnDown, gguf.Q5_K, notFalcon, firstEighth),
	}},
	{Name: "Q4_K_M", ID: 15, Type: gguf.Q4_K, rules: []rule{
		give(attnV, gguf.Q6_K, moreBits),
		outOfEight,
		give(ffnDown, gguf.Q6_K, falcon, firstSixteenth), give(ffnDown, gguf.Q5_K, falcon, moreBits),
		give(ffnDown, gguf.Q6_K, moreBits),
	}},
	{Name: "Q5_K_M", ID: 17, Type: gguf.Q5_K, rules: []rule{
		give(attnV, gguf.Q6_K, moreBits),
		give(ffnDown, gguf.Q6_K, moreBits),
	}},

	{Name: "IQ4_NL", ID: 25, Type: gguf.IQ4_NL, rules: fourBits},
	{Name: "IQ4_XS", ID: 30, Type: gguf.IQ4_XS, rules: fourBits},

	{Name: "IQ3_XXS", ID: 23, Type: gguf.IQ3_XXS, rules: []rule{
		give(head, gguf.Q5_K), give(embedding, gguf.IQ3_S),
		give(attnV, gguf.Q4_K, shared), give(attnV, gguf.IQ3_S, unweighted),
		give(attnK, gguf.IQ2_S), give(attnQ, gguf.IQ2_S),
		outOfEight, give(attnOut, gguf.IQ3_S, notFalcon),
		give(ffnDown, gguf.Q4_K, unweighted, firstEighth), give(ffnDown, gguf.Q3_K, unweighted),
	}},
	{Name: "IQ3_XS", ID: 22, Type: gguf.IQ3_S, rules: []rule{
		give(attnV, gguf.Q4_K, shared),
		give(attnK, gguf.IQ3_XXS), give(attnQ, gguf.IQ3_XXS),
		outOfEight,
		give(ffnGate, gguf.IQ3_XXS, middle), give(ffnUp, gguf.IQ3_XXS, middle),
	}},
	{Name: "IQ3_S", ID: 26, Type: gguf.IQ3_S, rules: []rule{
		give(attnV, gguf.Q4_K, shared),
		outOfEight,
	}},
	{Name: "IQ3_M", ID: 27, Type: gguf.IQ3_S, rules: []rule{
		give(attnV, gguf.Q4_K),
		outOfEight, give(attnOut, gguf.Q4_K, notFalcon),
		give(ffnDown, gguf.Q4_K, firstEighth), give(ffnDown, gguf.Q4_K, eightExperts, moreBits),
	}},

	{Name: "IQ2_XXS", ID: 19, Type: gguf.IQ2_XXS, own: true, rules: twoBits},
	{Name: "IQ2_XS", ID: 20, Type: gguf.IQ2_XS, own: true, rules: twoBits},
	{Name: "IQ2_S", ID: 28, Type: gguf.IQ2_XS, own: true, rules: twoBitsAndMore},
	{Name: "IQ2_M", ID: 29, Type: gguf.IQ2_S, own: true, rules: twoBitsAndMore},
	{Name: "IQ1_S", ID: 24, Type: gguf.IQ1_S, own: true, rules: oneBit},
	{Name: "IQ1_M", ID: 31, Type: gguf.IQ1_M, own: true, rules: oneBit},

	{Name: "TQ1_0", ID: 36, Type: gguf.TQ1_0, rules: []rule{give(embedding, gguf.Q4_K)}},
	{Name: "TQ2_0", ID: 37, Type: gguf.TQ2_0, rules: []rule{give(embedding, gguf.Q4_K)}},
	{Name: "Q2_0", ID: 41, Type: gguf.Q2_0, rules: []rule{give(embedding, gguf.Q4_K)}},
}

// outOfEight is for models with eight experts, where the attention is small in comparison.
var outOfEight = give(attnOut, gguf.Q5_K, eightExperts, notFalcon)

var fourBits = []rule{
	give(attnV, gguf.Q5_K, shared),
	outOfEight,
	give(ffnDown, gguf.Q5_K, unweighted, firstEighth),
}

var twoBits = []rule{
	give(head, gguf.Q5_K), give(embedding, gguf.Q2_K),
	give(attnV, gguf.Q4_K, sharedOrExperts), give(attnV, gguf.Q2_K),
	give(attnK, gguf.Q4_K, eightExperts),
	give(attnOut, gguf.Q5_K, eightExperts),
	give(ffnDown, gguf.Q2_K, firstEighth),
}

var oneBit = append(slices.Clip(twoBits), give(attnOut, gguf.IQ2_XXS))

var twoBitsAndMore = []rule{
	give(head, gguf.Q5_K), give(embedding, gguf.IQ3_S),
	give(attnV, gguf.Q4_K, sharedOrExperts), give(attnV, gguf.IQ3_S),
	give(attnK, gguf.Q4_K, eightExperts),
	give(attnOut, gguf.Q5_K, eightExperts), give(attnOut, gguf.IQ3_S),
	give(ffnDown, gguf.IQ3_S, firstEighth),
}

// aliases are other names of file types.
var aliases = map[string]string{"Q3_K": "Q3_K_M", "Q4_K": "Q4_K_M", "Q5_K": "Q5_K_M"}

// FileTypes are the names of all file types, those of the most bits first.
func FileTypes() []string {
	list := slices.Clone(fileTypes)
	slices.SortStableFunc(list, func(a, b FileType) int { return cmp.Compare(bits(b.Type), bits(a.Type)) })
	names := make([]string, len(list))
	for i, ft := range list {
		names[i] = ft.Name
	}
	return names
}

// bits is the number of bits per weight of a type.
func bits(t gguf.Type) float64 { return 8 * float64(t.BlockSize()) / float64(t.BlockLen()) }

// ParseFileType finds a file type by its name, in upper or lower case, or by its number.
func ParseFileType(s string) (FileType, error) {
	name := strings.ToUpper(s)
	if full, ok := aliases[name]; ok {
		name = full
	}
	id, err := strconv.ParseUint(s, 10, 32)
	for _, ft := range fileTypes {
		if ft.Name == name || err == nil && uint64(ft.ID) == id {
			return ft, nil
		}
	}
	return FileType{}, fmt.Errorf("no file type is named %q; there are %s", s, strings.Join(FileTypes(), ", "))
}
