package pixembed

import (
	"encoding/binary"
	"math"
	"slices"
	"testing"

	pixembedv1 "pixembed/v1"
)

func TestEveryHalfIsWidenedExactly(t *testing.T) {
	for bits := range 1 << 16 {
		half := uint16(bits)
		exponent, fraction := int(half>>10&0x1f), float64(half&0x3ff)
		want := math.Ldexp(1024+fraction, exponent-25)
		switch {
		case exponent == 0:
			want = math.Ldexp(fraction, -24)
		case exponent == 31 && fraction == 0:
			want = math.Inf(1)
		case exponent == 31:
			want = math.NaN()
		}
		want = math.Copysign(want, 1-2*float64(half>>15))
		got := float64(float16(half))
		if math.IsNaN(want) {
			if !math.IsNaN(got) {
				t.Fatalf("%#04x is %v, not NaN", half, got)
			}
		} else if math.Float64bits(got) != math.Float64bits(want) {
			t.Fatalf("%#04x is %v, not %v", half, got, want)
		}
	}
}

func TestEveryDataTypeIsDecoded(t *testing.T) {
	floats := []float32{1.5, -2, 0}
	packed := make([]byte, 0, 12)
	for _, value := range floats {
		packed = binary.LittleEndian.AppendUint32(packed, math.Float32bits(value))
	}
	for name, test := range map[string]struct {
		embedding *pixembedv1.Embedding
		want      []float32
	}{
		"float32":          {&pixembedv1.Embedding{DataType: Float32, Dimensions: 3, Data: packed}, floats},
		"float32 unpacked": {&pixembedv1.Embedding{DataType: Float32, Dimensions: 3, Values: floats}, floats},
		"float16": {
			&pixembedv1.Embedding{DataType: Float16, Dimensions: 3, Data: []byte{0x00, 0x3e, 0x00, 0xc0, 0x01, 0x00}},
			[]float32{1.5, -2, 0x1p-24},
		},
		"bfloat16": {
			&pixembedv1.Embedding{DataType: BFloat16, Dimensions: 3, Data: []byte{0xc0, 0x3f, 0x00, 0xc0, 0x00, 0x00}},
			floats,
		},
		"int8": {
			&pixembedv1.Embedding{DataType: Int8, Dimensions: 3, Data: []byte{3, 0x80, 127}, Scale: 0.5},
			[]float32{1.5, -64, 63.5},
		},
		"binary": {
			&pixembedv1.Embedding{DataType: Binary, Dimensions: 10, Data: []byte{0b10000010, 0b01000000}},
			[]float32{1, 0, 0, 0, 0, 0, 1, 0, 0, 1},
		},
	} {
		got := make([]float32, len(test.want))
		if err := decode(test.embedding, got); err != nil || !slices.Equal(got, test.want) {
			t.Errorf("%s is %v, %v; not %v", name, got, err, test.want)
		}
	}
}

func TestVectorsThatCannotBeAreRefused(t *testing.T) {
	for name, embedding := range map[string]*pixembedv1.Embedding{
		"too few bytes":   {DataType: Float32, Dimensions: 2, Data: make([]byte, 7)},
		"too many bytes":  {DataType: Float16, Dimensions: 2, Data: make([]byte, 5)},
		"too few values":  {DataType: Float32, Dimensions: 2, Values: []float32{1}},
		"odd int8":        {DataType: Int8, Dimensions: 2, Data: make([]byte, 3)},
		"odd bits":        {DataType: Binary, Dimensions: 2, Data: make([]byte, 2)},
		"odd bfloat16":    {DataType: BFloat16, Dimensions: 2, Data: make([]byte, 3)},
		"unknown type":    {DataType: 77, Dimensions: 2, Data: make([]byte, 8)},
		"other dimension": {DataType: Float32, Dimensions: 1, Data: make([]byte, 4)},
	} {
		if err := decode(embedding, make([]float32, 2)); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	if checkSize(&pixembedv1.Embedding{Dimensions: math.MaxUint32, Data: make([]byte, 4)}) == nil {
		t.Error("a vector of 4 billion dimensions in 4 bytes: no error")
	}
}
