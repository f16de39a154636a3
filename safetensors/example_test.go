package safetensors_test

import (
	"bytes"
	"fmt"

	"github.com/peftconv/peftconv/safetensors"
)

func Example() {
	var b bytes.Buffer
	err := safetensors.Write(&b, map[string]string{"format": "pt"}, []safetensors.Item{
		{Name: "lora_A.weight", DType: safetensors.F32, Shape: []int64{1, 2}, Data: []byte{0, 0, 0x80, 0x3f, 0, 0, 0, 0x40}},
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	f, err := safetensors.Parse(b.Bytes()) // safetensors.Open for files on disk
	if err != nil {
		fmt.Println(err)
		return
	}
	values, err := f.Tensor("lora_A.weight").Float32s()
	fmt.Println(f.Metadata["format"], values, err)

	_, err = safetensors.Parse(b.Bytes()[:b.Len()-1])
	fmt.Println(err)
	// Output:
	// pt [1 2] <nil>
	// safetensors: tensor "lora_A.weight" at byte 0x38: its data end at 8, beyond the 7 bytes of data in the file (is it complete?)
}
