package arch

// Role is what a tensor is for in a decoder.
type Role uint8

// The roles, in the order of the decoder. A decoder that computes more has more.
const (
	TokenEmbedding  Role = iota // (vocabulary, width)
	OutputNorm                  // after the last layer
	OutputHead                  // (vocabulary, width)
	RopeFactors                 // divisors of the angles of rotary position embedding
	AttentionNorm               // before attention
	Query                       // projection to the queries
	Key                         // projection to the keys
	Value                       // projection to the values
	AttentionOutput             // projection of what attention gives
	FFNNorm                     // before the feed-forward network
	Gate                        // of the feed-forward network
	Up
	Down
	roles // how many there are
)

// Roles is the number of roles, for tables by role.
const Roles = int(roles)

// Kind is what becomes of a tensor.
type Kind uint8

// The kinds.
const (
	End    Kind = iota // a matrix at one of the ends of the decoder
	Linear             // the weight of a linear map of a layer
	Norm               // the weight of a norm
	Vector             // numbers for something else
)

// Part is one of the two parts of a layer.
type Part int

// The parts of a layer, in order.
const (
	Attention Part = iota
	FFN
	outside // of the layers
)

func (p Part) String() string { return [...]string{"attention", "ffn"}[p] }

// about is what is known of each role.
var about = [roles]struct {
	name string
	kind Kind
	part Part
}{
	TokenEmbedding:  {"token embedding", End, outside},
	OutputNorm:      {"norm of the output", Norm, outside},
	OutputHead:      {"output head", End, outside},
	RopeFactors:     {"factors of RoPE", Vector, outside},
	AttentionNorm:   {"norm before attention", Norm, Attention},
	Query:           {"projection to queries", Linear, Attention},
	Key:             {"projection to keys", Linear, Attention},
	Value:           {"projection to values", Linear, Attention},
	AttentionOutput: {"projection of the attention", Linear, Attention},
	FFNNorm:         {"norm before the FFN", Norm, FFN},
	Gate:            {"gate of the FFN", Linear, FFN},
	Up:              {"up-projection of the FFN", Linear, FFN},
	Down:            {"down-projection of the FFN", Linear, FFN},
}

func (r Role) String() string { return about[r].name }

// Kind is what becomes of the tensor.
func (r Role) Kind() Kind { return about[r].kind }

// In reports whether the role is one of a part of a layer.
func (r Role) In(p Part) bool { return about[r].part == p }
