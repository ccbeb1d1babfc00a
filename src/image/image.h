// Encoded bytes -> pixels -> model input, exactly as Pillow and Hugging Face's processors do.
//
// Reference (what "exactly" means): Pillow 13.0.0 for Image.open(...).convert("RGB"); transformers
// 5.23.0 image_processing_backends.py for the order of steps; torchvision 0.26.0 / torch 2.11.0
// ATen _upsample_{bilinear,bicubic}2d_aa on contiguous uint8 for the `torchvision` backend; Pillow
// 13.0.0 Resample.c for the `pil` backend. Same bits on every host: scalar and SIMD code agree.
//
// Everything here is thread-safe: functions share no state. Nothing here knows torch or gRPC.
#ifndef PIXEMBED_SRC_IMAGE_IMAGE_H_
#define PIXEMBED_SRC_IMAGE_IMAGE_H_

#include <array>
#include <compare>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace pixembed {

// What the three numbers of a pixel are.
enum class Sample {
  kUint8,    // levels: what codecs give, and most processors resize
  kFloat32,  // model input, rescaled and normalized: what Resize gives with rescale_first
};

struct Color {
  std::uint8_t red = 0;
  std::uint8_t green = 0;
  std::uint8_t blue = 0;
  friend auto operator<=>(const Color&, const Color&) = default;
};

// What Pillow keeps in Image.info["transparency"] of an RGB image: not in the pixels, but for who
// comes after.
struct Transparency {
  enum class Kind {
    kNone,
    kColor,       // pixels of exactly this color are transparent: the file names one
    kUnreadable,  // no color: Pillow raises where it is applied
  };
  Kind kind = Kind::kNone;
  Color color = {};
  friend bool operator==(const Transparency&, const Transparency&) = default;
};

// Pixels, [height, width, 3], row-major, interleaved RGB, no padding between rows.
// Move-only; new images hold indeterminate pixels.
class Image {
 public:
  Image() = default;
  // REQUIRES: width > 0, height > 0.
  Image(int width, int height, Sample sample = Sample::kUint8);

  int width() const { return width_; }
  int height() const { return height_; }
  Sample sample() const { return sample_; }
  // Set by Decode, gone after ConvertToRgb and Resize.
  const Transparency& transparency() const { return transparency_; }
  void set_transparency(const Transparency& transparency) { transparency_ = transparency; }
  // width * height * 3.
  std::size_t samples() const { return static_cast<std::size_t>(width_) * height_ * 3; }
  std::size_t size_bytes() const {
    return samples() * (sample_ == Sample::kFloat32 ? sizeof(float) : 1);
  }

  // The memory of all samples, whatever they are.
  std::span<const std::byte> data() const {
    return std::as_bytes(std::span(data_.get(), size_bytes()));
  }

  // REQUIRES: sample() == Sample::kUint8.
  std::span<std::uint8_t> pixels() { return {data_.get(), samples()}; }
  std::span<const std::uint8_t> pixels() const { return {data_.get(), samples()}; }
  // Row y, width * 3 bytes. REQUIRES: 0 <= y < height.
  std::uint8_t* row(int y) { return data_.get() + static_cast<std::size_t>(y) * width_ * 3; }
  const std::uint8_t* row(int y) const {
    return data_.get() + static_cast<std::size_t>(y) * width_ * 3;
  }

  // REQUIRES: sample() == Sample::kFloat32.
  std::span<float> values() { return {reinterpret_cast<float*>(data_.get()), samples()}; }
  std::span<const float> values() const {
    return {reinterpret_cast<const float*>(data_.get()), samples()};
  }

 private:
  struct Free {
    void operator()(std::uint8_t* data) const;
  };

  int width_ = 0;
  int height_ = 0;
  Sample sample_ = Sample::kUint8;
  Transparency transparency_;
  std::unique_ptr<std::uint8_t[], Free> data_;  // aligned for floats, and for nothing wider
};

enum class Format { kJpeg, kPng, kWebp, kGif, kBmp, kTiff, kAvif };

