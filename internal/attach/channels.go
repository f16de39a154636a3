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
	if !slices.Contains([]string{method.DitherUniform, method.DitherNone}, dither) {
		return fmt.Errorf("qat_dither %q is not known, expected %s or %s", dither, method.DitherNone, method.DitherUniform)
	}
	return nil
}

// RoundingOf is how the codes of a module's weight are rounded in training: a value of method.QAT.Dither and its seed.
func RoundingOf(dither string, seed uint64, module string) requant.Rounding {
	if dither == method.DitherNone {
		return requant.Rounding{Codes: requant.NearestCodes}
	}
	return requant.Rounding{Codes: requant.StochasticCodes, Seed: prng.NewRandom(seed, module).Next() | 1}
}

// ParseChannels reads the name of one channel, of several joined with +, or auto, which gives none.
func ParseChannels(s string) ([]string, error) {
	if s == method.ChannelAuto {
		return nil, nil
	}
	var channels []string
	for _, c := range strings.Split(s, "+") {
		if !slices.Contains([]string{method.ChannelScale, method.ChannelOffset, method.ChannelRow, method.ChannelCode}, c) {
			return nil, fmt.Errorf("channel %q is not known, expected %s, %s, %s or %s, or several joined with +, or %s",
				c, method.ChannelScale, method.ChannelOffset, method.ChannelRow, method.ChannelCode, method.ChannelAuto)
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
	case method.ChannelOffset:
		return quant.HasOffsets(t)
	case method.ChannelCode:
		return quant.HasCodes(t)
	}
	return quant.HasScales(t)
}

// ChannelsOf are the channels that a type has.
func ChannelsOf(t gguf.Type) []string {
	var fit []string
	for _, c := range []string{method.ChannelScale, method.ChannelOffset, method.ChannelRow, method.ChannelCode} {
		if ChannelFits(c, t) {
			fit = append(fit, c)
		}
	}
	return fit
}
