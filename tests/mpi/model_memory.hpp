#pragma once
// Where a made-up model keeps what it hands to Ballast. Tests are linked with one of two: host
// memory (host_model_memory.cpp) or a GPU's (tests/gpu/device_model_memory.cpp).

#include <cstddef>
#include <memory>

#include "runtime/ballast.h"

namespace ballast {

class model_memory {
 public:
  virtual ~model_memory() = default;
  /// Until this object ends.
  virtual void* allocate(std::size_t bytes) = 0;
  virtual void write(void* to, const void* from, std::size_t bytes) = 0;
  /// Waits for what the context has enqueued.
  virtual void read(void* to, const void* from, std::size_t bytes) = 0;
  /// A copy that Ballast can read, valid until the next call but three.
  virtual void* lend(const void* from, std::size_t bytes) = 0;
};

/// NULL, or why there is none on this machine: then the tests are skipped.
const char* why_no_model_memory();

std::unique_ptr<model_memory> make_model_memory();

/// Sets the backend that goes with it; `local_rank` chooses the device.
void use_backend_of_tests(ballast_config& config, int local_rank);

/// Whether weights can travel between imitated nodes of this one: not between ranks that share a
/// GPU.
bool can_cross_nodes(int ranks);

}  // namespace ballast