// "JPEG", "PNG", ...
std::string_view FormatName(Format format);

// What a decoder may spend on one image. Checked on the header, before a pixel is decoded.
struct DecodeLimits {
  // Encoded size of one image, bytes. Larger: TOO_MANY_BYTES. Flag: --max_image_bytes.
  std::size_t max_encoded_bytes = std::size_t{32} << 20;
  // width * height. Larger: TOO_MANY_PIXELS. Flag: --max_image_pixels. The default is the bound at
  // which Pillow 13 warns (Image.MAX_IMAGE_PIXELS).
  std::int64_t max_pixels = 89'478'485;
  // Longest side, pixels. Longer: TOO_MANY_PIXELS. Flag: --max_image_side.
  int max_side = 65'535;
};

// Where a caller may ask for other pixels than those of Image.open(...).convert("RGB"). The default
// is the reference.
//
// Pixels are those of this, in Pillow 13:
//
//   image = Image.open(encoded); image.load()
//   if apply_exif_orientation: ImageOps.exif_transpose(image, in_place=True)
//   if background is not None and image.has_transparency_data:
//       canvas = Image.new("RGBA", image.size, (*background, 255))
//       image = Image.alpha_composite(canvas, image.convert("RGBA"))
//   return image.convert("RGB")
//
// On a background nothing stays transparent: info["transparency"] is none then, and ConvertToRgb
// has nothing to do. Turning keeps it.
struct DecodePolicy {
  // Turns and mirrors as EXIF, or else XMP, says: in JPEG, PNG and WebP; in AVIF as the container
  // says. TIFF is always upright.
  bool apply_exif_orientation = false;
  // What shows through where an image is transparent. Nothing: alpha is dropped.
  std::optional<Color> background = {};
  friend auto operator<=>(const DecodePolicy&, const DecodePolicy&) = default;
};

// What the header says, without decoding.
struct ImageHeader {
  Format format = Format::kJpeg;
  // The mode of Pillow's Image.open(...): "RGB", "P", "I;16". Static storage.
  std::string_view mode;
  // EXIF's orientation that Decode applies, unasked: of a TIFF; 1 (upright) in every other format.
  int orientation = 1;
  int width = 0;
  int height = 0;
  // Upper bound of the memory that Decode holds at once, bytes: result, working pixels, and
  // whatever the format's library reserves.
  std::size_t decoded_bytes = 0;
};

// Reads format and size (of the image that Decode gives), and checks the limits. Holds less than 8
// bytes for each encoded one, and 8 mebibytes, meanwhile.
// Errors: EMPTY_IMAGE (no bytes), UNSUPPORTED_FORMAT, TRUNCATED_IMAGE or CORRUPT_IMAGE (unreadable
// header, or metadata that the policy needs), TOO_MANY_BYTES, TOO_MANY_PIXELS; all
// INVALID_ARGUMENT.
absl::StatusOr<ImageHeader> ReadHeader(std::span<const std::byte> encoded,
                                       const DecodeLimits& limits, const DecodePolicy& policy = {});

// The RGB pixels of Pillow 13's Image.open(encoded).convert("RGB"): the first frame; orientation
// applied in TIFF and nowhere else; alpha dropped; ICC and gamma ignored; or what `policy` asks for
// instead; and its info["transparency"]: of a PNG or GIF that names one transparent color. The
// format is found by content. Errors: those of ReadHeader, and TRUNCATED_IMAGE, CORRUPT_IMAGE,
// UNSUPPORTED_FORMAT found in the pixel data; OUT_OF_MEMORY (RESOURCE_EXHAUSTED). Accepts and
// rejects what Pillow 13 does.
absl::StatusOr<Image> Decode(std::span<const std::byte> encoded, const DecodeLimits& limits,
                             const DecodePolicy& policy = {});

// Which of Hugging Face's two implementations of a processor is followed. They differ in pixels.
enum class Backend {
  kTorchvision,  // the default of AutoImageProcessor when torchvision is installed
  kPil,          // Pillow 13, with its pass order
};

