// Where the pixels of a model's input come from: target size, crop window, padding; and what is
// done to them last.
//
// Internal to the room; image.h has the public half.
#ifndef PIXEMBED_SRC_IMAGE_PREPROCESS_H_
#define PIXEMBED_SRC_IMAGE_PREPROCESS_H_

#include "src/image/codec.h"
#include "src/image/image.h"
#include "src/image/resample.h"

namespace pixembed {

// The size that an image of `input` has between resize and crop. A side is 0 where longest_edge or
// fit presses the shorter side of a very long image to nothing; the reference refuses such an
// image.
Size ResizedSize(const PreprocessSpec& spec, Size input);

// The part of the resized picture that the model sees; it begins before the picture and ends behind
// it where it is padded. REQUIRES: as Resize.
Window CropWindow(const PreprocessSpec& spec, Size input);

// The columns of an image of `input` that Resize looks at. REQUIRES: as Resize.
Columns InputColumns(const PreprocessSpec& spec, Size input);

// The last step for an image of rescaled float32 pixels, in place.
void NormalizeValues(const PreprocessSpec& spec, Image& image);

// Resize with these kernels for uint8 pixels. REQUIRES: as Resize.
Image ResizeWith(const ResampleKernels& kernels, const Image& image, const PreprocessSpec& spec);

}  // namespace pixembed

#endif  // PIXEMBED_SRC_IMAGE_PREPROCESS_H_
