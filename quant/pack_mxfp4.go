package quant

// The sizes of a block of MXFP4: 32 numbers are a byte for their scale and 16 bytes of codes.
const (
	MXNumbers = 32
	MXCodes   = 16
)

// AppendMXFP4 appends blocks of MXFP4 to dst whose scales and codes lie apart, as in safetensors files: a byte and 16
// bytes a block. Byte i of the codes has those of numbers 2i and 2i+1 there, in a block those of i and i+16.
func AppendMXFP4(dst, scales, codes []byte) []byte {
	for b, scale := range scales {
		dst = append(dst, scale)
		block := codes[b*MXCodes : (b+1)*MXCodes]
		for i := range MXCodes {
			low, high := block[i/2], block[MXCodes/2+i/2]
			if i%2 == 1 {
				low, high = low>>4, high>>4
			}
			dst = append(dst, low&15|high<<4)
		}
	}
	return dst
}

// SplitMXFP4 sets scales and codes, a byte and 16 bytes a block, to those of blocks of MXFP4: AppendMXFP4 backwards. Of
// the two, one may be nil.
func SplitMXFP4(scales, codes, blocks []byte) {
	for b := 0; len(blocks) >= bytesMXFP4; b++ {
		if scales != nil {
			scales[b] = blocks[0]
		}
		if codes != nil {
			in, out := blocks[1:bytesMXFP4], codes[b*MXCodes:(b+1)*MXCodes]
			for i := range MXCodes / 2 {
				low, high := in[2*i], in[2*i+1]
				out[i], out[MXCodes/2+i] = low&15|high<<4, low>>4|high&0xf0
			}
		}
		blocks = blocks[bytesMXFP4:]
	}
}
