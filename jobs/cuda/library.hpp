#pragma once
// Libraries of NVIDIA's that only some jobs need. They are loaded by the first that does: linked,
// their hundreds of megabytes would be mapped by every call of the program, and it would not start
// where they are missing.

#include <string>

namespace ballast::gpu {

class library {
 public:
  /// Stays loaded for the life of the process. Throws job_error(system) with the loader's text.
  explicit library(const std::string& file);

  /// Throws job_error(system) if it has no such function.
  template <typename Function>
  void find(Function*& function, const char* name) const {
    function = reinterpret_cast<Function*>(address(name));
  }

 private:
  void* address(const char* name) const;

  std::string file_;
  void* handle_ = nullptr;
};

}  // namespace ballast::gpu
