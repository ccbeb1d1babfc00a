// The images that the golden files of models hold.
#ifndef PIXEMBED_TESTS_GOLDEN_GOLDEN_IMAGES_H_
#define PIXEMBED_TESTS_GOLDEN_GOLDEN_IMAGES_H_

#include <vector>

#include "src/checkpoint/checkpoint.h"
#include "src/image/image.h"

namespace pixembed {

// What the decode stage gives for each image of an expected.safetensors: "images" [N, H, W, 3], or
// made here of "picture.I" [height, width, 3]. See make_embeddings.py.
std::vector<Image> GoldenImages(const Weights& expected, const PreprocessSpec& spec);

}  // namespace pixembed

#endif  // PIXEMBED_TESTS_GOLDEN_GOLDEN_IMAGES_H_
