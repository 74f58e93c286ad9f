#pragma once
// cuBLAS for products of matrices in device memory.

#include <cublas_v2.h>

#include <memory>

#include "jobs/cuda/library.hpp"

namespace ballast::gpu {

class blas {
 public:
  /// Works on `stream`, which must outlive it.
  explicit blas(cudaStream_t stream);

  /// C = A * B of n x n matrices of bf16 in device memory, column-major, with sums in fp32.
  void multiply_bf16(int n, const void* a, const void* b, void* c) const;

  /// c [m][n] = a [m][k] * transpose(b [n][k]), row-major floats whose products are made of TF32
  /// and summed in fp32.
  void multiply_transposed(int m, int n, int k, const float* a, const float* b, float* c) const;

 private:
  struct functions {
    library cublas;
    decltype(cublasCreate_v2)* create;
    decltype(cublasDestroy_v2)* destroy;
    decltype(cublasSetStream_v2)* set_stream;
    // Spelled out: the header overloads the name for C++.
    cublasStatus_t (*gemm)(cublasHandle_t, cublasOperation_t, cublasOperation_t, int, int, int,
                           const void*, const void*, cudaDataType, int, const void*, cudaDataType,
                           int, const void*, void*, cudaDataType, int, cublasComputeType_t,
                           cublasGemmAlgo_t);
    decltype(cublasGetStatusString)* status_string;
    functions();
  };
  struct release {
    const functions* call;
    void operator()(cublasContext* context) const noexcept { call->destroy(context); }
  };
  static const functions& loaded();
  void require(cublasStatus_t code, const char* what) const;

  const functions& call_;
  std::unique_ptr<cublasContext, release> context_;
};

}  // namespace ballast::gpu
