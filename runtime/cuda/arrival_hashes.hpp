#pragma once
// The hashes of experts that have arrived: many in one launch, since a small expert is hashed in
// less time than a launch takes.

#include <cstddef>
#include <cstdint>

#include "runtime/cuda/device_memory.hpp"

namespace ballast {

class arrival_hashes {
 public:
  /// `slots`: hashes that are wanted at once; `ctas`: of a launch. A reference to memory is kept.
  arrival_hashes(const device_memory& memory, std::size_t slots, int ctas);

  /// The hash of an expert that is there is to go to `slot`. Slots of one launch follow each other.
  void add(int layer, weight_location where, std::size_t slot);
  /// Launches what was added and has not been; `done` then passes when all hashes are there.
  void launch(event& done);

  std::uint64_t operator[](std::size_t slot) const { return hashes_[slot]; }
  cudaStream_t stream() const { return stream_.get(); }

 private:
  void launch_added();

  const device_memory& memory_;
  int ctas_;
  background_stream stream_{background_stream::priority::urgent};
  pinned_buffer<std::uint64_t> hashes_;
  device_buffer<std::uint64_t> scratch_;  // the launches are ordered
  picked_experts picked_;                 // added
  int count_ = 0;
  int layer_ = 0;               // whose shape they all have
  std::size_t first_slot_ = 0;  // of the first of them
};

}  // namespace ballast