// "torchvision", "pil".
std::string_view BackendName(Backend backend);

// PIL.Image.Resampling; the values are those of preprocessor_config.json's "resample".
enum class Filter {
  kNearest = 0,
  kLanczos = 1,
  kBilinear = 2,
  kBicubic = 3,
  kBox = 4,
  kHamming = 5,
};

// "bilinear", ...
std::string_view FilterName(Filter filter);

struct Size {
  int height = 0;
  int width = 0;
  friend bool operator==(const Size&, const Size&) = default;
};

// A number of patches: the image is resized, about with its aspect ratio, to whole patches, as many
// of them as fit below the bound (NaFlex).
struct PatchBudget {
  int patch = 0;        // "patch_size": the side of a patch, in pixels
  int max_patches = 0;  // "max_num_patches"
  friend bool operator==(const PatchBudget&, const PatchBudget&) = default;
};

// The "size" of a processor. Exactly one form:
struct ResizeTarget {
  // {"height", "width"}: exactly this, whatever the aspect ratio.
  std::optional<Size> exact;
  // {"shortest_edge"[, "longest_edge"]}: aspect ratio kept; 0 = absent.
  // Source: transformers 5.23.0 image_transforms.py get_resize_output_image_size:298-313, 209-245.
  int shortest_edge = 0;
  int longest_edge = 0;
  // Aspect ratio kept: the smallest picture that covers a size, or the largest that fits into it.
  // Sides are rounded to the nearest pixel, halves to the even one.
  // Source: timm 1.0.31 data/transforms.py ResizeKeepRatio.get_params.
  std::optional<Size> cover = {};
  std::optional<Size> fit = {};
  // {"patch_size", "max_num_patches"}. Source: transformers 5.23.0
  // models/siglip2/image_processing_siglip2.py get_image_size_for_max_num_patches.
  std::optional<PatchBudget> patches = {};
};

// Where a center crop begins that cannot be central to the pixel.
enum class CropRule {
  kTransformers,  // before the middle; where it pads, as the backend's class does
  kTorchvision,   // at the even one of the two places; where it pads, the smaller half first
};

// What the processor of a model does to an RGB image. Plain data; checkpoint/ fills it in.
// Order of steps: convert to RGB -> resize -> center crop (padding where the image is smaller) ->
// rescale -> normalize -> cut into patches (where the resize counts them); with rescale_first:
// convert to RGB -> rescale -> resize (in float32) -> center crop -> normalize.
struct PreprocessSpec {
  Backend backend = Backend::kTorchvision;
  bool convert_rgb = false;  // do_convert_rgb: of an RGB image it changes what is transparent
  std::optional<ResizeTarget> resize;  // absent: do_resize is false
  Filter filter = Filter::kBilinear;
  std::optional<Size> crop;  // absent: do_center_crop is false
  CropRule crop_rule = CropRule::kTransformers;
  Color padding = {};  // what a crop is padded with; black with rescale_first
  bool rescale = true;
  bool rescale_first = false;  // torchvision backend only; REQUIRES: rescale
  double rescale_factor = 1.0 / 255.0;
  bool normalize = true;
  std::array<double, 3> mean = {0.5, 0.5, 0.5};
  std::array<double, 3> std = {0.5, 0.5, 0.5};
};

// Whether the spec can be followed: the backend has the filter (torchvision: bilinear and bicubic;
// pil: all), the sizes are in range (1 to 4096; 2 to 4096 with rescale_first; up to 4096 patches
// that hold up to 4096 x 4096 pixels, and then no crop), the numbers are finite in float32.
// Errors: UNSUPPORTED_PROCESSOR (UNIMPLEMENTED) names the field and its value.
absl::Status ValidateSpec(const PreprocessSpec& spec);

// The size that every image has after Resize, or nothing where it depends on the image.
std::optional<Size> FixedOutputSize(const PreprocessSpec& spec);

