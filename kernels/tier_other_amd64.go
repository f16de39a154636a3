//go:build !linux && !purego

package kernels

// allowTiles says no: how other systems treat the tile registers was never tested.
func allowTiles() bool { return false }
