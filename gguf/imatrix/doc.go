// Package imatrix holds importance matrices: for each linear map of a model, how strongly each column of its weight is
// driven on a sample of text, as the sum of the squares of that input. A quantizer weighs the rounding errors of a
// column by it.
//
// [Open] reads the two forms in which llama.cpp's llama-imatrix writes them, a GGUF file and the older .dat file;
// [Matrix.Write] writes the GGUF form. [Matrix.Add] puts together a matrix of what was measured otherwise.
package imatrix
