// Inlined into Swift: a call per page then costs no more than from C, and no library is needed where ckpt runs.
#ifndef CKPT_CXXHASH_SHIM_H
#define CKPT_CXXHASH_SHIM_H

#define XXH_INLINE_ALL
#include <xxhash.h>

// XXH_INLINE_ALL renames every function by macros, which Swift does not see: here are the plain names again.
#undef XXH64
#undef XXH3_64bits
#undef XXH3_64bits_reset
#undef XXH3_64bits_update
#undef XXH3_64bits_digest
#undef XXH3_createState
#undef XXH3_freeState
static inline XXH64_hash_t XXH64(const void *input, size_t length, XXH64_hash_t seed) {
  return XXH_INLINE_XXH64(input, length, seed);
}
static inline XXH64_hash_t XXH3_64bits(const void *input, size_t length) {
  return XXH_INLINE_XXH3_64bits(input, length);
}
static inline XXH_errorcode XXH3_64bits_reset(XXH3_state_t *state) { return XXH_INLINE_XXH3_64bits_reset(state); }
static inline XXH_errorcode XXH3_64bits_update(XXH3_state_t *state, const void *input, size_t length) {
  return XXH_INLINE_XXH3_64bits_update(state, input, length);
}
static inline XXH64_hash_t XXH3_64bits_digest(const XXH3_state_t *state) {
  return XXH_INLINE_XXH3_64bits_digest(state);
}
static inline XXH3_state_t *XXH3_createState(void) { return XXH_INLINE_XXH3_createState(); }
static inline XXH_errorcode XXH3_freeState(XXH3_state_t *state) { return XXH_INLINE_XXH3_freeState(state); }

#endif
