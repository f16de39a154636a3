// Writes ggml.gguf with ggml's own writer: every kind of metadata value and a few tensors. The test TestGGMLWriter makes
// the same with package gguf and compares the bytes. Build it against ggml's headers and libggml-base of a llama.cpp
// release, for example
//
//     cc -Iggml/include ggml.c -lggml-base -o make && ./make ggml.gguf
#include <stdint.h>
#include <string.h>

#include "ggml.h"
#include "gguf.h"

static void tensor(struct gguf_context *file, struct ggml_context *ctx, const char *name, enum ggml_type type, int dims,
                   const int64_t *shape, char fill) {
    struct ggml_tensor *t = ggml_new_tensor(ctx, type, dims, shape);
    ggml_set_name(t, name);
    memset(t->data, fill, ggml_nbytes(t));
    gguf_add_tensor(file, t);
}

int main(int argc, char **argv) {
    struct ggml_init_params params = {1 << 20, NULL, false};
    struct ggml_context *ctx = ggml_init(params);
    struct gguf_context *file = gguf_init_empty();

    gguf_set_val_str(file, "general.architecture", "test");
    gguf_set_val_u8(file, "u8", 255);
    gguf_set_val_i8(file, "i8", -128);
    gguf_set_val_u16(file, "u16", 65535);
    gguf_set_val_i16(file, "i16", -32768);
    gguf_set_val_u32(file, "u32", 4294967295u);
    gguf_set_val_i32(file, "i32", -2147483647 - 1);
    gguf_set_val_f32(file, "f32", 0.1f);
    gguf_set_val_bool(file, "bool", true);
    gguf_set_val_u64(file, "u64", UINT64_MAX);
    gguf_set_val_i64(file, "i64", INT64_MIN);
    gguf_set_val_f64(file, "f64", 0.1);

    const int32_t ints[] = {1, -2, 3};
    const char *texts[] = {"a", "", "\xc3\xa9"};
    const int8_t bools[] = {1, 0};
    gguf_set_arr_data(file, "ints", GGUF_TYPE_INT32, ints, 3);
    gguf_set_arr_data(file, "bools", GGUF_TYPE_BOOL, bools, 2);
    gguf_set_arr_str(file, "texts", texts, 3);
    gguf_set_arr_data(file, "none", GGUF_TYPE_FLOAT32, NULL, 0);
    gguf_set_val_u8(file, "u8", 7); // a key that is there: it moves to the end

    tensor(file, ctx, "vector", GGML_TYPE_F32, 1, (int64_t[]){5}, 1);
    tensor(file, ctx, "matrix", GGML_TYPE_Q4_0, 2, (int64_t[]){32, 3}, 2);
    tensor(file, ctx, "cube", GGML_TYPE_F16, 3, (int64_t[]){2, 1, 2}, 3);
    tensor(file, ctx, "last", GGML_TYPE_I8, 1, (int64_t[]){1}, 4);
    return gguf_write_to_file(file, argv[1], false) ? 0 : 1;
}
