package arch

// Role is what a tensor is for in a decoder.
type Role uint8

// The roles, in the order in which a decoder uses them.
const (
	TokenEmbedding     Role = iota // (vocabulary, width)
	PositionEmbedding              // (context, width)
	EmbeddingNorm                  // of the embedded tokens
	LayerEmbedding                 // (vocabulary, layers·n) a second embedding, of which each layer gets its n columns
	LayerEmbeddingMap              // from the embedded tokens to as much
	LayerEmbeddingNorm             // of each layer's part of that
	OutputNorm                     // after the last layer
	OutputHead                     // (vocabulary, width)
	RopeFactors                    // divisors of the angles of rotary position embedding
	RopeLongFactors                // the same for contexts beyond the original one
	RopeShortFactors               // and for those within it
	AttentionNorm                  // before attention, or what stands in its place
	QKV                            // projection to queries, keys and values in one matrix
	Query                          // projection to the queries
	QueryDown                      // to the latent queries of multi-head latent attention
	QueryDownNorm                  // of these
	QueryUp                        // from these to the queries
	Key                            // projection to the keys
	Value                          // projection to the values
	KeyValueDown                   // to latent keys and values, and the part of the key that turns
	KeyValueDownNorm               // of the latent ones
	KeyUp                          // (heads, latent, n) from the latent ones to keys
	ValueUp                        // (heads, values, latent) and to values
	KeyValueUp                     // both in one matrix
	QueryNorm                      // of the queries, head by head or whole
	KeyNorm                        // of the keys
	Sinks                          // a score for each head that takes part in the softmax and has no value
	AttentionGate                  // projection to what the attention is multiplied with
	AttentionSubNorm               // before the projection of the attention
	AttentionOutput                // projection of what attention gives
	RecurrentIn                    // projection to all that a recurrent mixer needs
	RecurrentQKV                   // projection to its queries, keys and values
	RecurrentGate                  // projection to what its result is multiplied with
	RecurrentBeta                  // projection to how much of a value is written
	RecurrentAlpha                 // projection to the decay
	RecurrentBetaAlpha             // both in one matrix
	RecurrentConv                  // (channels, taps) the causal convolution before it
	RecurrentConvBias              // of that
	RecurrentTimeBias              // of the time steps
	RecurrentDecay                 // the decay of each head, negative
	RecurrentSkip                  // how much of its input a head adds to its result
	RecurrentNorm                  // of what it gives
	RecurrentOut                   // projection of that
	ConvIn                         // projection to the three inputs of a short convolution
	ConvKernel                     // (width, taps)
	ConvOut                        // projection of what it gives
	AttentionPostNorm              // of what attention or another mixer adds to the stream
	FFNNorm                        // before the feed-forward network
	GateUp                         // gate and up-projection in one matrix
	Gate                           // of the feed-forward network
	Up                             // projection of the feed-forward network
	FFNSubNorm                     // before the down-projection
	Down                           // projection of the feed-forward network
	FFNPostNorm1                   // of the dense feed-forward network beside experts
	RouterScale                    // (width) factors of the router's input
	Router                         // projection to a score for each expert
	SelectionBias                  // what is added to the scores to choose experts
	ExpertsNorm                    // before the experts where they have their own
	ExpertGate                     // (experts, n, width)
	ExpertUp                       // (experts, n, width)
	ExpertDown                     // (experts, width, n)
	ExpertScale                    // a factor for what each expert gives
	ExpertsPostNorm                // of what the experts give
	SharedRouter                   // projection to the weight of the shared expert
	SharedGate                     // of the expert that all tokens visit
	SharedUp                       // of that expert
	SharedDown                     // of that expert
	FFNPostNorm                    // of what the feed-forward network adds to the stream
	LayerEmbeddingGate             // projection to what a layer's part of the second embedding is multiplied with
	LayerEmbeddingUp               // projection of the product
	LayerEmbeddingPost             // norm of that
	LayerScale                     // a factor of the stream after a layer
	roles                          // how many there are
)

// Roles is the number of roles, for tables by role.
const Roles = int(roles)

// Kind is what becomes of a tensor.
type Kind uint8