// The largest square image that Resize gives within a budget. Others are as long as max_patches
// patches in a row; none has more pixels than max_patches patches.
Size LargestSquare(const PatchBudget& budget);

// The size that an image of `input` has after Resize (resize and crop applied). Without a crop, a
// side is 0 where longest_edge or fit presses it to nothing.
Size OutputSize(const PreprocessSpec& spec, Size input);

// The first step: takes transparency() away and, where spec.convert_rgb is true, puts the image on
// white where it was. The same in both backends.
// Errors: UNSUPPORTED_FORMAT (spec.convert_rgb is true and the transparency kUnreadable: the
// reference raises).
// Source: transformers 5.23.0 image_transforms.py convert_to_rgb:778-786.
absl::Status ConvertToRgb(const PreprocessSpec& spec, Image& image);

// Resize and center crop, still uint8; with resize and rescale_first, all steps from there on, in
// float32. Bit-identical to the backend.
// REQUIRES: ValidateSpec(spec).ok(); ConvertToRgb was called; image not empty, nor what it is
// resized to (see longest_edge).
Image Resize(const Image& image, const PreprocessSpec& spec);

// Decode, ConvertToRgb and Resize in one; the pixels are the same as those of the three calls, the
// memory and time are not: this is the path that the service takes.
// Errors: those of Decode and ConvertToRgb; TOO_MANY_PIXELS also where the result would be larger
// than limits.max_pixels; EMPTY_IMAGE also where longest_edge or fit leaves a side of 0 pixels,
// which the reference refuses. REQUIRES: ValidateSpec(spec).ok().
absl::StatusOr<Image> DecodeAndResize(std::span<const std::byte> encoded,
                                      const DecodeLimits& limits, const PreprocessSpec& spec,
                                      const DecodePolicy& policy = {});

// What is done to one image, for a person who asks why its vector is what it is.
struct ImageDescription {
  Format format = Format::kJpeg;
  std::string_view mode;  // as ImageHeader
  Size size;              // of the decoded picture
  // EXIF's, or else XMP's, 1 to 8; 1 is upright, none, or in metadata that cannot be read.
  int orientation = 1;
  bool oriented = false;  // whether Decode applied it: in a TIFF, or as the policy asks
  Size resized;           // between resize and crop; where it equals `size`, nothing is resized
  // Where in the resized picture the model's input begins: negative where it is padded with 0.
  int crop_top = 0;
  int crop_left = 0;
  Size input;                  // of what the model sees
  int patches = 0;             // of the input, padding not counted; 0: the processor cuts none
  std::string decoded_sha256;  // of Decode's pixels, [height, width, 3] uint8
  std::string input_sha256;    // of PixelValues, float32, little-endian
};

// Decodes and preprocesses as the service does, and says what that was.
// Errors: those of DecodeAndResize. REQUIRES: ValidateSpec(spec).ok().
absl::StatusOr<ImageDescription> DescribeImage(std::span<const std::byte> encoded,
                                               const DecodeLimits& limits,
                                               const PreprocessSpec& spec,
                                               const DecodePolicy& policy = {});

// Rescale and normalize, where Resize has not, into one row of a batch: [3, H, W] float32,
// row-major, planar RGB.
// The arithmetic and its order are the backend's (float32 throughout for torchvision, a double
// product rounded to float32 for pil); compiled without contraction, so the same bits everywhere.
// REQUIRES: chw.size() == image.samples().
void Normalize(const Image& image, const PreprocessSpec& spec, std::span<float> chw);

// The reference's pixel_values of one image, all float32: Normalize's numbers, [3, H, W]; or where
// the resize counts patches, [max_patches, patch, patch, 3]: the patches of the image, row by row,
// and then zeros. REQUIRES: Resize gave the image.
// Source: transformers 5.23.0 models/siglip2/image_processing_siglip2.py convert_image_to_patches,
// pad_along_first_dim.
std::vector<float> PixelValues(const Image& image, const PreprocessSpec& spec);

}  // namespace pixembed

#endif  // PIXEMBED_SRC_IMAGE_IMAGE_H_
