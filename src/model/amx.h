// Whether products of tiles can be used. Internal to the room.
#ifndef PIXEMBED_SRC_MODEL_AMX_H_
#define PIXEMBED_SRC_MODEL_AMX_H_

namespace pixembed {

// AMX_TILE and AMX_BF16, beside AVX-512 with BW and BF16, in a process that may use them: the
// kernel gives a thread room for its tiles only where it has been asked for once, by the first
// call. Thread-safe.
bool HasAmx();

}  // namespace pixembed

#endif  // PIXEMBED_SRC_MODEL_AMX_H_
