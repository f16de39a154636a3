package lycoris

import (
	"errors"
	"fmt"

	"github.com/peftconv/peftconv/internal/attach"
)

// lycorisSettings are the fields that the configurations of LoHa and LoKr have in common.
type lycorisSettings struct {
	attach.Targeting
	Rank          int                `json:"r"`
	Alpha         float64            `json:"alpha"`
	RankPattern   map[string]int     `json:"rank_pattern"`
	AlphaPattern  map[string]float64 `json:"alpha_pattern"`
	RankDropout   float64            `json:"rank_dropout"`
	ModuleDropout float64            `json:"module_dropout"`
	Init          any                `json:"init_weights"`
}

// newLycoris are PEFT's defaults.
func newLycoris() lycorisSettings {
	return lycorisSettings{Rank: 8, Alpha: 8, RankPattern: map[string]int{}, AlphaPattern: map[string]float64{},
		Init: true}
}

// lycorisAllowed are the fields that say nothing about a linear map.
var lycorisAllowed = map[string]func(v any) bool{"layers_pattern": attach.IsLayersPattern,
	"use_effective_conv2d": attach.AnyValue}

func (s *lycorisSettings) Check() error {
	switch {
	case s.Rank < 1 || s.Rank > attach.MaxRank:
		return fmt.Errorf("rank %d, expected 1 to %d", s.Rank, attach.MaxRank)
	case !attach.IsSingle(s.Alpha):
		return fmt.Errorf("alpha %v, expected a finite number", s.Alpha)
	}
	return errors.Join(attach.CheckSizes(s.RankPattern, s.AlphaPattern),
		attach.CheckPatterns(s.RankPattern), attach.CheckPatterns(s.AlphaPattern), s.CheckModules())
}

// setSize sets rank and alpha; zero is 8, and twice the rank.
func (s *lycorisSettings) setSize(rank int, alpha float64) {
	s.Rank, s.Alpha = rank, alpha
	if rank == 0 {
		s.Rank = 8
	}
	if alpha == 0 {
		s.Alpha = 2 * float64(s.Rank)
	}
}

// trainable reports what of the configuration cannot be trained with.
func (s *lycorisSettings) trainable() error {
	if s.RankDropout != 0 || s.ModuleDropout != 0 {
		return fmt.Errorf("training with rank_dropout %v or module_dropout %v is not supported", s.RankDropout,
			s.ModuleDropout)
	}
	return nil
}

// rankOf is the rank of a module.
func (s *lycorisSettings) rankOf(module string) int {
	if r, ok := attach.LookupPattern(s.RankPattern, module); ok {
		return r
	}
	return s.Rank
}

// scaleOf is the factor of the change in a module.
func (s *lycorisSettings) scaleOf(module string) float64 {
	alpha := s.Alpha
	if a, ok := attach.LookupPattern(s.AlphaPattern, module); ok {
		alpha = a
	}
	return alpha / float64(s.rankOf(module))
}
