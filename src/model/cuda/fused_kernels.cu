// The kernels of DeviceKernels, compiled when they are first needed (kernel_compiler.h), for the
// device at hand and for one size each, which is given as macros:
//
//   WIDTH                        numbers in a row; a multiple of 4: the kernels that normalize
//   PATCH_HEIGHT, PATCH_WIDTH    pixels; the width is even:         SplitPatches
//
// No headers: bfloat16 is the upper half of a float32.

namespace {

// Two bfloat16, the first one below.
__device__ __forceinline__ float First(unsigned int pair) { return __uint_as_float(pair << 16); }
__device__ __forceinline__ float Second(unsigned int pair) {
  return __uint_as_float(pair & 0xffff0000u);
}

// Rounded to nearest even.
__device__ __forceinline__ unsigned int Pair(float first, float second) {
  unsigned int pair;
  asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(pair) : "f"(second), "f"(first));
  return pair;
}

}  // namespace

#ifdef WIDTH

namespace {

constexpr int kLanes = 32;
constexpr int kVectors = WIDTH / 4;  // of four numbers each, in a row
constexpr int kOwn = (kVectors + kLanes - 1) / kLanes;  // of a lane, at most

struct alignas(8) FourBFloat16 {
  unsigned int first;
  unsigned int second;
};

__device__ __forceinline__ float WarpSum(float value) {
#pragma unroll
  for (int distance = kLanes / 2; distance > 0; distance /= 2) {
    value += __shfl_xor_sync(0xffffffffu, value, distance);
  }
  return value;
}

// A warp for each row, which stays in its registers from the sum to the result. Block (32, n), rows
// over blocks and y.
template <bool kAdds, bool kScales, bool kGivesFloat>
__device__ __forceinline__ void AddAndNormalize(float* x, const unsigned short* branch,
                                                const float* scale, const float* weight,
                                                const float* bias, float epsilon, void* out,
                                                int rows) {
  const int row = static_cast<int>(blockIdx.x * blockDim.y + threadIdx.y);
  if (row >= rows) return;
  const int lane = static_cast<int>(threadIdx.x);
  const long long start = static_cast<long long>(row) * WIDTH;
  float4* const own = reinterpret_cast<float4*>(x + start);
  float4 values[kOwn];
  float sum = 0.0f;
#pragma unroll
  for (int i = 0; i < kOwn; ++i) {
    const int place = i * kLanes + lane;
    if (kVectors % kLanes != 0 && place >= kVectors) continue;
    float4 value = own[place];
    if (kAdds) {
      const FourBFloat16 added = reinterpret_cast<const FourBFloat16*>(branch + start)[place];
      float4 factor = {1.0f, 1.0f, 1.0f, 1.0f};
      if (kScales) factor = reinterpret_cast<const float4*>(scale)[place];
      value.x = fmaf(First(added.first), factor.x, value.x);
      value.y = fmaf(Second(added.first), factor.y, value.y);
      value.z = fmaf(First(added.second), factor.z, value.z);
      value.w = fmaf(Second(added.second), factor.w, value.w);
      own[place] = value;
    }
    values[i] = value;
    sum += (value.x + value.y) + (value.z + value.w);
  }
  const float mean = WarpSum(sum) * (1.0f / WIDTH);
  float squares = 0.0f;
#pragma unroll
  for (int i = 0; i < kOwn; ++i) {
    if (kVectors % kLanes != 0 && i * kLanes + lane >= kVectors) continue;
    const float4 v = values[i];
    squares += ((v.x - mean) * (v.x - mean) + (v.y - mean) * (v.y - mean)) +
               ((v.z - mean) * (v.z - mean) + (v.w - mean) * (v.w - mean));
  }
  const float factor = 1.0f / sqrtf(WarpSum(squares) * (1.0f / WIDTH) + epsilon);
#pragma unroll
  for (int i = 0; i < kOwn; ++i) {
    const int place = i * kLanes + lane;
    if (kVectors % kLanes != 0 && place >= kVectors) continue;
    const float4 v = values[i];
    const float4 w = reinterpret_cast<const float4*>(weight)[place];
    const float4 b = reinterpret_cast<const float4*>(bias)[place];
    const float4 y = {fmaf((v.x - mean) * factor, w.x, b.x), fmaf((v.y - mean) * factor, w.y, b.y),
                      fmaf((v.z - mean) * factor, w.z, b.z), fmaf((v.w - mean) * factor, w.w, b.w)};
    if (kGivesFloat) {
      reinterpret_cast<float4*>(static_cast<float*>(out) + start)[place] = y;
    } else {
      reinterpret_cast<FourBFloat16*>(static_cast<unsigned short*>(out) + start)[place] = {
          Pair(y.x, y.y), Pair(y.z, y.w)};
    }
  }
}

}  // namespace

