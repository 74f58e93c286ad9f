#pragma once
// What the rule headers of this folder share: a rule is a small function that decides about one
// element, compiled once for the host twins and once for the GPU, so that both give the same
// integers.

#ifdef __CUDACC__
#define BALLAST_HOST_DEVICE __host__ __device__
#else
#define BALLAST_HOST_DEVICE
#endif
