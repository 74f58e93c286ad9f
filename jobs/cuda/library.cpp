#include "jobs/cuda/library.hpp"

#include <dlfcn.h>
#include <fmt/format.h>

#include "jobs/exit_code.hpp"

namespace ballast::gpu {

library::library(const std::string& file) : file_(file) {
  handle_ = dlopen(file.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (handle_ == nullptr) {
    throw job_error(
        exit_code::system,
        fmt::format("{} cannot be loaded (is it in LD_LIBRARY_PATH?): {}", file, dlerror()), true);
  }
}

void* library::address(const char* name) const {
  void* found = dlsym(handle_, name);
  if (found == nullptr)
    throw job_error(exit_code::system, fmt::format("{} has no {}", file_, name), true);
  return found;
}

}  // namespace ballast::gpu
