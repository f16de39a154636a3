// Package rooms has no code: its tests hold the source tree to its plan (docs/design.md). Imports go one way, no
// package grows out of hand, and nothing reaches for what a position or a hidden interface says.
package rooms
