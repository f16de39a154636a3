//go:build !linux

package memory

// addressLimit is not known on this system.
func addressLimit() int64 { return unlimited }

// dataLimit is not known on this system.
func dataLimit() int64 { return unlimited }
