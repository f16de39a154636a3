// Writes the files of this folder: rows with NaN, infinite and very large weights, and ggml's blocks of them.
//
//   cc -O1 make.c -o make PATH/libggml-base.so -lm && LD_LIBRARY_PATH=PATH ./make
//
// Made with ggml of llama.cpp v0.5.0 for x86-64, in the build of the npm package node-llama-cpp 3.22.1.
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define COLS 256
#define ROWS 64

// Left out: Q2_K, Q4_K, Q5_K and Q6_K, whose codes depend on which NaN of two a processor passes on.
#define TYPES(X) X(q8_0, 34, 32) X(tq1_0, 54, 256) X(tq2_0, 66, 256) X(mxfp4, 17, 32) X(nvfp4, 36, 64) \
    X(q4_0, 18, 32) X(q4_1, 20, 32) X(q5_0, 22, 32) X(q5_1, 24, 32) X(iq4_nl, 18, 32)

#define DECLARE(name, bytes, weights) \
    size_t quantize_##name(const float * src, void * dst, int64_t rows, int64_t cols, const float * importance);
TYPES(DECLARE)

static uint32_t state = 1;
static uint32_t next(void) { state ^= state << 13; state ^= state >> 17; state ^= state << 5; return state; }
static float uniform(void) { return (float) (int32_t) next() / 2147483648.0f; }
static float bits(uint32_t b) { float f; memcpy(&f, &b, 4); return f; }

static void save(const char * name, const char * ending, const void * data, size_t size) {
    char path[64];
    snprintf(path, sizeof path, "%s%s", name, ending);
    FILE * f = fopen(path, "wb");
    if (!f || fwrite(data, 1, size, f) != size || fclose(f)) { perror(path); exit(1); }
}

int main(void) {
    static float x[ROWS*COLS];
    const float special[] = { NAN, bits(0xffc00000), bits(0x7f800001), INFINITY, -INFINITY, 3.4028235e38f, -3.4028235e38f,
        2.2e38f, -1.0e38f, 1e20f, -3e9f, 5e9f, 70000.0f, 1e-40f, 0.0f, -0.0f };
    const int n = sizeof special / sizeof *special;
    for (int r = 0; r < ROWS; r++) {
        float * row = x + r*COLS;
        const float size = ldexpf(1, (int) (next() % 24) - 12);
        for (int c = 0; c < COLS; c++) row[c] = uniform() * size;
        if (r < n) {                    // one of each, in each block
            for (int c = next() % 16; c < COLS; c += 16) row[c] = special[r];
        } else if (r < 2*n) {           // whole blocks of one
            for (int c = 0; c < COLS; c++) row[c] = special[r - n];
        } else if (r < 40) {            // the largest magnitudes, from 1e38 on
            for (int c = 0; c < COLS; c++) row[c] = uniform() * 3.4028235e38f * (r % 2 ? 1 : 0.6f);
        } else if (r < 52) {            // few of any kind, and NaN after and before large weights
            for (int i = 0; i < 12; i++) row[next() % COLS] = special[next() % n];
            for (int c = 0; c < COLS; c += 32) { row[c + next() % 8] = 1e6f * uniform(); row[c + 8 + next() % 8] = special[next() % 3]; }
        } else {                        // many of any kind
            for (int c = 0; c < COLS; c++) if (next() % 3 == 0) row[c] = special[next() % n];
        }
    }
    save("input", ".f32", x, sizeof x);
#define MAKE(name, bytes, weights) { \
        const size_t size = (size_t) ROWS*COLS/weights*bytes; \
        void * blocks = calloc(1, size); \
        if (quantize_##name(x, blocks, ROWS, COLS, NULL) != size) { fprintf(stderr, #name ": other size\n"); return 1; } \
        save(#name, ".bin", blocks, size); free(blocks); }
    TYPES(MAKE)
    return 0;
}