#define NORMALIZE_KERNEL(NAME, ADDS, SCALES, GIVES_FLOAT)                                       \
  extern "C" __global__ void NAME(float* x, const unsigned short* branch, const float* scale,   \
                                  const float* weight, const float* bias, float epsilon,        \
                                  void* out, int rows) {                                        \
    AddAndNormalize<ADDS, SCALES, GIVES_FLOAT>(x, branch, scale, weight, bias, epsilon, out,    \
                                               rows);                                           \
  }
NORMALIZE_KERNEL(Normalize, false, false, false)
NORMALIZE_KERNEL(NormalizeToFloat, false, false, true)
NORMALIZE_KERNEL(AddNormalize, true, false, false)
NORMALIZE_KERNEL(AddNormalizeToFloat, true, false, true)
NORMALIZE_KERNEL(AddScaledNormalize, true, true, false)
NORMALIZE_KERNEL(AddScaledNormalizeToFloat, true, true, true)

#endif  // WIDTH

#ifdef PATCH_WIDTH

// A block for each patch of all images, row by row; its threads take two numbers at a time, which
// lie beside each other in a row of the patch. `images`: [N, height, width, 3].
extern "C" __global__ void SplitPatches(const unsigned char* images, const float* table,
                                        unsigned int* out, int height, int width) {
  constexpr int kArea = PATCH_HEIGHT * PATCH_WIDTH;
  constexpr int kPairs = 3 * kArea / 2;
  constexpr int kParts = 3 * kPairs;
  constexpr int kRow = (kParts + 3) / 4 * 4;  // SplitWidth
  const int columns = width / PATCH_WIDTH;
  const int rows = height / PATCH_HEIGHT;
  const int patch = static_cast<int>(blockIdx.x);
  const int column = patch % columns;
  const int row = patch / columns % rows;
  const long long image = patch / columns / rows;
  const unsigned char* const corner =
      images + ((image * height + row * PATCH_HEIGHT) * width + column * PATCH_WIDTH) * 3;
  unsigned int* const own = out + static_cast<long long>(patch) * kRow;
  for (int pair = static_cast<int>(threadIdx.x); pair < kPairs;
       pair += static_cast<int>(blockDim.x)) {
    const int place = 2 * pair;
    const int channel = place / kArea;
    const int y = place % kArea / PATCH_WIDTH;
    const int x = place % PATCH_WIDTH;
    const unsigned char* const pixel =
        corner + (static_cast<long long>(y) * width + x) * 3 + channel;
    const float* const values = table + channel * 256;
    const float first = values[pixel[0]];
    const float second = values[pixel[3]];
    const unsigned int rounded = Pair(first, second);
    own[pair] = rounded;
    own[kPairs + pair] = Pair(first - First(rounded), second - Second(rounded));
    own[2 * kPairs + pair] = rounded;
  }
  const int beyond = kParts + static_cast<int>(threadIdx.x);
  if (beyond < kRow) own[beyond] = 0;
}

#endif  // PATCH_WIDTH
