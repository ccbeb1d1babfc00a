/* The engine of pixembed as a library: encoded images in, embeddings out, in the caller's process.
 *
 * A C ABI: everything else of the library is hidden. Options, requests and answers are serialized
 * messages of proto/pixembed/v1, so that they mean what they mean to the server.
 *
 * Life: pixembed_engine_open; any number of streams, each of which is what an EmbedStream call is
 * to the server; pixembed_engine_close.
 *
 * Calls return PIXEMBED_OK, or another code of google.rpc.Code and in *error a google.rpc.Status
 * with an ErrorInfo whose reason is one of the README's. Where `error` is NULL it is not told;
 * where there is no memory for it, *error is empty. Nothing is thrown.
 *
 * Threads: all functions are thread-safe, but for close: no other call may be under way with what
 * it is given. A handle belongs to the process that opened it. After a fork the child has none of
 * the engine's threads: there every call, an open included, is refused (UNUSABLE_PROCESS), and
 * close does nothing.
 *
 * The process: LibTorch is set to one thread for whoever does not say otherwise, its host allocator
 * becomes one that keeps blocks, and glibc's malloc keeps more of what is freed. A LibTorch of
 * another version that is loaded before is refused (UNUSABLE_PROCESS). Stubs that the program has
 * of the same .proto files do not meet the library's. The library is never unloaded.
 */
#ifndef PIXEMBED_EMBEDDED_PIXEMBED_ENGINE_H_
#define PIXEMBED_EMBEDDED_PIXEMBED_ENGINE_H_

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define PIXEMBED_API __attribute__((visibility("default")))

/* Of this header. It changes when a program that was built with an older one would not run. */
#define PIXEMBED_ENGINE_ABI 1

enum { PIXEMBED_OK = 0, PIXEMBED_DEADLINE_EXCEEDED = 4, PIXEMBED_OUT_OF_RANGE = 11 };

/* The library's memory, given to the caller: see pixembed_bytes_free. Empty: NULL and 0. */
typedef struct pixembed_bytes {
  void* data;
  size_t size;
} pixembed_bytes;

typedef struct pixembed_engine pixembed_engine;
typedef struct pixembed_stream pixembed_stream;

/* Takes a line for the log, with `context` as it was given. `warning`: 0 or 1. The line is UTF-8,
 * without a newline, and the library's. */
typedef void (*pixembed_log)(void* context, int warning, const char* line);

/* PIXEMBED_ENGINE_ABI of the library. */
PIXEMBED_API int pixembed_engine_abi(void);

/* Gives the memory back and makes *bytes empty; nothing where it is empty. */
PIXEMBED_API void pixembed_bytes_free(pixembed_bytes* bytes);

/* Loads, verifies and warms up models; may take minutes. `flags`: flag_count of pixembed-server's,
 * as "--model=NAME=DIRECTORY", which is required: those of the README from --model to
 * --max_image_side that say which models run and how, and --stream_window. The environment is not
 * read. `log`: NULL, or called on this thread before this returns.
 * Errors: INVALID_OPTION, UNUSABLE_PROCESS, and why a model cannot be served (CHECKPOINT_MISSING,
 * ...). */
PIXEMBED_API int pixembed_engine_open(const char* const* flags, size_t flag_count, pixembed_log log,
                                      void* context, pixembed_engine** engine,
                                      pixembed_bytes* error);

/* The models, as a ListModelsResponse. */
PIXEMBED_API int pixembed_engine_models(const pixembed_engine* engine, pixembed_bytes* response,
                                        pixembed_bytes* error);

/* What is done to an image before the model sees it: an ExplainImageRequest of `size` bytes is
 * answered by an ImageExplanation. Errors: those of the server's method. */
PIXEMBED_API int pixembed_engine_explain(pixembed_engine* engine, const void* request, size_t size,
                                         pixembed_bytes* response, pixembed_bytes* error);

/* Cancels every stream and returns when no image of theirs is being worked on. Streams are still to
 * be closed, before or after; until then their memory stays. NULL: nothing. */
PIXEMBED_API void pixembed_engine_close(pixembed_engine* engine);

/* Begins a stream. `request`: an EmbedRequest of `size` bytes with model and options, and without
 * images. LANE_UNSPECIFIED is BULK. At most --stream_window images are in a stream at once, those
 * that wait to be taken included. Errors: UNKNOWN_MODEL, INVALID_OPTION, FINGERPRINT_MISMATCH,
 * MALFORMED_REQUEST. */
PIXEMBED_API int pixembed_stream_open(pixembed_engine* engine, const void* request, size_t size,
                                      pixembed_stream** stream, pixembed_bytes* error);

/* Submits one encoded image of `size` bytes, which is copied. Blocks until the stream and the
 * engine have room. *index (which may be NULL): its number in the stream, from 0; its result bears
 * it. timeout_ms: after so many milliseconds from now the image is not worked on any more and its
 * result is DEADLINE_EXCEEDED; below 0: never. Errors: CANCELLED, also where the stream has ended:
 * it takes no more images. */
PIXEMBED_API int pixembed_stream_submit(pixembed_stream* stream, const void* image, size_t size,
                                        int64_t timeout_ms, uint64_t* index, pixembed_bytes* error);

/* Says that no image will follow. */
PIXEMBED_API void pixembed_stream_end(pixembed_stream* stream);

/* Takes every result that is ready, each image's once, as an EmbedResponse: in the order of the
 * images where options.ordered says so. Waits for the first, at most timeout_ms milliseconds; below
 * 0: as long as it takes.
 * Errors: PIXEMBED_DEADLINE_EXCEEDED: none came in time; PIXEMBED_OUT_OF_RANGE: the stream was
 * ended, and every result taken (both without *error); CANCELLED. */
PIXEMBED_API int pixembed_stream_take(pixembed_stream* stream, int64_t timeout_ms,
                                      pixembed_bytes* response, pixembed_bytes* error);

/* Calls that wait, and all later ones, are CANCELLED; what was not worked on will not be. */
PIXEMBED_API void pixembed_stream_cancel(pixembed_stream* stream);

/* Cancels, and gives the handle back. NULL: nothing. */
PIXEMBED_API void pixembed_stream_close(pixembed_stream* stream);

#ifdef __cplusplus
} /* extern "C" */
#endif

#endif /* PIXEMBED_EMBEDDED_PIXEMBED_ENGINE_H_ */
