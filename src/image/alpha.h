// Transparency: how much of a background shows through a picture.
#ifndef PIXEMBED_SRC_IMAGE_ALPHA_H_
#define PIXEMBED_SRC_IMAGE_ALPHA_H_

#include <cstdint>
#include <span>

#include "src/image/image.h"

namespace pixembed {

// Puts pixels on an opaque background: Pillow's alpha_composite. `alpha` has a byte per pixel,
// 0 transparent, 255 opaque. REQUIRES: rgb.size() == 3 * alpha.size().
// Source: Pillow 13.0.0 src/libImaging/AlphaComposite.c.
void CompositeOnto(Color background, std::span<const std::uint8_t> alpha,
                   std::span<std::uint8_t> rgb);

// Shows the background wherever a pixel has exactly this color: a file that names a transparent
// color instead of giving alpha. Source: Pillow 13.0.0 src/libImaging/Convert.c rgbT2a.
void ReplaceColor(Color transparent, Color background, std::span<std::uint8_t> rgb);

}  // namespace pixembed

#endif  // PIXEMBED_SRC_IMAGE_ALPHA_H_
