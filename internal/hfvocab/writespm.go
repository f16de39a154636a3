package hfvocab

import (
	"math"
	"slices"
	"strings"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/peftconv/peftconv/internal/tokenizer"
)

// sentencePiece is a tokenizer.model: SentencePiece's ModelProto with the pieces, and the settings that change ids.
// Added tokens at the end and what fills the vocabulary up are not among the pieces.
func (b *back) sentencePiece(prefix bool) []byte {
	end := 0
	for i := range b.tokens {
		if !b.isPadding(i) && !(b.isAdded(i) && b.scores[i] == addedScore) {
			end = i + 1
		}
	}
	var model []byte
	for i, text := range b.tokens[:end] {
		score, kind := b.scores[i], b.types[i]
		if kind == typeUser {
			text = strings.ReplaceAll(text, " ", spaceMark)
		}
		if b.isAdded(i) && score == addedScore {
			score = 0
		}
		if kind < typeNormal || kind > typeByte {
			kind = typeNormal
		}
		var piece []byte
		piece = protowire.AppendString(protowire.AppendTag(piece, 1, protowire.BytesType), text)
		piece = protowire.AppendFixed32(protowire.AppendTag(piece, 2, protowire.Fixed32Type), math.Float32bits(score))
		piece = appendNumber(piece, 3, uint64(kind))
		model = appendMessage(model, 1, piece)
	}
	trainer := appendNumber(nil, 3, tokenizer.BPEModel)
	trainer = appendNumber(trainer, 4, uint64(end))
	trainer = appendNumber(trainer, 35, protowire.EncodeBool(slices.Contains(b.types[:end], typeByte)))
	for i, name := range []string{"unk", "bos", "eos", "pad"} {
		id, ok := b.id(name)
		if !ok || id >= end {
			id = -1
		}
		trainer = appendNumber(trainer, protowire.Number(40+i), uint64(int64(id)))
	}
	normalizer := protowire.AppendString(protowire.AppendTag(nil, 1, protowire.BytesType), "identity")
	normalizer = appendNumber(normalizer, 3, protowire.EncodeBool(prefix))
	normalizer = appendNumber(normalizer, 4, 0)
	normalizer = appendNumber(normalizer, 5, 1)
	return appendMessage(appendMessage(model, 2, trainer), 3, normalizer)
}

func appendNumber(b []byte, field protowire.Number, value uint64) []byte {
	return protowire.AppendVarint(protowire.AppendTag(b, field, protowire.VarintType), value)
}

func appendMessage(b []byte, field protowire.Number, message []byte) []byte {
	return protowire.AppendBytes(protowire.AppendTag(b, field, protowire.BytesType), message)
}
