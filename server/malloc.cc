// The server's malloc is jemalloc. Decoding allocates pictures of all sizes on many threads at
// once, for ever; glibc keeps in each of its arenas what the largest burst of pictures needed
// there, so that the process grows for hours. jemalloc gives back what has not been used for ten
// seconds, and keeps what is used.
//
// Linked into the executables; a library must not choose its process's malloc, and sanitizers have
// their own.

// jemalloc's own threads give memory back, so that an idle process does, too. Pictures above 8 MiB
// are like any other: by default their memory goes back at once, and the next one faults it in
// again. Source: jemalloc 5.3.0 doc/jemalloc.xml.in, opt.background_thread, opt.oversize_threshold.
// NOLINTBEGIN(readability-identifier-naming): the name that jemalloc looks for.
extern "C" {
extern const char* const malloc_conf;
const char* const malloc_conf = "background_thread:true,oversize_threshold:0";
}
// NOLINTEND(readability-identifier-naming)
