//go:build !purego

package kernels

//go:noescape
func cutsTogetherNEON(n int, x, w, found *float32)

//go:noescape
func cutsApartNEON(n int, x0, w0, x1, w1, found *float32)

func cutsTogether(n int, c *Cuts) {
	for i := 0; i < CutLanes; i += 4 {
		cutsTogetherNEON(n, &c.X[0][0][i], &c.W[0][0][i], &c.found[0][i])
	}
}

func cutsApart(n int, c *Cuts) {
	for i := 0; i < CutLanes; i += 4 {
		cutsApartNEON(n, &c.X[0][0][i], &c.W[0][0][i], &c.X[1][0][i], &c.W[1][0][i], &c.found[0][i])
	}
}
