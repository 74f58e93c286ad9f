#include "jobs/cuda/blas.hpp"

#include <fmt/format.h>

#include "jobs/exit_code.hpp"

namespace ballast::gpu {

blas::functions::functions() : cublas(fmt::format("libcublas.so.{}", CUBLAS_VER_MAJOR)) {
  cublas.find(create, "cublasCreate_v2");
  cublas.find(destroy, "cublasDestroy_v2");
  cublas.find(set_stream, "cublasSetStream_v2");
  cublas.find(gemm, "cublasGemmEx");
  cublas.find(status_string, "cublasGetStatusString");
}

const blas::functions& blas::loaded() {
  static const functions all;
  return all;
}

blas::blas(cudaStream_t stream) : call_(loaded()), context_(nullptr, release{&call_}) {
  cublasHandle_t made = nullptr;
  require(call_.create(&made), "cublasCreate");
  context_.reset(made);
  require(call_.set_stream(made, stream), "cublasSetStream");
}

void blas::multiply_bf16(int n, const void* a, const void* b, void* c) const {
  const float one = 1;
  const float zero = 0;
  require(
      call_.gemm(context_.get(), CUBLAS_OP_N, CUBLAS_OP_N, n, n, n, &one, a, CUDA_R_16BF, n, b,
                 CUDA_R_16BF, n, &zero, c, CUDA_R_16BF, n, CUBLAS_COMPUTE_32F, CUBLAS_GEMM_DEFAULT),
      "cublasGemmEx");
}

// cuBLAS counts columns first: it sees the transposes of all three, for which
// transpose(c) = b * transpose(a).
void blas::multiply_transposed(int m, int n, int k, const float* a, const float* b,
                               float* c) const {
  const float one = 1;
  const float zero = 0;
  require(call_.gemm(context_.get(), CUBLAS_OP_T, CUBLAS_OP_N, n, m, k, &one, b, CUDA_R_32F, k, a,
                     CUDA_R_32F, k, &zero, c, CUDA_R_32F, n, CUBLAS_COMPUTE_32F_FAST_TF32,
                     CUBLAS_GEMM_DEFAULT),
          "cublasGemmEx");
}

void blas::require(cublasStatus_t code, const char* what) const {
  if (code == CUBLAS_STATUS_SUCCESS) return;
  throw job_error(exit_code::system, fmt::format("{}: {}", what, call_.status_string(code)), true);
}

}  // namespace ballast::gpu