// The kinds.
const (
	End     Kind = iota // a matrix at one of the ends of the decoder
	Linear              // the weight of a linear map of a layer
	Experts             // the weights of a linear map of each expert, one after the other
	Norm                // the weight of a norm
	Vector              // numbers for something else
	Heads               // a matrix for each head, which is frozen
)

// Part is one of the two parts of a layer.
type Part int

// The parts of a layer, in order.
const (
	Attention Part = iota // attention, or the mixer of tokens in its place
	FFN
	outside // of both
)

func (p Part) String() string { return [...]string{"attention", "ffn", "rest"}[p] }

// block is what a layer has to have for a tensor to belong to it.
type block uint8

const (
	always      block = iota
	mixes             // any mixer of tokens
	attends           // attention
	attendsOwn        // attention over keys and values of its own
	delta             // a gated delta net
	mamba             // Mamba-2
	deltaMamba        // one of the two
	convolves         // a short convolution
	feeds             // a feed-forward network, dense or of experts
	dense             // a dense one
	routes            // one of experts
	sharesOne         // a shared expert
	embedsAgain       // a second embedding of the tokens
)

// about is what is known of each role.
var about = [roles]struct {
	name  string
	kind  Kind
	part  Part
	block block
}{
	TokenEmbedding:     {"token embedding", End, outside, always},
	PositionEmbedding:  {"position embedding", End, outside, always},
	EmbeddingNorm:      {"norm of the embedding", Norm, outside, always},
	LayerEmbedding:     {"embedding for each layer", End, outside, embedsAgain},
	LayerEmbeddingMap:  {"projection to the embeddings for each layer", End, outside, embedsAgain},
	LayerEmbeddingNorm: {"norm of the embeddings for each layer", Norm, outside, embedsAgain},
	OutputNorm:         {"norm of the output", Norm, outside, always},
	OutputHead:         {"output head", End, outside, always},
	RopeFactors:        {"factors of RoPE", Vector, outside, always},
	RopeLongFactors:    {"factors of RoPE for long contexts", Vector, outside, always},
	RopeShortFactors:   {"factors of RoPE for short contexts", Vector, outside, always},

	AttentionNorm:     {"norm before attention", Norm, Attention, mixes},
	QKV:               {"projection to queries, keys and values", Linear, Attention, attends},
	Query:             {"projection to queries", Linear, Attention, attends},
	QueryDown:         {"projection to latent queries", Linear, Attention, attends},
	QueryDownNorm:     {"norm of the latent queries", Norm, Attention, attends},
	QueryUp:           {"projection from latent queries", Linear, Attention, attends},
	Key:               {"projection to keys", Linear, Attention, attendsOwn},
	Value:             {"projection to values", Linear, Attention, attendsOwn},
	KeyValueDown:      {"projection to latent keys and values", Linear, Attention, attends},
	KeyValueDownNorm:  {"norm of the latent keys and values", Norm, Attention, attends},
	KeyUp:             {"projection from latent keys", Heads, Attention, attends},
	ValueUp:           {"projection from latent values", Heads, Attention, attends},
	KeyValueUp:        {"projection from latent keys and values", Linear, Attention, attends},
	QueryNorm:         {"norm of the queries", Norm, Attention, attends},
	KeyNorm:           {"norm of the keys", Norm, Attention, attendsOwn},
	Sinks:             {"attention sinks", Vector, Attention, attends},
	AttentionGate:     {"gate of the attention", Linear, Attention, attends},
	AttentionSubNorm:  {"norm of the attention", Norm, Attention, attends},
	AttentionOutput:   {"projection of the attention", Linear, Attention, attends},
	AttentionPostNorm: {"norm after attention", Norm, Attention, mixes},

	RecurrentIn:        {"projection into the recurrence", Linear, Attention, mamba},
	RecurrentQKV:       {"projection to the recurrence's queries, keys and values", Linear, Attention, delta},
	RecurrentGate:      {"projection to the recurrence's gate", Linear, Attention, delta},
	RecurrentBeta:      {"projection to the recurrence's beta", Linear, Attention, delta},
	RecurrentAlpha:     {"projection to the recurrence's alpha", Linear, Attention, delta},
	RecurrentBetaAlpha: {"projection to the recurrence's beta and alpha", Linear, Attention, delta},
	RecurrentConv:      {"convolution of the recurrence", Vector, Attention, deltaMamba},
	RecurrentConvBias:  {"bias of the recurrence's convolution", Vector, Attention, mamba},
	RecurrentTimeBias:  {"bias of the recurrence's time steps", Vector, Attention, deltaMamba},
	RecurrentDecay:     {"decay of the recurrence", Vector, Attention, deltaMamba},
	RecurrentSkip:      {"skip of the recurrence", Vector, Attention, mamba},
	RecurrentNorm:      {"norm of the recurrence", Norm, Attention, deltaMamba},
	RecurrentOut:       {"projection of the recurrence", Linear, Attention, deltaMamba},
	ConvIn:             {"projection into the convolution", Linear, Attention, convolves},
	ConvKernel:         {"convolution", Vector, Attention, convolves},
	ConvOut:            {"projection of the convolution", Linear, Attention, convolves},

	FFNNorm:         {"norm before the FFN", Norm, FFN, feeds},
	GateUp:          {"gate and up-projection of the FFN", Linear, FFN, dense},
	Gate:            {"gate of the FFN", Linear, FFN, dense},
	Up:              {"up-projection of the FFN", Linear, FFN, dense},
	FFNSubNorm:      {"norm before the FFN's down-projection", Norm, FFN, dense},
	Down:            {"down-projection of the FFN", Linear, FFN, dense},
	FFNPostNorm1:    {"norm after the FFN beside experts", Norm, FFN, routes},
	RouterScale:     {"scale of the router's input", Vector, FFN, routes},
	Router:          {"router", Linear, FFN, routes},
	SelectionBias:   {"bias of the choice of experts", Vector, FFN, routes},
	ExpertsNorm:     {"norm before the experts", Norm, FFN, routes},
	ExpertGate:      {"gates of the experts", Experts, FFN, routes},
	ExpertUp:        {"up-projections of the experts", Experts, FFN, routes},
	ExpertDown:      {"down-projections of the experts", Experts, FFN, routes},
	ExpertScale:     {"scales of the experts", Vector, FFN, routes},
	ExpertsPostNorm: {"norm after the experts", Norm, FFN, routes},
	SharedRouter:    {"router of the shared expert", Linear, FFN, sharesOne},
	SharedGate:      {"gate of the shared expert", Linear, FFN, sharesOne},
	SharedUp:        {"up-projection of the shared expert", Linear, FFN, sharesOne},
	SharedDown:      {"down-projection of the shared expert", Linear, FFN, sharesOne},
	FFNPostNorm:     {"norm after the FFN", Norm, FFN, feeds},

	LayerEmbeddingGate: {"gate of the layer's embedding", Linear, outside, embedsAgain},
	LayerEmbeddingUp:   {"projection of the layer's embedding", Linear, outside, embedsAgain},
	LayerEmbeddingPost: {"norm of the layer's embedding", Norm, outside, embedsAgain},
	LayerScale:         {"scale of the layer", Vector, outside, always},
}

func (r Role) String() string { return about[r].name }

// Kind is what becomes of the tensor.
func (r Role) Kind() Kind { return about[r].kind }

// In reports whether the role is one of a part of a layer.
func (r Role) In(p Part) bool { return about[r].part == p }

// Needed reports whether a layer has what the tensors of the role are for.
func (r Role) Needed(s *Spec, l *Layer) bool {
	switch about[r].block {
	case mixes:
		return l.Mixer != NoMixer
	case attends:
		return l.Mixer == SelfAttention
	case attendsOwn:
		return l.Mixer == SelfAttention && l.KeysFrom == 0
	case delta:
		return l.Mixer == DeltaNet
	case mamba:
		return l.Mixer == Mamba2
	case deltaMamba:
		return l.Mixer == DeltaNet || l.Mixer == Mamba2
	case convolves:
		return l.Mixer == ShortConv
	case feeds:
		return l.FFN > 0 || l.Experts.Count > 0
	case dense:
		return l.FFN > 0
	case routes:
		return l.Experts.Count > 0
	case sharesOne:
		return l.Experts.Shared > 0
	case embedsAgain:
		return s.LayerEmbedding > 0
	}
	return true
}
