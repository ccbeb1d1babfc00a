package pixembed

import (
	"encoding/binary"
	"math"

	pixembedv1 "pixembed/v1"
)

// decode writes the numbers of an embedding as float32: float16 and bfloat16 widened, int8 times scale,
// binary as 0 or 1. The vector has room for e.Dimensions of them.
func decode(e *pixembedv1.Embedding, vector []float32) error {
	dimensions := int(e.GetDimensions())
	if len(vector) != dimensions {
		return nonsense("the server gave a vector of %d dimensions among such of %d", dimensions, len(vector))
	}
	data := e.GetData()
	wrongSize := func(bytes int) error {
		if len(data) != bytes {
			return nonsense("the server gave %d bytes for %d dimensions of %v", len(data), dimensions, e.GetDataType())
		}
		return nil
	}
	switch e.GetDataType() {
	case pixembedv1.DataType_DATA_TYPE_FLOAT32:
		if len(data) == 0 && len(e.GetValues()) == dimensions {
			copy(vector, e.GetValues())
			return nil
		}
		if err := wrongSize(4 * dimensions); err != nil {
			return err
		}
		for i := range vector {
			vector[i] = math.Float32frombits(binary.LittleEndian.Uint32(data[4*i:]))
		}
	case pixembedv1.DataType_DATA_TYPE_FLOAT16:
		if err := wrongSize(2 * dimensions); err != nil {
			return err
		}
		for i := range vector {
			vector[i] = float16(binary.LittleEndian.Uint16(data[2*i:]))
		}
	case pixembedv1.DataType_DATA_TYPE_BFLOAT16:
		if err := wrongSize(2 * dimensions); err != nil {
			return err
		}
		for i := range vector {
			vector[i] = math.Float32frombits(uint32(binary.LittleEndian.Uint16(data[2*i:])) << 16)
		}
	case pixembedv1.DataType_DATA_TYPE_INT8:
		if err := wrongSize(dimensions); err != nil {
			return err
		}
		for i := range vector {
			vector[i] = float32(int8(data[i])) * e.GetScale()
		}
	case pixembedv1.DataType_DATA_TYPE_BINARY:
		if err := wrongSize((dimensions + 7) / 8); err != nil {
			return err
		}
		for i := range vector {
			vector[i] = float32(data[i/8] >> (7 - i%8) & 1)
		}
	default:
		return nonsense("the server gave a vector of the unknown data type %v", e.GetDataType())
	}
	return nil
}

// checkSize bounds the memory for a vector by the bytes that came.
func checkSize(e *pixembedv1.Embedding) error {
	if most := max(8*len(e.GetData()), len(e.GetValues())); uint64(e.GetDimensions()) > uint64(most) {
		return nonsense("the server gave %d bytes for %d dimensions", len(e.GetData()), e.GetDimensions())
	}
	return nil
}

// float16 widens an IEEE 754 half, which loses nothing.
func float16(half uint16) float32 {
	sign := uint32(half&0x8000) << 16
	exponent, fraction := uint32(half>>10&0x1f), uint32(half&0x3ff)
	switch exponent {
	case 0: // zero, or subnormal: a multiple of 2^-24
		magnitude := math.Float32bits(float32(fraction) * 0x1p-24)
		return math.Float32frombits(sign | magnitude)
	case 0x1f: // infinite, or no number
		return math.Float32frombits(sign | 0x7f800000 | fraction<<13)
	default:
		return math.Float32frombits(sign | (exponent+127-15)<<23 | fraction<<13)
	}
}
