//go:build !purego

package kernels

//go:noescape
func cutsTogetherAVX2(n int, x, w *float32, found *[3][8]float32)

//go:noescape
func cutsApartAVX2(n int, x0, w0, x1, w1 *float32, found *[3][8]float32)

func cutsTogether(n int, c *Cuts) { cutsTogetherAVX2(n, &c.X[0][0][0], &c.W[0][0][0], &c.found) }

func cutsApart(n int, c *Cuts) {
	cutsApartAVX2(n, &c.X[0][0][0], &c.W[0][0][0], &c.X[1][0][0], &c.W[1][0][0], &c.found)
}
