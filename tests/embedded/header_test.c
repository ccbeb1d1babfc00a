/* The header is C: this compiles as C11, pedantically. */
#include "embedded/pixembed_engine.h"

int main(void) { return pixembed_engine_abi() == PIXEMBED_ENGINE_ABI ? 0 : 1; }
