package attach

import (
	"fmt"
	"slices"
	"strings"

	"github.com/peftconv/peftconv/gguf"
	"github.com/peftconv/peftconv/internal/prng"
	"github.com/peftconv/peftconv/internal/requant"
	"github.com/peftconv/peftconv/peft/method"
	"github.com/peftconv/peftconv/quant"
)

// CheckDither reports an unknown value of method.QAT.Dither.
func CheckDither(dither string) error {
	if !slices.Contains([]string{DitherUniform, DitherNone}, dither) {
		return fmt.Errorf("qat_dither %q is not known, expected %s or %s", dither, DitherNone, DitherUniform)
	}
	return nil
}

// RoundingOf is how the codes of a module's weight are rounded in training: a value of method.QAT.Dither and its seed.
func RoundingOf(dither string, seed uint64, module string) requant.Rounding {
	if dither == DitherNone {
		return requant.Rounding{Codes: requant.NearestCodes}
	}
	return requant.Rounding{Codes: requant.StochasticCodes, Seed: prng.NewRandom(seed, module).Next() | 1}
}

// Channels of a block that a QAT adapter may change. Several are joined with +.
const (
	// the scale of each group of weights, and its offset with it, by a factor 1 + s·B·A
	ChannelScale  = method.ChannelScale
	ChannelOffset = method.ChannelOffset // what is added to each weight of a group, by s·B·A, in types with minima
	ChannelRow    = method.ChannelRow    // the scales of a row, by a factor of its own
	ChannelCode   = method.ChannelCode   // the code of each weight, rounded from its value + s·B·A
	QATAuto       = method.ChannelAuto   // for each tensor the best channels of its type
)

// Values of method.QAT.Dither: the threshold at which a weight of ChannelCode is rounded up.
const (
	// stochastic: a random threshold for each weight, so that small changes are right on average
	DitherUniform = method.DitherUniform
	DitherNone    = method.DitherNone // to nearest: changes of less than half a step change no code
)

// ParseChannels reads the name of one channel, of several joined with +, or auto, which gives none.
func ParseChannels(s string) ([]string, error) {
	if s == QATAuto {
		return nil, nil
	}
	var channels []string
	for _, c := range strings.Split(s, "+") {
		if !slices.Contains([]string{ChannelScale, ChannelOffset, ChannelRow, ChannelCode}, c) {
			return nil, fmt.Errorf("channel %q is not known, expected %s, %s, %s or %s, or several joined with +, or %s",
				c, ChannelScale, ChannelOffset, ChannelRow, ChannelCode, QATAuto)
		}
		if slices.Contains(channels, c) {
			return nil, fmt.Errorf("channel %q is named twice", c)
		}
		channels = append(channels, c)
	}
	return channels, nil
}

// ChannelFits says whether blocks of a type have what a channel changes.
func ChannelFits(channel string, t gguf.Type) bool {
	switch channel {
	case ChannelOffset:
		return quant.HasOffsets(t)
	case ChannelCode:
		return quant.HasCodes(t)
	}
	return quant.HasScales(t)
}

// ChannelsOf are the channels that a type has.
func ChannelsOf(t gguf.Type) []string {
	var fit []string
	for _, c := range []string{ChannelScale, ChannelOffset, ChannelRow, ChannelCode} {
		if ChannelFits(c, t) {
			fit = append(fit, c)
		}
	}
	return fit
}
