//go:build (!amd64 && !arm64) || purego

package kernels

const noCuts = "kernels: cuts are not searched without assembly"

func cutsTogether(n int, c *Cuts) { panic(noCuts) }

func cutsApart(n int, c *Cuts) { panic(noCuts) }
